// SPDX-License-Identifier: Apache-2.0
// Memory stays within the option, whatever the number of blobs.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>

#include "tests/cache/cache_fixture.h"

namespace bkfs {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BKFS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define BKFS_SANITIZED 1
#endif
#endif
#ifdef BKFS_SANITIZED
constexpr bool kMeasure = false;  // the sanitizer's own memory is many times what is measured
constexpr uint64_t kDefaultBlobs = 100'000;
#else
constexpr bool kMeasure = true;
constexpr uint64_t kDefaultBlobs = 1'000'000;
#endif

constexpr uint64_t kAllowance = 48 << 20;

// The largest resident set so far, in bytes.
uint64_t PeakMemory() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    uint64_t kilobytes = 0;
    if (word == "VmHWM:" && status >> kilobytes) return kilobytes << 10;
  }
  return 0;
}

// BKFS_CACHE_BLOBS=5000000 makes it the long run.
uint64_t Blobs() {
  const char* text = std::getenv("BKFS_CACHE_BLOBS");  // NOLINT(concurrency-mt-unsafe)
  return text != nullptr ? std::strtoull(text, nullptr, 10) : kDefaultBlobs;
}

double Seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

class Memory : public CacheTest, public testing::WithParamInterface<uint64_t> {};

TEST_P(Memory, StaysWithinTheOption) {
  constexpr uint32_t kPerPack = 1000;
  memory_ = GetParam();
  const uint64_t blobs = Blobs();
  Open();
  const uint64_t before = PeakMemory();
  double start = Seconds();
  std::vector<IndexCache::NewPack> packs(8);
  for (uint64_t first = 0; first < blobs;) {
    for (auto& pack : packs) {
      pack = {IdFrom<PackId>(first), 32 << 20, FooterOf(first, kPerPack)};
      first += kPerPack;
    }
    ASSERT_TRUE(cache_->AddPacks(packs).ok());
  }
  std::printf("%.0f blobs/s added\n", static_cast<double>(blobs) / (Seconds() - start));
  for (const bool reopened : {false, true}) {
    if (reopened) Open();
    start = Seconds();
    std::mt19937_64 random(1);
    constexpr int kLookups = 100'000;
    for (int i = 0; i < kLookups; ++i) {
      ASSERT_TRUE(Knows(random() % blobs));
      ASSERT_FALSE(Knows((uint64_t{1} << 40) + random() % blobs));
    }
    std::printf("%.1f us for a hit and a miss\n", (Seconds() - start) * 1e6 / kLookups);
  }
  const uint64_t grown = PeakMemory() - before;
  std::printf("%.1f MiB more at the most, %.0f MiB were allowed to the cache, %.0f blobs\n",
              static_cast<double>(grown) / (1 << 20), static_cast<double>(memory_) / (1 << 20),
              static_cast<double>(blobs));
  EXPECT_TRUE(!kMeasure || grown <= memory_ + kAllowance);
}

INSTANTIATE_TEST_SUITE_P(Options, Memory, testing::Values(16 << 20, 64 << 20),
                         [](const auto& option) {
                           return std::to_string(option.param >> 20) + "MiB";
                         });

}  // namespace
}  // namespace bkfs

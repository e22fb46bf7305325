// SPDX-License-Identifier: Apache-2.0
#include "backends/decorators/extent_cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <thread>

#include "backends/decorators/read_cache_backend.h"
#include "backends/fault/fault_backend.h"
#include "backends/memory/memory_backend.h"
#include "tests/support/scratch.h"
#include "tests/support/test_logger.h"

namespace bkfs {
namespace {

using Op = FaultBackend::Op;
constexpr uint64_t kMiB = 1 << 20;

Bytes Pattern(size_t size, uint32_t seed) {
  Bytes out(size);
  for (auto& byte : out) {
    seed = seed * 1664525 + 1013904223;
    byte = static_cast<uint8_t>(seed >> 24);
  }
  return out;
}

class ExtentCacheTest : public testing::Test {
 protected:
  ExtentCacheTest() { Open(64 * kMiB); }
  void Open(uint64_t limit) {
    cache_.reset();
    auto opened = ExtentCache::Open(directory(), limit, log_);
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    cache_ = *std::move(opened);
  }
  std::string directory() const { return scratch_.path() + "/cache"; }
  bool Has(const std::string& object, uint64_t offset, const Bytes& expected) {
    Bytes out(expected.size());
    if (!cache_->Read(object, offset, out)) return false;
    EXPECT_EQ(out, expected);
    return true;
  }
  static Bytes Part(const Bytes& bytes, uint64_t from, uint64_t length) {
    const ByteView view = ByteView(bytes).subspan(from, length);
    return {view.begin(), view.end()};
  }
  uint64_t OnDisk() const {
    uint64_t bytes = 0;
    for (const auto& entry : std::filesystem::directory_iterator(directory())) {
      bytes += entry.file_size();
    }
    return bytes;
  }
  std::string OnlySegment() const {
    std::string path;
    for (const auto& entry : std::filesystem::directory_iterator(directory())) {
      if (entry.path().extension() == ".seg") path = entry.path();
    }
    return path;
  }

  ScratchFolder scratch_;
  TestLogger log_;
  std::unique_ptr<ExtentCache> cache_;
};

TEST_F(ExtentCacheTest, GivesBackWhatItKeepsAndNothingElse) {
  const Bytes data = Pattern(300'000, 1);
  cache_->Keep("packs/a", 1000, data);
  EXPECT_TRUE(Has("packs/a", 1000, data));
  EXPECT_TRUE(Has("packs/a", 1001, Part(data, 1, 1)));
  EXPECT_TRUE(Has("packs/a", 66'000, Part(data, 65'000, 140'000)));
  Bytes some(10);
  EXPECT_FALSE(cache_->Read("packs/a", 999, some));
  EXPECT_FALSE(cache_->Read("packs/a", 300'991, some));
  EXPECT_FALSE(cache_->Read("packs/b", 1000, some));
  EXPECT_FALSE(cache_->Has("packs/a", ~uint64_t{0} - 5, 10));
}

TEST_F(ExtentCacheTest, PiecesMakeAWholeAndOverlapsAreKeptOnce) {
  const Bytes data = Pattern(500'000, 2);
  for (auto [from, length] : {std::pair{100'000, 50'000},
                              {200'000, 50'000},
                              {120'000, 100'000},
                              {0, 500'000},
                              {0, 500'000}}) {
    cache_->Keep("packs/a", static_cast<uint64_t>(from),
                 Part(data, static_cast<uint64_t>(from), static_cast<uint64_t>(length)));
  }
  EXPECT_TRUE(Has("packs/a", 0, data));
  EXPECT_LT(cache_->bytes(), 510'000U);
}

TEST_F(ExtentCacheTest, IsThereAgainAfterARestart) {
  const Bytes data = Pattern(200'000, 3);
  cache_->Keep("packs/a", 5, data);
  Open(64 * kMiB);
  EXPECT_TRUE(Has("packs/a", 5, data));
  cache_->Keep("packs/b", 5, data);
  Open(64 * kMiB);
  EXPECT_TRUE(Has("packs/a", 5, data));
  EXPECT_TRUE(Has("packs/b", 5, data));
}

TEST_F(ExtentCacheTest, ARecordThatWasCutIsNotThere) {
  const Bytes data = Pattern(200'000, 4);
  cache_->Keep("packs/a", 0, data);
  cache_->Keep("packs/b", 0, data);
  const std::string path = OnlySegment();
  const uint64_t whole = std::filesystem::file_size(path);
  for (const uint64_t cut : {whole - 1, whole - 150'000, whole / 2 + 60, whole / 2 + 3}) {
    cache_.reset();
    std::filesystem::resize_file(path, cut);
    Open(64 * kMiB);
    EXPECT_TRUE(Has("packs/a", 0, data));
    EXPECT_FALSE(cache_->Has("packs/b", 0, 1));
  }
  cache_->Keep("packs/b", 0, data);
  EXPECT_TRUE(Has("packs/b", 0, data));
  Open(64 * kMiB);
  EXPECT_TRUE(Has("packs/b", 0, data));
}

TEST_F(ExtentCacheTest, DamageIsAMiss) {
  const Bytes data = Pattern(200'000, 5);
  cache_->Keep("packs/a", 0, data);
  auto fd = OpenFile(OnlySegment(), O_RDWR);
  ASSERT_TRUE(fd.ok());
  const uint8_t other[] = {static_cast<uint8_t>(~data[100'000])};
  uint8_t old[1];
  // Somewhere in the second block.
  ASSERT_TRUE(PreadAll(fd->get(), old, 100'000, "segment").ok());
  ASSERT_TRUE(PwriteAll(fd->get(), other, 100'000, "segment").ok());
  Bytes out(data.size());
  EXPECT_FALSE(cache_->Read("packs/a", 0, out));
  EXPECT_FALSE(cache_->Has("packs/a", 0, 1));  // nothing of that object is trusted any more
  cache_->Keep("packs/a", 0, data);
  EXPECT_TRUE(Has("packs/a", 0, data));
}

TEST_F(ExtentCacheTest, StaysBelowItsLimitAndKeepsWhatIsUsed) {
  Open(20 * kMiB);
  const Bytes popular = Pattern(100'000, 6);
  cache_->Keep("packs/popular", 0, popular);
  for (uint32_t i = 0; i < 400; ++i) {
    ASSERT_TRUE(Has("packs/popular", 0, popular)) << i;
    cache_->Keep("packs/" + std::to_string(i), 0, Pattern(200'000, i));
    ASSERT_LE(cache_->bytes(), 20 * kMiB + 300'000);
  }
  EXPECT_LE(OnDisk(), 20 * kMiB + 300'000);
  EXPECT_FALSE(cache_->Has("packs/0", 0, 1));
  EXPECT_TRUE(Has("packs/399", 0, Pattern(200'000, 399)));
  Open(5 * kMiB);
  EXPECT_LE(OnDisk(), 5 * kMiB + 300'000);
}

TEST_F(ExtentCacheTest, WhatIsTooLargeIsNotKept) {
  Open(4 * kMiB);
  cache_->Keep("packs/a", 0, Pattern(3 * kMiB, 7));
  EXPECT_FALSE(cache_->Has("packs/a", 0, 1));
  EXPECT_EQ(cache_->bytes(), 0U);
}

TEST_F(ExtentCacheTest, OneProcessAtATime) {
  auto second = ExtentCache::Open(directory(), kMiB, log_);
  EXPECT_EQ(second.code(), Code::kBusy);
}

TEST_F(ExtentCacheTest, AFullDiskOnlyEndsTheKeeping) {
  const Bytes data = Pattern(100'000, 8);
  cache_->Keep("packs/a", 0, data);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 150'000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  cache_->Keep("packs/b", 0, data);
  cache_->Keep("packs/c", 0, data);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_TRUE(Has("packs/a", 0, data));
  EXPECT_FALSE(cache_->Has("packs/b", 0, data.size()));
  const std::string told = log_.Take();
  EXPECT_NE(told.find("not kept on disk any more"), std::string::npos) << told;
  EXPECT_EQ(std::count(told.begin(), told.end(), '\n'), 1);
  Open(64 * kMiB);
  EXPECT_TRUE(Has("packs/a", 0, data));
  EXPECT_FALSE(cache_->Has("packs/b", 0, data.size()));
}

TEST_F(ExtentCacheTest, ManyThreads) {
  Open(8 * kMiB);
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (uint32_t i = 0; i < 200; ++i) {
        const uint32_t object = (i * 7 + t) % 90;
        const Bytes data = Pattern(150'000, object);
        cache_->Keep("packs/" + std::to_string(object), 0, data);
        Bytes out(150'000);
        const bool there = cache_->Read("packs/" + std::to_string(object), 0, out);
        EXPECT_TRUE(!there || out == data);
        if (i % 50 == 0) cache_->Forget("packs/" + std::to_string(object));
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

class ReadCacheTest : public ExtentCacheTest {
 protected:
  ReadCacheTest() {
    auto fault = std::make_unique<FaultBackend>(memory_);
    fault_ = fault.get();
    fault_->MakeFar();
    store_ = std::make_unique<ReadCacheBackend>(std::move(fault), std::move(cache_));
  }
  MemoryBackend memory_;
  FaultBackend* fault_ = nullptr;
  std::unique_ptr<ReadCacheBackend> store_;
};

TEST_F(ReadCacheTest, ThePartsOfAPackComeOnce) {
  const Bytes data = Pattern(500'000, 1);
  ASSERT_TRUE(store_->PutOne("packs/a", data).ok());
  EXPECT_FALSE(store_->IsNear("packs/a", 0, 1000));
  Bytes out(1000);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(store_->ReadAt("packs/a", 5000, out).ok());
    EXPECT_EQ(out, Part(data, 5000, 1000));
  }
  EXPECT_EQ(fault_->Count(Op::kReadAt), 1U);
  EXPECT_TRUE(store_->IsNear("packs/a", 5000, 1000));
  EXPECT_FALSE(store_->IsNear("packs/a", 5000, 1001));
  ASSERT_TRUE(store_->Remove("packs/a").ok());
  EXPECT_EQ(store_->ReadAt("packs/a", 5000, out).code(), Code::kNotFound);
}

TEST_F(ReadCacheTest, RecordsComeOnceAndOthersEachTime) {
  for (const std::string name : {"snapshots/1", "leases/1", "condemned/1", "keys/1", "bkfs.repo"}) {
    ASSERT_TRUE(store_->PutOne(name, AsBytes(name)).ok());
    const uint64_t before = fault_->Count(Op::kGet);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(AsText(store_->Get(name).value()), name);
    EXPECT_EQ(fault_->Count(Op::kGet) - before, name == "snapshots/1" ? 1U : 3U);
  }
}

TEST_F(ReadCacheTest, AFailureIsNotKept) {
  const Bytes data = Pattern(5000, 1);
  ASSERT_TRUE(store_->PutOne("packs/a", data).ok());
  fault_->Add({.op = Op::kReadAt, .count = 1});
  Bytes out(1000);
  EXPECT_EQ(store_->ReadAt("packs/a", 0, out).code(), Code::kUnavailable);
  EXPECT_TRUE(store_->ReadAt("packs/a", 0, out).ok());
  EXPECT_EQ(out, Part(data, 0, 1000));
}

}  // namespace
}  // namespace bkfs

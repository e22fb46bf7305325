// SPDX-License-Identifier: Apache-2.0
// The decorators change nothing of what a store promises: each alone, and all of them as the
// programs put them together.
#include <gtest/gtest.h>

#include <map>

#include "backends/decorators/bandwidth_backend.h"
#include "backends/decorators/mirror_backend.h"
#include "backends/decorators/read_cache_backend.h"
#include "backends/decorators/retry_backend.h"
#include "backends/decorators/stall_backend.h"
#include "backends/local/local_backend.h"
#include "backends/memory/memory_backend.h"
#include "tests/backends/conformance.h"
#include "tests/support/scratch.h"
#include "tests/support/test_logger.h"

namespace bkfs {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr Bandwidth kFast{1ULL << 40, 1ULL << 40};
using Wrap = std::function<std::unique_ptr<Backend>(std::unique_ptr<Backend>)>;

Logger& TestLog() {
  static TestLogger log;
  return log;
}

std::unique_ptr<Backend> Retrying(std::unique_ptr<Backend> inner) {
  return std::make_unique<RetryBackend>(std::move(inner), RetryOptions(), TestLog());
}
std::unique_ptr<Backend> Stalling(std::unique_ptr<Backend> inner) {
  return std::make_unique<StallBackend>(std::move(inner), 60 * kSecond);
}
std::unique_ptr<Backend> Limited(std::unique_ptr<Backend> inner) {
  return std::make_unique<BandwidthBackend>(std::move(inner), kFast);
}
std::unique_ptr<Backend> Cached(std::unique_ptr<Backend> inner) {
  static ScratchFolder scratch;
  static int number = 0;
  auto cache =
      ExtentCache::Open(scratch.path() + "/" + std::to_string(++number), 64 << 20, TestLog());
  BKFS_CHECK(cache.ok());
  return std::make_unique<ReadCacheBackend>(std::move(inner), *std::move(cache));
}
std::unique_ptr<Backend> All(std::unique_ptr<Backend> inner) {
  return Cached(Retrying(Stalling(Limited(std::move(inner)))));
}

// The pair of a store and an empty mirror, which lives as long as this program.
std::unique_ptr<Backend> Paired(std::unique_ptr<Backend> primary, std::unique_ptr<Backend> mirror) {
  static ScratchFolder scratch;
  static int number = 0;
  MirrorOptions options;
  options.directory = scratch.path() + "/" + std::to_string(++number);
  options.url = "the mirror";
  auto shared = std::make_shared<std::unique_ptr<Backend>>(std::move(mirror));
  options.open = [shared](bool) -> Result<std::unique_ptr<Backend>> { return std::move(*shared); };
  auto opened = MirrorBackend::Open(std::move(primary), std::move(options), TestLog());
  BKFS_CHECK(opened.ok());
  return *std::move(opened);
}
std::unique_ptr<Backend> Mirrored(std::unique_ptr<Backend> inner) {
  return Paired(std::move(inner), std::make_unique<MemoryBackend>());
}
std::unique_ptr<Backend> MirroredLocally(std::unique_ptr<Backend> inner) {
  // Two clients of one store have one mirror.
  static std::map<std::string, ScratchFolder> mirrors;
  auto mirror = OpenLocalBackend(mirrors[inner->Describe()].path(), true);
  BKFS_CHECK(mirror.ok());
  return Retrying(Paired(Stalling(std::move(inner)), Stalling(*std::move(mirror))));
}

class MemoryStore final : public TestStore {
 public:
  explicit MemoryStore(const Wrap& wrap) : backend_(wrap(std::make_unique<MemoryBackend>())) {}
  Backend& backend() override { return *backend_; }

 private:
  std::unique_ptr<Backend> backend_;
};

class LocalStore final : public TestStore {
 public:
  explicit LocalStore(Wrap wrap) : wrap_(std::move(wrap)), backend_(OpenAgain()) {}
  Backend& backend() override { return *backend_; }
  std::unique_ptr<Backend> OpenAgain() override {
    auto opened = OpenLocalBackend(scratch_.path(), true);
    BKFS_CHECK(opened.ok());
    return wrap_(*std::move(opened));
  }

 private:
  ScratchFolder scratch_;
  const Wrap wrap_;
  std::unique_ptr<Backend> backend_;
};

template <typename Store>
StoreFactory Factory(const char* name, const Wrap& wrap) {
  return {name, [wrap] { return std::make_unique<Store>(wrap); }};
}

INSTANTIATE_TEST_SUITE_P(Decorated, BackendConformance,
                         testing::Values(Factory<MemoryStore>("MemoryRetried", Retrying),
                                         Factory<MemoryStore>("MemoryStallChecked", Stalling),
                                         Factory<MemoryStore>("MemoryLimited", Limited),
                                         Factory<MemoryStore>("MemoryCached", Cached),
                                         Factory<MemoryStore>("MemoryAll", All),
                                         Factory<MemoryStore>("MemoryMirrored", Mirrored),
                                         Factory<LocalStore>("LocalMirrored", MirroredLocally),
                                         Factory<LocalStore>("LocalAll", All)),
                         StoreName);

}  // namespace
}  // namespace bkfs

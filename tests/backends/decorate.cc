// SPDX-License-Identifier: Apache-2.0
#include "tests/backends/decorate.h"

#include <map>

#include "backends/decorators/bandwidth_backend.h"
#include "backends/decorators/mirror_backend.h"
#include "backends/decorators/read_cache_backend.h"
#include "backends/decorators/retry_backend.h"
#include "backends/decorators/stall_backend.h"
#include "backends/local/local_backend.h"
#include "backends/memory/memory_backend.h"
#include "tests/support/scratch.h"
#include "tests/support/test_logger.h"

namespace bkfs {

namespace {
constexpr int64_t kSecond = 1'000'000'000;
constexpr Bandwidth kFast{1ULL << 40, 1ULL << 40};
Logger& TestLog() {
  static TestLogger log;
  return log;
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
class DecoratedStore final : public TestStore {
 public:
  DecoratedStore(std::unique_ptr<TestStore> plain, Wrap wrap)
      : plain_(std::move(plain)), wrap_(std::move(wrap)), backend_(OpenAgain()) {}
  Backend& backend() override { return *backend_; }
  std::unique_ptr<Backend> OpenAgain() override {
    auto again = plain_->OpenAgain();
    BKFS_CHECK(again != nullptr);
    return wrap_(std::move(again));
  }

 private:
  const std::unique_ptr<TestStore> plain_;
  const Wrap wrap_;
  std::unique_ptr<Backend> backend_;
};
}  // namespace

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

StoreFactory Decorated(const char* name, const StoreFactory& plain, const Wrap& wrap) {
  return {name, [plain, wrap] { return std::make_unique<DecoratedStore>(plain.make(), wrap); }};
}

std::vector<StoreFactory> UnderEveryDecorator(const StoreFactory& plain) {
  return {Decorated("Retried", plain, Retrying),         Decorated("StallChecked", plain, Stalling),
          Decorated("Limited", plain, Limited),          Decorated("Cached", plain, Cached),
          Decorated("Mirrored", plain, MirroredLocally), Decorated("All", plain, All)};
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
// The decorators change nothing of what a store promises: each alone, and all of them as the
// programs put them together.
#include <gtest/gtest.h>

#include "backends/local/local_backend.h"
#include "backends/memory/memory_backend.h"
#include "tests/backends/decorate.h"
#include "tests/support/scratch.h"

namespace bkfs {
namespace {

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

// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "backends/fault/fault_backend.h"
#include "backends/local/local_backend.h"
#include "tests/backends/conformance.h"
#include "tests/support/scratch.h"

namespace bkfs {
namespace {

class LocalStore final : public TestStore {
 public:
  explicit LocalStore(bool decorated) {
    auto local = OpenLocalBackend(scratch_.path() + "/some/where", true);
    BKFS_CHECK(local.ok());
    backend_ = std::move(*local);
    if (decorated) backend_ = std::make_unique<FaultBackend>(std::move(backend_));
  }
  Backend& backend() override { return *backend_; }
  std::unique_ptr<Backend> OpenAgain() override {
    auto again = OpenLocalBackend(scratch_.path() + "/some/where", false);
    BKFS_CHECK(again.ok());
    return std::move(*again);
  }

 private:
  ScratchFolder scratch_;
  std::unique_ptr<Backend> backend_;
};

StoreFactory Factory(const char* name, bool decorated) {
  return {name, [decorated] { return std::make_unique<LocalStore>(decorated); }};
}

INSTANTIATE_TEST_SUITE_P(Local, BackendConformance,
                         testing::Values(Factory("Plain", false), Factory("Faultless", true)),
                         StoreName);

}  // namespace
}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "engine/repo/backend.h"

namespace bkfs {

// An empty store of its own for one case, removed with this object.
class TestStore {
 public:
  virtual ~TestStore() = default;
  virtual Backend& backend() = 0;
  // A second client of the same store; nullptr if there cannot be one.
  virtual std::unique_ptr<Backend> OpenAgain() { return nullptr; }
};

struct StoreFactory {
  std::string name;  // of the instantiation: [A-Za-z0-9]
  std::function<std::unique_ptr<TestStore>()> make;
};
inline void PrintTo(const StoreFactory& factory, std::ostream* out) { *out << factory.name; }
inline std::string StoreName(const testing::TestParamInfo<StoreFactory>& info) {
  return info.param.name;
}

// Every sentence of Backend's contract. A test program links the object library
// bkfs_backend_conformance and says
//   INSTANTIATE_TEST_SUITE_P(Sftp, BackendConformance, testing::Values(...), StoreName);
class BackendConformance : public testing::TestWithParam<StoreFactory> {
 protected:
  BackendConformance() : store_(GetParam().make()) {}
  Backend& backend() { return store_->backend(); }
  TestStore& store() { return *store_; }

 private:
  std::unique_ptr<TestStore> store_;
};

}  // namespace bkfs

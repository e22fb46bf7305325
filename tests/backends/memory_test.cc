// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "backends/fault/fault_backend.h"
#include "backends/memory/memory_backend.h"
#include "tests/backends/conformance.h"

namespace bkfs {
namespace {

class MemoryStore final : public TestStore {
 public:
  explicit MemoryStore(bool decorated) {
    if (decorated) {
      backend_ = std::make_unique<FaultBackend>(std::make_unique<MemoryBackend>());
    } else {
      backend_ = std::make_unique<MemoryBackend>();
    }
  }
  Backend& backend() override { return *backend_; }

 private:
  std::unique_ptr<Backend> backend_;
};

StoreFactory Factory(const char* name, bool decorated) {
  return {name, [decorated] { return std::make_unique<MemoryStore>(decorated); }};
}

INSTANTIATE_TEST_SUITE_P(Memory, BackendConformance,
                         testing::Values(Factory("Plain", false), Factory("Faultless", true)),
                         StoreName);

TEST(MemoryBackend, CapacityBoundsTheSum) {
  MemoryBackend memory(10);
  ASSERT_TRUE(memory.PutOne("a", AsBytes("123456")).ok());
  EXPECT_EQ(memory.PutOne("b", AsBytes("12345")).code(), Code::kNoSpace);
  EXPECT_EQ(memory.Get("b").code(), Code::kNotFound);
  ASSERT_TRUE(memory.PutOne("b", AsBytes("1234")).ok());
  EXPECT_EQ(memory.Space()->available, 0U);
  ASSERT_TRUE(memory.Remove("a").ok());
  EXPECT_EQ(memory.Space()->available, 6U);
  EXPECT_EQ(memory.Space()->total, 10U);
}

TEST(MemoryBackend, ClonesAreApart) {
  MemoryBackend memory;
  ASSERT_TRUE(memory.PutOne("a", AsBytes("one")).ok());
  auto clone = memory.Clone();
  ASSERT_TRUE(memory.Remove("a").ok());
  ASSERT_TRUE(memory.PutOne("b", AsBytes("two")).ok());
  EXPECT_EQ(AsText(*clone->Get("a")), "one");
  EXPECT_EQ(clone->Get("b").code(), Code::kNotFound);
}

TEST(MemoryBackend, ReplaceDamages) {
  MemoryBackend memory(100);
  ASSERT_TRUE(memory.PutOne("a", AsBytes("one")).ok());
  memory.Replace("a", Bytes{1});
  memory.Replace("b", Bytes(7));
  EXPECT_EQ(*memory.Get("a"), Bytes{1});
  EXPECT_EQ(memory.Space()->available, 92U);
}

}  // namespace
}  // namespace bkfs

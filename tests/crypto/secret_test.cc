// SPDX-License-Identifier: Apache-2.0
#include "engine/crypto/secret.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace bkfs {
namespace {

class SecretTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(InitCrypto().ok()); }
};

TEST_F(SecretTest, BeginsAsZeros) {
  Secret secret(48);
  EXPECT_EQ(secret.size(), 48U);
  EXPECT_TRUE(
      std::all_of(secret.view().begin(), secret.view().end(), [](int b) { return b == 0; }));
  EXPECT_TRUE(Secret().empty());
  EXPECT_TRUE(Secret(0).empty());
}

TEST_F(SecretTest, MovesLeaveNothingBehind) {
  Secret a = Secret::CopyOf(AsBytes("hidden"));
  Secret b = std::move(a);
  EXPECT_TRUE(a.empty());  // NOLINT: the moved-from state is the point
  EXPECT_EQ(AsText(b.view()), "hidden");
  Secret c = Secret::CopyOf(AsBytes("old"));
  c = std::move(b);
  EXPECT_EQ(AsText(c.view()), "hidden");
  Secret d = c.Clone();
  d.mutable_view()[0] = 'H';
  EXPECT_EQ(AsText(c.view()), "hidden");
}

TEST_F(SecretTest, WipesAndDraws) {
  Bytes memory(100, 7);
  WipeMemory(memory);
  EXPECT_EQ(memory, Bytes(100, 0));
  WipeMemory({});
  EXPECT_NE(ToHex(RandomSecret(32).view()), ToHex(RandomSecret(32).view()));
  EXPECT_TRUE(InitCrypto().ok());
}

}  // namespace
}  // namespace bkfs

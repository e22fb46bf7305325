// SPDX-License-Identifier: Apache-2.0
#include "engine/base/ids.h"

#include <gtest/gtest.h>

#include <type_traits>
#include <unordered_set>

namespace bkfs {
namespace {

static_assert(!std::is_convertible_v<PackId, BlobId>, "ids of different things do not mix");
static_assert(sizeof(BlobId) == 32 && sizeof(KeyId) == 16);

TEST(Ids, HexBytesOrder) {
  BlobId id;
  EXPECT_TRUE(id.is_zero());
  id.bytes[31] = 0xab;
  EXPECT_FALSE(id.is_zero());
  EXPECT_EQ(id.hex(), std::string(62, '0') + "ab");
  EXPECT_EQ(id.short_hex(), "00000000");
  EXPECT_EQ(BlobId::FromHex(id.hex()).value(), id);
  EXPECT_EQ(BlobId::FromBytes(id.view()).value(), id);
  EXPECT_LT(BlobId(), id);
  EXPECT_EQ(BlobId::FromHex("ab").code(), Code::kInvalid);
  EXPECT_EQ(BlobId::FromHex(std::string(64, 'A')).code(), Code::kInvalid);
  EXPECT_EQ(BlobId::FromBytes(Bytes(31)).code(), Code::kInvalid);
  std::unordered_set<BlobId, IdHash> set = {id, BlobId(), id};
  EXPECT_EQ(set.size(), 2U);
}

}  // namespace
}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "engine/format/tree.h"
#include "tests/format/tamper.h"

namespace bkfs {
namespace {

BlobId Blob(uint8_t fill) {
  BlobId id;
  id.bytes.fill(fill);
  return id;
}

TEST(ExtentList, RoundTrip) {
  ExtentListBlob list;
  list.extents = {{100, 5, Blob(1)}, {uint64_t{1} << 40, 0, {}}, {7, 0, Blob(2)}};
  ExtentListBlob read = DecodeExtentList(EncodeExtentList(list)).value();
  EXPECT_EQ(read.level, 0);
  EXPECT_EQ(read.extents, list.extents);
  EXPECT_TRUE(read.extents[1].is_hole());
  ExtentListBlob above;
  above.level = 2;
  above.lists = {{1000, Blob(3)}, {2000, Blob(4)}};
  read = DecodeExtentList(EncodeExtentList(above)).value();
  EXPECT_EQ(read.level, 2);
  EXPECT_EQ(read.lists, above.lists);
  // At any address.
  Bytes bytes = EncodeExtentList(above);
  bytes.insert(bytes.begin(), 1);
  EXPECT_EQ(DecodeExtentList(ByteView(bytes).subspan(1)).value().lists, above.lists);
}

TEST(ExtentList, Rules) {
  auto decode = [](const ExtentListBlob& list) {
    return DecodeExtentList(EncodeExtentList(list)).code();
  };
  EXPECT_EQ(decode({}), Code::kCorrupt);
  EXPECT_EQ(decode({1, {{1, 0, Blob(1)}}, {}}), Code::kCorrupt);
  EXPECT_EQ(decode({0, {}, {{1, Blob(1)}}}), Code::kCorrupt);
  EXPECT_EQ(decode({1, {}, {{1, {}}}}), Code::kCorrupt);
  EXPECT_EQ(decode({0, {{(16 << 20) + 1, 0, Blob(1)}}, {}}), Code::kCorrupt);
  EXPECT_EQ(decode({0, {{16 << 20, 1, Blob(1)}}, {}}), Code::kCorrupt);
  EXPECT_EQ(decode({0, {{16 << 20, 0, Blob(1)}}, {}}), Code::kOk);
  EXPECT_EQ(decode({0, {{UINT64_MAX, 0, {}}, {1, 0, {}}}, {}}), Code::kCorrupt);
  EXPECT_EQ(decode({1, {}, {{UINT64_MAX, Blob(1)}, {1, Blob(1)}}}), Code::kCorrupt);
}

TEST(ExtentList, ChangesNeverCrash) {
  ExtentListBlob list;
  list.extents = {{100, 5, Blob(1)}, {1000, 0, {}}};
  ExpectNoCrash(EncodeExtentList(list), [](Bytes bad) { (void)DecodeExtentList(bad).ok(); });
  EXPECT_FALSE(DecodeExtentList({}).ok());
  EXPECT_FALSE(DecodeExtentList(Bytes(kMaxTreeBlob + 1)).ok());
}

}  // namespace
}  // namespace bkfs

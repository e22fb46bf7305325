// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "engine/format/pack.h"
#include "engine/format/snapshot.h"
#include "engine/format/tree.h"

namespace bkfs {
namespace {

TEST(ObjectNames, RoundTripAndRefuse) {
  PackId pack;
  IndexId index;
  SnapshotId snapshot;
  pack.bytes.fill(0xab);
  index.bytes.fill(0xcd);
  snapshot.bytes.fill(0xef);
  EXPECT_EQ(PackName(pack).substr(0, 12), "packs/ab/aba");
  EXPECT_EQ(ParsePackName(PackName(pack)).value(), pack);
  EXPECT_EQ(ParseIndexName(IndexName(index)).value(), index);
  EXPECT_EQ(ParseSnapshotName(SnapshotName(snapshot)).value(), snapshot);
  std::string hex = pack.hex();
  for (const std::string& bad :
       {std::string(), std::string("packs/"), std::string("packs"), "packs/ac/" + hex,
        "packs/" + hex, "packs/ab/" + hex + "0", "packs/ab/" + hex.substr(1), "index/ab/" + hex,
        "packs/AB/" + hex, "/packs/ab/" + hex, "packs/abx" + hex}) {
    EXPECT_EQ(ParsePackName(bad).code(), Code::kInvalid) << bad;
  }
  EXPECT_EQ(ParseIndexName("index/" + hex.substr(2)).code(), Code::kInvalid);
  EXPECT_EQ(ParseSnapshotName("snapshots/" + snapshot.hex() + ".tmp").code(), Code::kInvalid);
}

TEST(SeriesNames, Rules) {
  for (std::string_view good : {"a", "home", "Größe", "a b", "-x", "a.b"}) {
    EXPECT_TRUE(CheckSeriesName(good).ok()) << good;
  }
  EXPECT_TRUE(CheckSeriesName(std::string(200, 'x')).ok());
  EXPECT_FALSE(CheckSeriesName(std::string(201, 'x')).ok());
  for (std::string_view bad : {"", ".", ".hidden", "a/b", "a\tb", "\xff", "a\x7f"}) {
    EXPECT_EQ(CheckSeriesName(bad).code(), Code::kInvalid) << bad;
  }
  EXPECT_FALSE(CheckSeriesName(std::string_view("a\0b", 3)).ok());
}

TEST(EntryNames, Rules) {
  EXPECT_TRUE(IsValidName("..."));
  EXPECT_TRUE(IsValidName("\xff\x01"));
  EXPECT_TRUE(IsValidName(std::string(255, 'x')));
  EXPECT_FALSE(IsValidName(std::string(256, 'x')));
  EXPECT_FALSE(IsValidName(""));
  EXPECT_FALSE(IsValidName("."));
  EXPECT_FALSE(IsValidName(".."));
  EXPECT_FALSE(IsValidName("a/b"));
  EXPECT_FALSE(IsValidName(std::string_view("a\0", 2)));
}

}  // namespace
}  // namespace bkfs

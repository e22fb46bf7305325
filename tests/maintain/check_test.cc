// SPDX-License-Identifier: Apache-2.0
// Each kind of damage to each class of object: what check says, and that it says nothing else.
#include "engine/maintain/check.h"

#include <fstream>

#include "tests/maintain/check_fixture.h"

namespace bkfs {
namespace {

class CheckTest : public CheckFixture {};

TEST_F(CheckTest, ASoundRepository) {
  for (bool read : {false, true}) {
    const CheckReport report = Check(read);
    EXPECT_FALSE(report.damaged());
    EXPECT_TRUE(report.notes.empty());
    EXPECT_EQ(report.snapshots, 2U);
    EXPECT_EQ(report.packs, 4U);
    EXPECT_EQ(report.read_bytes > 1'200'000, read);
  }
  for (KeyType type : {KeyType::kReadOnly, KeyType::kReadWrite, KeyType::kMaintain,
                       KeyType::kWriteOnly, KeyType::kLogOnly}) {
    EXPECT_FALSE(Check(true, test_.Derive(type)).damaged()) << KeyTypeName(type);
  }
}

TEST_F(CheckTest, AMissingPack) {
  ASSERT_TRUE(IsOk(store_.Remove(contents_[0])));  // of the second snapshot: b alone
  for (bool read : {false, true}) {
    const CheckReport report = Check(read);
    EXPECT_EQ(Damaged(report), Names{contents_[0]});
    EXPECT_EQ(Files(report), (FileCounts{{"/dir/b", 1}}));
  }
}

TEST_F(CheckTest, ACutPack) {
  Cut(contents_[0], 1000);
  const CheckReport report = Check(false);
  EXPECT_EQ(Damaged(report), Names{contents_[0]});
  EXPECT_EQ(Files(report), (FileCounts{{"/dir/b", 1}}));
}

TEST_F(CheckTest, AFlippedFrameIsFoundByReading) {
  Flip(contents_[0], 30'000);
  EXPECT_FALSE(Check(false).damaged());
  const CheckReport report = Check(true);
  EXPECT_EQ(Damaged(report), Names{contents_[0]});
  EXPECT_EQ(Files(report), (FileCounts{{"/dir/b", 1}}));
}

TEST_F(CheckTest, AFlippedFooterCostsNoFile) {
  Flip(contents_[0], *store_.Size(contents_[0]) - 60);
  const CheckReport report = Check(false);
  EXPECT_EQ(Damaged(report), Names{contents_[0]});
  EXPECT_TRUE(report.files.empty());  // the index knows where everything is
}

TEST_F(CheckTest, SwappedPacks) {
  const Bytes first = *store_.Get(contents_[0]);
  store_.Replace(contents_[0], *store_.Get(contents_[1]));
  store_.Replace(contents_[1], first);
  const CheckReport report = Check(true);
  EXPECT_EQ(Damaged(report), (Names{contents_[0], contents_[1]}));
}

TEST_F(CheckTest, TreesThatAreGone) {
  for (const auto& name : trees_) ASSERT_TRUE(IsOk(store_.Remove(name)));
  const CheckReport report = Check(false);
  EXPECT_EQ(Damaged(report), (Names{trees_[0], trees_[1]}));
  EXPECT_EQ(Files(report), (FileCounts{{"/", 2}}));
}

TEST_F(CheckTest, IndexSegments) {
  const auto segments = Objects("index/");
  ASSERT_EQ(segments.size(), 2U);
  Flip(segments[0], 100);
  const CheckReport report = Check(false);
  EXPECT_TRUE(Damaged(report).contains(segments[0]));
  ASSERT_TRUE(IsOk(store_.Remove(segments[0])));
  // Its packs still tell what is in them, so nothing is lost; they are noted.
  const CheckReport gone = Check(false);
  EXPECT_EQ(gone.notes.size() + gone.files.size() > 0, true);
}

TEST_F(CheckTest, SnapshotRecords) {
  const auto records = Objects("snapshots/");
  ASSERT_EQ(records.size(), 2U);
  for (const auto& name : records) {
    auto sound = store_.Clone();
    Flip(name, 200);
    EXPECT_TRUE(Damaged(Check(false)).contains(name));
    store_.Replace(name, *sound->Get(name));
    Cut(name, 1);
    EXPECT_TRUE(Damaged(Check(false)).contains(name));
    store_.Replace(name, *sound->Get(name));
  }
  EXPECT_FALSE(Check(false).damaged());
  // The first is what the second one's chain names.
  auto list = repo_->snapshots().List();
  ASSERT_TRUE(IsOk(list));
  const std::string first = SnapshotName(list->snapshots[0]->id);
  ASSERT_TRUE(IsOk(store_.Remove(first)));
  EXPECT_EQ(Damaged(Check(false)), Names{first});
}

TEST_F(CheckTest, KeysAndForgedRecords) {
  const KeyMaterial key = test_.Derive(KeyType::kReadWrite);
  const std::string badge = KeyDirectory::BadgeName(key.id());
  Reopen(TestRepository::Reload(key), "theirs");
  auto made = Backup();
  ASSERT_TRUE(IsOk(made));
  EXPECT_FALSE(Check(true).damaged());
  Flip(badge, 60);
  const Names damaged = Damaged(Check(false));
  EXPECT_TRUE(damaged.contains(badge));
  EXPECT_TRUE(damaged.contains(SnapshotName(made->snapshot)));  // signed by nobody known
}

TEST_F(CheckTest, WhatIsNoObjectIsPassedOver) {
  store_.Replace("packs/aa/readme.txt", Bytes(10));
  store_.Replace("snapshots/tmp", Bytes(10));
  const CheckReport report = Check(true);
  EXPECT_FALSE(report.damaged());
  EXPECT_EQ(report.notes.size(), 2U);
}

TEST_F(CheckTest, LevelsEndWhereTheySay) {
  auto check = [&](CheckLevel level, KeyMaterial key) {
    Reopen(std::move(key), "level-" + std::to_string(++round_));
    auto report = CheckRepository(*repo_, {.level = level}, {});
    EXPECT_TRUE(IsOk(report));
    return *report;
  };
  const Store sound = Save();
  const KeyMaterial log_only = test_.Derive(KeyType::kLogOnly);
  auto structure = [&] {
    return Damaged(check(CheckLevel::kStructure, TestRepository::Reload(log_only)));
  };
  const std::string badge = KeyDirectory::BadgeName(test_.Derive(KeyType::kReadWrite).id());
  EXPECT_EQ(structure(), Names());
  Names flipped;
  for (const std::string& name : {Objects("index/")[0], Objects("snapshots/")[1], badge}) {
    Flip(name, 90);
    flipped.insert(name);
  }
  Cut(contents_[0], *store_.Size(contents_[0]) - 20);
  flipped.insert(contents_[0]);
  EXPECT_EQ(structure(), flipped);
  PutBack(sound);
  // A pack that is gone is nothing to see in names, and nothing is read of directories.
  ASSERT_TRUE(IsOk(store_.Remove(contents_[0])));
  EXPECT_FALSE(check(CheckLevel::kStructure, test_.CloneMaster()).damaged());
  const CheckReport signatures = check(CheckLevel::kSignatures, test_.CloneMaster());
  EXPECT_EQ(Damaged(signatures), Names{contents_[0]});
  EXPECT_EQ(signatures.trees, 0U);
  EXPECT_TRUE(signatures.files.empty());
}

TEST_F(CheckTest, EveryPackAndSegmentOneByOne) {
  const Store sound = Save();
  std::vector<std::string> names = Objects("packs/");
  for (const auto& name : names) {
    ASSERT_TRUE(IsOk(store_.Remove(name)));
    const CheckReport report = Check(false);
    EXPECT_EQ(Damaged(report), Names{name});
    EXPECT_FALSE(report.files.empty());
    EXPECT_EQ(Files(report), Unreadable());
    PutBack(sound);
  }
  Names in_segments;
  for (const auto& name : Objects("index/")) {
    ASSERT_TRUE(IsOk(store_.Remove(name)));
    const CheckReport report = Check(false);
    // The packs that it listed.
    const Names damaged = Damaged(report);
    EXPECT_EQ(damaged.size(), 2U);
    in_segments.insert(damaged.begin(), damaged.end());
    EXPECT_EQ(Files(report), Unreadable());
    PutBack(sound);
  }
  EXPECT_EQ(in_segments, Names(names.begin(), names.end()));
}

// A cache that knows more than the store's index does not hide what others would miss.
TEST_F(CheckTest, ALostSegmentIsFoundWithAWarmCache) {
  ASSERT_TRUE(IsOk(store_.Remove(Objects("index/")[0])));
  auto report = CheckRepository(*repo_, {}, {});  // the writer's own
  ASSERT_TRUE(IsOk(report));
  EXPECT_EQ(Damaged(*report).size(), 2U);
  EXPECT_FALSE(report->files.empty());
}

TEST_F(CheckTest, EachFileInEachSnapshotIsNamed) {
  Reopen();
  for (int i = 0; i < 40; ++i) {
    Write(At("many/deep/er/" + std::to_string(i)), PseudoRandom(2000, 100 + i));
  }
  const auto before = Objects("packs/");
  ASSERT_TRUE(IsOk(Backup()));
  for (int i = 0; i < 3; ++i) {
    Write(At("other" + std::to_string(i)), PseudoRandom(10, i));
    ASSERT_TRUE(IsOk(Backup()));
  }
  auto list = repo_->snapshots().List();
  ASSERT_EQ(list->snapshots.size(), 6U);
  std::string victim;  // the pack with the 40
  for (const auto& name : Objects("packs/")) {
    if (std::find(before.begin(), before.end(), name) != before.end()) continue;
    if (victim.empty() || *store_.Size(name) > *store_.Size(victim)) victim = name;
  }
  ASSERT_TRUE(IsOk(store_.Remove(victim)));
  const CheckReport report = Check(false);
  EXPECT_EQ(Damaged(report), Names{victim});
  EXPECT_EQ(Files(report), Unreadable());
  EXPECT_EQ(report.affected_files, 160U);
}

// A directory of several blobs, and a file whose extents are in blobs of their own.
TEST_F(CheckTest, LargeDirectoriesAndFiles) {
  Reopen();
  std::filesystem::create_directory(At("big"));
  for (int i = 0; i < 4000; ++i) std::ofstream(At("big/some longer name " + std::to_string(i)));
  ASSERT_TRUE(IsOk(Backup()));
  const auto before = Objects("packs/");
  Write(At("long"), PseudoRandom(12'000'000, 9));
  ASSERT_TRUE(IsOk(Backup()));
  EXPECT_FALSE(Check(true).damaged());
  const Store sound = Save();
  for (const auto& name : Objects("packs/")) {
    const bool is_new = std::find(before.begin(), before.end(), name) == before.end();
    for (size_t at : {20'000UL, 60'000UL, *store_.Size(name) / 2}) {
      if (at + 2000 > *store_.Size(name)) continue;
      Flip(name, at);
      const FileCounts found = Files(Check(true));
      FileCounts met = Unreadable();
      // A reader stops at the first part of a directory that it cannot read; all lost parts are
      // told.
      const bool parts = met.erase("/big/") > 0;
      FileCounts rest = found;
      EXPECT_EQ(rest.erase("/big/") > 0, parts);
      EXPECT_EQ(rest, met);
      EXPECT_FALSE(is_new && parts);
      PutBack(sound);
    }
  }
}

// A store that stops answering is an error of its own, never a clean bill.
TEST_F(CheckTest, AStoreThatFails) {
  Check(true);
  const uint64_t before = faulty_.Count();
  ASSERT_TRUE(IsOk(CheckRepository(*repo_, {.read = {.what = ReadSelection::What::kAll}}, {})));
  const uint64_t operations = faulty_.Count() - before;
  for (uint64_t n = 0; n < operations; ++n) {
    Reopen(test_.CloneMaster(), "cache");
    faulty_.StopAfter(n);
    auto report = CheckRepository(*repo_, {.read = {.what = ReadSelection::What::kAll}}, {});
    EXPECT_TRUE(!report.ok() || report->damaged()) << "after " << n;
    faulty_.Heal();
  }
}

}  // namespace
}  // namespace bkfs

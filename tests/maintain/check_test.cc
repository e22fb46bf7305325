// SPDX-License-Identifier: Apache-2.0
// Each kind of damage to each class of object: what check says, and that it says nothing else.
#include "engine/maintain/check.h"

#include "tests/transfer/transfer_fixture.h"

namespace bkfs {
namespace {

class CheckTest : public TransferTest {
 protected:
  CheckTest() {
    Write(At("dir/a"), PseudoRandom(400'000, 1));
    Write(At("dir/b"), PseudoRandom(400'000, 2));
    Write(At("c"), PseudoRandom(100, 3));
    EXPECT_TRUE(IsOk(Backup()));
    Write(At("dir/b"), PseudoRandom(400'000, 4));
    EXPECT_TRUE(IsOk(Backup()));
    for (const auto& name : Objects("packs/")) {
      auto kind = DecodePackHeader(ByteView(*store_.Get(name)).first(kPackHeader));
      (*kind == PackKind::kContents ? contents_ : trees_).push_back(name);
    }
    std::sort(contents_.begin(), contents_.end(),
              [&](const auto& a, const auto& b) { return *store_.Size(a) < *store_.Size(b); });
  }

  CheckReport Check(bool read_data, KeyMaterial key) {
    Reopen(std::move(key), "check-" + std::to_string(++round_));
    auto report = CheckRepository(
        *repo_,
        {.read = {.what = read_data ? ReadSelection::What::kAll : ReadSelection::What::kNothing}},
        {});
    EXPECT_TRUE(IsOk(report));
    return *report;
  }
  CheckReport Check(bool read_data) { return Check(read_data, test_.CloneMaster()); }
  static std::set<std::string> Damaged(const CheckReport& report) {
    std::set<std::string> names;
    for (const auto& problem : report.objects) names.insert(problem.object);
    return names;
  }
  // As path@number of snapshots it is affected in.
  static std::map<std::string, int> Files(const CheckReport& report) {
    std::map<std::string, int> files;
    for (const auto& file : report.files) ++files[file.path];
    return files;
  }
  void Flip(const std::string& name, size_t at) {
    Bytes data = *store_.Get(name);
    data[at % data.size()] ^= 4;
    store_.Replace(name, data);
  }
  void Cut(const std::string& name, size_t by) {
    Bytes data = *store_.Get(name);
    data.resize(data.size() - by);
    store_.Replace(name, data);
  }

  std::vector<std::string> contents_;  // packs, smallest first
  std::vector<std::string> trees_;
  int round_ = 0;
};

using Names = std::set<std::string>;
using FileCounts = std::map<std::string, int>;

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

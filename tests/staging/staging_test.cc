// SPDX-License-Identifier: Apache-2.0
#include "engine/staging/staging.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <set>

#include "backends/fault/fault_backend.h"
#include "tests/staging/staging_fixture.h"

namespace bkfs {
namespace {

class StagingTest : public ::testing::Test {
 protected:
  StagingTest() : faulty_(store_), staged_(faulty_) { staged_.OpenMaster(); }
  Staging& staging() { return staged_.staging(); }
  void Reopen() {
    staged_.Close();
    staged_.OpenMaster();
  }
  SnapshotId Commit(const std::string& series) {
    auto id = staging().Commit(series);
    EXPECT_TRUE(IsOk(id));
    return *id;
  }

  MemoryBackend store_;
  FaultBackend faulty_;
  StagedRepository staged_;
};

TEST_F(StagingTest, WhatIsCopiedInIsInTheSnapshot) {
  const NodeId root = staged_.Series("home");
  const NodeId dir =
      staging().Create(root, "dir", {.kind = EntryKind::kDirectory, .mode = 0750})->id;
  const Bytes big = PseudoRandom(3'000'000, 1);
  staged_.WriteFile(root, "a", AsBytes("hello"));
  staged_.WriteFile(dir, "big", big);
  staged_.WriteFile(dir, "empty", {});
  const SnapshotId id = Commit("home");
  auto files = staged_.ReadSnapshot(id);
  EXPECT_EQ(files.size(), 3U);
  EXPECT_EQ(AsText(files["/a"]), "hello");
  EXPECT_EQ(files["/dir/big"], big);
  EXPECT_TRUE(files["/dir/empty"].empty());
}

TEST_F(StagingTest, NothingChangedMeansNoNewSnapshot) {
  const NodeId root = staged_.Series("home");
  const NodeId file = staged_.WriteFile(root, "a", AsBytes("hello"));
  const SnapshotId first = Commit("home");
  EXPECT_EQ(Commit("home"), first);
  auto attr = staging().GetAttr(file);
  AttrChange same;
  same.mode = attr->mode;
  same.mtime = attr->mtime;
  ASSERT_TRUE(IsOk(staging().SetAttr(file, same)));
  EXPECT_EQ(Commit("home"), first);
  same.mode = 0600;
  ASSERT_TRUE(IsOk(staging().SetAttr(file, same)));
  EXPECT_NE(Commit("home"), first);
}

TEST_F(StagingTest, ASeriesGoesOnFromItsSnapshotAfterARestart) {
  NodeId root = staged_.Series("home");
  const NodeId dir =
      staging().Create(root, "dir", {.kind = EntryKind::kDirectory, .mode = 0755})->id;
  staged_.WriteFile(dir, "kept", AsBytes("kept"));
  staged_.WriteFile(dir, "changed", AsBytes("old"));
  const SnapshotId first = Commit("home");
  staged_.Close();
  staged_.OpenMaster();
  auto series = staging().ListSeries();
  ASSERT_EQ(series->size(), 1U);
  EXPECT_FALSE(series->at(0).changed);
  root = staged_.Series("home");
  auto again = staging().Lookup(root, "dir");
  ASSERT_TRUE(IsOk(again));
  EXPECT_EQ(AsText(staged_.ReadFile(staging().Lookup(again->id, "kept")->id)), "kept");
  EXPECT_EQ(Commit("home"), first);
  staged_.WriteFile(again->id, "changed", AsBytes("new"));
  const SnapshotId second = Commit("home");
  EXPECT_NE(second, first);
  EXPECT_EQ(AsText(staged_.ReadSnapshot(second)["/dir/kept"]), "kept");
  EXPECT_EQ(AsText(staged_.ReadSnapshot(second)["/dir/changed"]), "new");
  EXPECT_EQ(AsText(staged_.ReadSnapshot(first)["/dir/changed"]), "old");
}

TEST_F(StagingTest, WhatIsNotCommittedIsThereAfterARestart) {
  NodeId root = staged_.Series("home");
  const Bytes big = PseudoRandom(2'000'000, 7);
  staged_.WriteFile(root, "small", AsBytes("small"));
  staged_.WriteFile(root, "big", big);
  staged_.Close();
  staged_.OpenMaster();
  root = staged_.Series("home");
  EXPECT_EQ(AsText(staged_.ReadFile(staging().Lookup(root, "small")->id)), "small");
  EXPECT_EQ(staged_.ReadFile(staging().Lookup(root, "big")->id), big);
  auto files = staged_.ReadSnapshot(Commit("home"));
  EXPECT_EQ(files["/big"], big);
}

TEST_F(StagingTest, AnotherMachineAdoptsTheLatestState) {
  const NodeId root = staged_.Series("home");
  staged_.WriteFile(root, "a", AsBytes("one"));
  Commit("home");
  staged_.Close();
  staged_.Open(staged_.test().CloneMaster(), "elsewhere");
  auto series = staging().ListSeries();
  ASSERT_EQ(series->size(), 1U);  // this key's series, though the cache is empty
  EXPECT_EQ(AsText(staged_.ReadFile(staging().Lookup(series->at(0).root, "a")->id)), "one");
}

// What another key has written is relied on nowhere else, and still is there after a crash.
TEST_F(StagingTest, AnAdoptedTreeSurvivesACrash) {
  const KeyMaterial one = staged_.test().Derive(KeyType::kReadWrite, "one");
  const KeyMaterial two = staged_.test().Derive(KeyType::kReadWrite, "two");
  staged_.Close();
  staged_.Open(TestRepository::Reload(one), "one");
  staged_.WriteFile(staged_.Series("home"), "a", AsBytes("of one"));
  Commit("home");
  staged_.Close();
  staged_.Open(TestRepository::Reload(two), "two");
  staged_.WriteFile(staged_.Series("home"), "b", AsBytes("of two"));
  staged_.Close();
  staged_.Open(TestRepository::Reload(two), "two");
  EXPECT_TRUE(IsOk(staging().Lookup(staged_.Series("home"), "a")));
  EXPECT_EQ(staged_.ReadSnapshot(Commit("home")).size(), 2U);
}

TEST_F(StagingTest, HardLinksAreOneFileAlsoInDirectoriesNotLookedAt) {
  NodeId root = staged_.Series("home");
  const NodeId d1 = staging().Create(root, "d1", {.kind = EntryKind::kDirectory, .mode = 0755})->id;
  const NodeId d2 = staging().Create(root, "d2", {.kind = EntryKind::kDirectory, .mode = 0755})->id;
  const NodeId file = staged_.WriteFile(d1, "x", AsBytes("shared"));
  ASSERT_TRUE(IsOk(staging().Link(file, d2, "y")));
  EXPECT_EQ(staging().GetAttr(file)->nlink, 2U);
  Commit("home");
  staged_.Close();
  staged_.OpenMaster();
  root = staged_.Series("home");
  const NodeId x = staging().Lookup(staging().Lookup(root, "d1")->id, "x")->id;
  AttrChange mode;
  mode.mode = 0400;
  ASSERT_TRUE(IsOk(staging().SetAttr(x, mode)));
  const SnapshotId id = Commit("home");
  auto snapshot = staged_.repo().snapshots().Resolve(id.hex());
  auto top = staged_.repo().snapshots().Root(**snapshot);
  auto ex = staged_.repo().trees().Resolve(*top, "d1/x");
  auto ey = staged_.repo().trees().Resolve(*top, "d2/y");
  ASSERT_TRUE(IsOk(ey));
  EXPECT_EQ(ex->link_group, ey->link_group);
  EXPECT_NE(ex->link_group, 0U);
  EXPECT_EQ(ey->mode, 0400);
  EXPECT_EQ(ey->nlink, 2U);
  // The second name gone, the first is an only one again.
  ASSERT_TRUE(IsOk(staging().Unlink(staging().Lookup(root, "d2")->id, "y")));
  EXPECT_EQ(staging().GetAttr(x)->nlink, 1U);
  EXPECT_EQ(AsText(staged_.ReadFile(x)), "shared");
}

TEST_F(StagingTest, AnUnlinkedFileLivesAsLongAsItIsOpen) {
  const NodeId root = staged_.Series("home");
  const NodeId file = staged_.WriteFile(root, "a", AsBytes("hello"));
  ASSERT_TRUE(IsOk(staging().OpenFile(file, true, false)));
  ASSERT_TRUE(IsOk(staging().Unlink(root, "a")));
  EXPECT_EQ(staging().Lookup(root, "a").code(), Code::kNotFound);
  ASSERT_TRUE(IsOk(staging().Write(file, 5, AsBytes(" world"))));
  EXPECT_EQ(AsText(staged_.ReadFile(file)), "hello world");
  EXPECT_EQ(staging().GetAttr(file)->nlink, 0U);
  ASSERT_TRUE(IsOk(staging().Flush(file)));
  staging().CloseFile(file, true);
  EXPECT_EQ(staging().GetAttr(file).code(), Code::kStale);
  EXPECT_TRUE(staged_.ReadSnapshot(Commit("home")).empty());
}

TEST_F(StagingTest, RenameAsPosixSays) {
  const NodeId root = staged_.Series("home");
  const NodeId d = staging().Create(root, "d", {.kind = EntryKind::kDirectory, .mode = 0755})->id;
  const NodeId a = staged_.WriteFile(root, "a", AsBytes("a"));
  staged_.WriteFile(root, "b", AsBytes("b"));
  EXPECT_EQ(staging().Rename(root, "d", d, "x", 0).code(), Code::kInvalid);
  EXPECT_EQ(staging().Rename(root, "a", root, "d", 0).code(), Code::kIsDirectory);
  EXPECT_EQ(staging().Rename(root, "d", root, "a", 0).code(), Code::kNotDirectory);
  EXPECT_EQ(staging().Rename(root, "a", root, "b", Staging::kNoReplace).code(), Code::kExists);
  EXPECT_EQ(staging().Rename(root, "gone", root, "b", 0).code(), Code::kNotFound);
  ASSERT_TRUE(IsOk(staging().Rename(root, "a", root, "b", Staging::kExchange)));
  EXPECT_EQ(staging().Lookup(root, "b")->id, a);
  ASSERT_TRUE(IsOk(staging().Rename(root, "b", d, "moved", 0)));
  EXPECT_EQ(staging().Lookup(d, "moved")->id, a);
  ASSERT_TRUE(IsOk(staging().Rename(root, "a", d, "moved", 0)));
  EXPECT_EQ(AsText(staged_.ReadFile(staging().Lookup(d, "moved")->id)), "b");
  const NodeId other = staged_.Series("other");
  EXPECT_EQ(staging().Rename(d, "moved", other, "moved", 0).code(), Code::kCrossDevice);
  EXPECT_EQ(staging().Rmdir(root, "d").code(), Code::kNotEmpty);
}

TEST_F(StagingTest, ReadDirShowsEveryEntryOnceWhileOthersComeAndGo) {
  const NodeId root = staged_.Series("home");
  std::set<std::string> stay;
  for (int i = 0; i < 2000; ++i) {
    const std::string name = "stay" + std::to_string(i);
    ASSERT_TRUE(IsOk(staging().Create(root, name, {})));
    stay.insert(name);
  }
  std::multiset<std::string> seen;
  uint64_t cursor = 0;
  int round = 0;
  for (bool more = true; more; ++round) {
    more = false;
    int taken = 0;
    ASSERT_TRUE(IsOk(
        staging().ReadDir(root, cursor, [&](uint64_t next, std::string_view name, const NodeAttr&) {
          if (taken == 100) {
            more = true;
            return false;
          }
          ++taken;
          cursor = next;
          if (name.starts_with("stay")) seen.insert(std::string(name));
          return true;
        })));
    ASSERT_TRUE(IsOk(staging().Create(root, "new" + std::to_string(round), {})));
    if (round == 0) continue;
    ASSERT_TRUE(IsOk(staging().Unlink(root, "new" + std::to_string(round - 1))));
  }
  EXPECT_EQ(seen, std::multiset<std::string>(stay.begin(), stay.end()));
}

TEST_F(StagingTest, EndingASeriesKeepsItsSnapshots) {
  const NodeId root = staged_.Series("home");
  staged_.WriteFile(root, "a", AsBytes("hello"));
  EXPECT_EQ(staging().EndSeries("home").code(), Code::kNotEmpty);
  const SnapshotId id = Commit("home");
  ASSERT_TRUE(IsOk(staging().EndSeries("home")));
  EXPECT_TRUE(staging().ListSeries()->empty());
  EXPECT_EQ(staging().GetAttr(root).code(), Code::kStale);
  EXPECT_EQ(AsText(staged_.ReadSnapshot(id)["/a"]), "hello");
  // Begun again, it shows its latest state.
  EXPECT_EQ(AsText(staged_.ReadFile(staging().Lookup(staged_.Series("home"), "a")->id)), "hello");
}

// rm -r of a series that somebody still writes into.
TEST_F(StagingTest, AnEmptiedSeriesEndsUnderAnOpenFile) {
  const NodeId root = staged_.Series("home");
  const NodeId file = staged_.WriteFile(root, "a", AsBytes("hello"));
  ASSERT_TRUE(IsOk(staging().OpenFile(file, true, false)));
  EXPECT_EQ(staging().EndSeries("home").code(), Code::kNotEmpty);
  Commit("home");
  EXPECT_EQ(staging().EndSeries("home").code(), Code::kBusy);
  ASSERT_TRUE(IsOk(staging().Write(file, 0, AsBytes("more"))));
  ASSERT_TRUE(IsOk(staging().Unlink(root, "a")));
  ASSERT_TRUE(IsOk(staging().EndSeries("home")));
  (void)staging().Write(file, 0, PseudoRandom(2'000'000, 1));
  (void)staging().Flush(file);
  staging().CloseFile(file, true);
  ASSERT_TRUE(IsOk(staging().CommitAll()));
  EXPECT_EQ(AsText(staged_.ReadFile(staging().Lookup(staged_.Series("home"), "a")->id)), "hello");
  Commit("home");
  Reopen();
  EXPECT_EQ(AsText(staged_.ReadFile(staging().Lookup(staged_.Series("home"), "a")->id)), "hello");
}

TEST_F(StagingTest, ARenamedSeriesGoesOnUnderItsNewName) {
  const NodeId root = staged_.Series("untitled folder");
  staged_.WriteFile(root, "a", AsBytes("hello"));
  ASSERT_TRUE(IsOk(staging().RenameSeries("untitled folder", "home")));
  EXPECT_EQ(staging().LookupSeries("untitled folder").code(), Code::kNotFound);
  EXPECT_EQ(staging().LookupSeries("home")->id, root);
  Reopen();
  const SnapshotId first = Commit("home");
  EXPECT_EQ(AsText(staged_.ReadSnapshot(first)["/a"]), "hello");
  // With a history: that stays where it is.
  ASSERT_TRUE(IsOk(staging().RenameSeries("home", "work")));
  const SnapshotId second = Commit("work");
  EXPECT_NE(first, second);
  EXPECT_EQ(AsText(staged_.ReadSnapshot(second)["/a"]), "hello");
  Reopen();
  EXPECT_EQ(staging().ListSeries()->size(), 1U);
  // Begun again, the old name shows what it had.
  EXPECT_EQ(AsText(staged_.ReadFile(staging().Lookup(staged_.Series("home"), "a")->id)), "hello");
  EXPECT_EQ(staging().RenameSeries("work", "home").code(), Code::kNotEmpty);
  EXPECT_EQ(staging().RenameSeries("nothing", "else").code(), Code::kNotFound);
  EXPECT_EQ(staging().RenameSeries("work", ".hidden").code(), Code::kInvalid);
  // A folder that was only made gives way, as an empty directory does.
  staged_.Series("empty");
  ASSERT_TRUE(IsOk(staging().RenameSeries("work", "empty")));
  EXPECT_TRUE(IsOk(staging().Lookup(staging().LookupSeries("empty")->id, "a")));
}

TEST_F(StagingTest, AnUntouchedFolderMakesNoSnapshotByItself) {
  staged_.Series("made");
  ASSERT_TRUE(IsOk(staging().CommitAll()));
  EXPECT_TRUE(staged_.repo().snapshots().List()->snapshots.empty());
  Commit("made");  // asked for
  EXPECT_EQ(staged_.repo().snapshots().List()->snapshots.size(), 1U);
}

TEST_F(StagingTest, AFullStoreIsToldAndWhatWasClosedIsStoredOnceThereIsRoom) {
  const NodeId root = staged_.Series("home");
  staged_.WriteFile(root, "a", AsBytes("hello"));
  faulty_.Add({.op = FaultBackend::Op::kPut, .error = {Code::kNoSpace, "store is full"}});
  EXPECT_EQ(staging().Commit("home").code(), Code::kNoSpace);
  auto made = staging().Create(root, "b", {});
  ASSERT_TRUE(IsOk(staging().OpenFile(made->id, true, false)));
  Status written = staging().Write(made->id, 0, PseudoRandom(3'000'000, 1));
  if (written.ok()) written = staging().Flush(made->id);
  EXPECT_EQ(written.code(), Code::kNoSpace);
  faulty_.Heal();
  staging().CloseFile(made->id, true);
  auto id = staging().Commit("home");
  for (int i = 0; i < 20 && !id.ok(); ++i) id = staging().Commit("home");
  ASSERT_TRUE(IsOk(id));
  EXPECT_EQ(AsText(staged_.ReadSnapshot(*id)["/a"]), "hello");
}

TEST_F(StagingTest, AWriteOnlyKeySeesNamesAndSendsChangesButReadsNothingStored) {
  const KeyMaterial key = staged_.test().Derive(KeyType::kWriteOnly);
  staged_.Close();
  staged_.Open(TestRepository::Reload(key), "w");
  NodeId root = staged_.Series("home");
  const Bytes data = PseudoRandom(1'000'000, 5);
  NodeId file = staged_.WriteFile(root, "a", data);
  EXPECT_EQ(staged_.ReadFile(file), data);  // in the spool yet
  Commit("home");
  Bytes out(10);
  EXPECT_EQ(staging().Read(file, 0, out).code(), Code::kDenied);
  staged_.Close();
  staged_.Open(TestRepository::Reload(key), "w");
  root = staged_.Series("home");
  auto attr = staging().Lookup(root, "a");
  ASSERT_TRUE(IsOk(attr));
  EXPECT_EQ(attr->size, data.size());
  EXPECT_EQ(staging().Read(attr->id, 0, out).code(), Code::kDenied);
  // Writing into it works without reading: the old pieces are kept by reference.
  ASSERT_TRUE(IsOk(staging().OpenFile(attr->id, true, false)));
  ASSERT_TRUE(IsOk(staging().Write(attr->id, 500'000, AsBytes("patched"))));
  ASSERT_TRUE(IsOk(staging().Flush(attr->id)));
  staging().CloseFile(attr->id, true);
  staged_.WriteFile(root, "b", AsBytes("b"));
  const SnapshotId id = Commit("home");
  staged_.Close();
  staged_.OpenMaster();
  Bytes expected = data;
  std::copy_n("patched", 7, expected.begin() + 500'000);
  auto files = staged_.ReadSnapshot(id);
  EXPECT_EQ(files["/a"], expected);
  EXPECT_EQ(AsText(files["/b"]), "b");
}

TEST_F(StagingTest, ASecondWritableStagingIsRefusedAndToldThePid) {
  Staging::Options options;
  options.directory = staged_.repo().local_directory() + "/staging";
  auto second = Staging::Open(staged_.repo(), options);
  ASSERT_EQ(second.code(), Code::kBusy);
  EXPECT_NE(second.status().message().find(std::to_string(::getpid())), std::string::npos);
}

TEST_F(StagingTest, XattrsAndSetGidDirectories) {
  const NodeId root = staged_.Series("home");
  AttrChange change;
  change.mode = 02775;
  change.gid = 77;
  ASSERT_TRUE(IsOk(staging().SetAttr(root, change)));
  auto dir = staging().Create(root, "d", {.kind = EntryKind::kDirectory, .mode = 0755});
  EXPECT_EQ(dir->gid, 77U);
  EXPECT_EQ(dir->mode, 02755);
  EXPECT_EQ(staging().GetXattr(root, "user.x").code(), Code::kNoData);
  ASSERT_TRUE(IsOk(staging().SetXattr(root, "user.x", "1", XattrMode::kCreate)));
  EXPECT_EQ(staging().SetXattr(root, "user.x", "1", XattrMode::kCreate).code(), Code::kExists);
  EXPECT_EQ(staging().SetXattr(root, "user.y", "1", XattrMode::kReplace).code(), Code::kNoData);
  EXPECT_EQ(*staging().GetXattr(root, "user.x"), "1");
  ASSERT_TRUE(IsOk(staging().RemoveXattr(root, "user.x")));
  EXPECT_TRUE(staging().ListXattrs(root)->empty());
}

}  // namespace
}  // namespace bkfs

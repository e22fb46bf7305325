// SPDX-License-Identifier: Apache-2.0
// A store that locks what is put: nothing that is locked is forgotten or pruned, and what is needed
// stays locked.
#include "engine/maintain/forget.h"
#include "engine/maintain/lock_keeper.h"
#include "engine/maintain/prune.h"
#include "engine/repo/tree_writer.h"
#include "tests/maintain/schedule_world.h"

namespace bkfs {
namespace {

constexpr int64_t kDay = 24 * 3600 * kSecond;

class LockTest : public ::testing::Test {
 protected:
  LockTest() : store_(0, &clock_) {
    store_.LockFor(30 * kDay);
    test_ = std::make_unique<TestRepository>(store_, CreateOptions(), &clock_);
    auto repo = test_->OpenMaster();
    BKFS_CHECK(repo.ok());
    repo_ = *std::move(repo);
  }

  // A snapshot with one file, in packs of its own.
  SnapshotId Make(uint64_t seed) {
    auto writer = repo_->NewWriter(NewMemorySpool(), {});
    BKFS_CHECK(writer.ok());
    DirectoryWriter directory(**writer, repo_->key().chunker_key.view(), nullptr);
    auto blob = (*writer)->Add(PackKind::kContents, ContentsOf(seed));
    EXPECT_TRUE(IsOk(blob));
    Entry entry;
    entry.name = "file";
    entry.size = SizeOf(seed);
    entry.extents = {Extent{entry.size, 0, *blob}};
    EXPECT_TRUE(IsOk(directory.Add(entry)));
    auto ref = directory.Finish();
    EXPECT_TRUE(IsOk(ref));
    EXPECT_TRUE(IsOk((*writer)->Flush()));
    Entry root;
    root.kind = EntryKind::kDirectory;
    root.directory = ref->blob;
    root.totals = ref->totals;
    SnapshotBody body;
    body.name = "series";
    auto snapshot = repo_->snapshots().Commit(std::move(body), root);
    EXPECT_TRUE(IsOk(snapshot));
    return (*snapshot)->id;
  }
  std::set<std::string> Objects(const std::string& prefix) {
    std::set<std::string> names;
    EXPECT_TRUE(IsOk(store_.List(prefix, [&](const std::string& name, uint64_t) {
      names.insert(name);
      return Status();
    })));
    return names;
  }
  PruneReport PruneNow() {
    PruneOptions options;
    options.now = true;
    auto report = Prune(*repo_, options);
    EXPECT_TRUE(IsOk(report));
    return report.ok() ? *report : PruneReport();
  }
  // Days from now until the first lock of these ends.
  int64_t ShortestLock(const std::set<std::string>& names) {
    int64_t shortest = INT64_MAX;
    for (const auto& name : names) {
      shortest = std::min(shortest, store_.LockedUntil(name).value() - clock_.WallNanos());
    }
    return shortest / kDay;
  }

  JumpingClock clock_;
  MemoryBackend store_;
  std::unique_ptr<TestRepository> test_;
  std::unique_ptr<Repository> repo_;
};

TEST_F(LockTest, ASnapshotIsNotForgottenBeforeItsLockEnds) {
  const SnapshotId first = Make(1);
  std::string warned;
  auto locked = ForgetSnapshots(*repo_, {first}, [&](const std::string& what) { warned = what; });
  ASSERT_TRUE(IsOk(locked));
  EXPECT_EQ(*locked, std::vector<SnapshotId>{first});
  EXPECT_NE(warned.find("is locked in the store until"), std::string::npos) << warned;
  EXPECT_EQ(Objects("removed/").size(), 0U);
  EXPECT_EQ(repo_->snapshots().List()->snapshots.size(), 1U);

  clock_.Jump(31 * kDay);
  locked = ForgetSnapshots(*repo_, {first});
  ASSERT_TRUE(IsOk(locked));
  EXPECT_TRUE(locked->empty());
  EXPECT_TRUE(repo_->snapshots().List()->snapshots.empty());
}

TEST_F(LockTest, WhatIsNeededStaysLockedAndTheRestGoesWhenItsLockEnds) {
  const SnapshotId first = Make(1);
  const std::set<std::string> old_packs = Objects("packs/");
  clock_.Jump(20 * kDay);
  const SnapshotId second = Make(2);
  std::set<std::string> needed = Objects("packs/");
  for (const auto& name : old_packs) needed.erase(name);

  // More than half of the time of the first's is over.
  EXPECT_GT(PruneNow().locks_extended, 0U);
  EXPECT_GE(ShortestLock(Objects("packs/")), 29);
  EXPECT_EQ(PruneNow().locks_extended, 0U);

  clock_.Jump(31 * kDay);
  ASSERT_TRUE(IsOk(ForgetSnapshots(*repo_, {first})));
  ASSERT_TRUE(IsOk(store_.Lock(*old_packs.begin(), clock_.WallNanos() + kDay)));
  PruneReport report = PruneNow();
  EXPECT_EQ(report.deleted_packs, old_packs.size() - 1);
  EXPECT_EQ(report.waiting_packs, 1U);
  ASSERT_EQ(report.waiting_for.size(), 1U);
  EXPECT_EQ(report.waiting_for[0], "the store's locks to end");
  EXPECT_TRUE(Objects("packs/").contains(*old_packs.begin()));
  // Condemned, it gets no new lock; the others are kept.
  EXPECT_EQ(ShortestLock({*old_packs.begin()}), 0);
  EXPECT_GE(ShortestLock(needed), 29);
  EXPECT_GE(ShortestLock({"bkfs.repo", "snapshots/" + second.hex()}), 29);

  clock_.Jump(2 * kDay);
  EXPECT_EQ(PruneNow().deleted_packs, 1U);
  EXPECT_EQ(Objects("packs/"), needed);
  EXPECT_EQ(repo_->snapshots().List()->snapshots.size(), 1U);
}

TEST_F(LockTest, LocksAreRememberedAndAskedForAgainWhenTheyRunOut) {
  Make(1);
  LockKeeper keeper(*repo_);
  const std::set<std::string> packs = Objects("packs/");
  const std::vector<std::string> names(packs.begin(), packs.end());
  auto report = keeper.Extend(names, clock_.WallNanos());
  ASSERT_TRUE(IsOk(report));
  EXPECT_EQ(report->extended, 0U);
  EXPECT_EQ(report->locked, names.size());
  clock_.Jump(16 * kDay);
  report = keeper.Extend(names, clock_.WallNanos());
  ASSERT_TRUE(IsOk(report));
  EXPECT_EQ(report->extended, names.size());
  EXPECT_GE(ShortestLock(packs), 29);
  // One that is gone is passed over.
  report = keeper.Extend({"packs/aa/gone", names[0]}, clock_.WallNanos());
  ASSERT_TRUE(IsOk(report));
  EXPECT_EQ(report->locked, 1U);
}

TEST(LockKeeperTest, AStoreWithoutLocksIsLeftAlone) {
  MemoryBackend store;
  TestRepository test(store);
  auto repo = test.OpenMaster();
  ASSERT_TRUE(IsOk(repo));
  auto report = LockKeeper(**repo).Extend({"bkfs.repo", "packs/aa/gone"}, 0);
  ASSERT_TRUE(IsOk(report));
  EXPECT_EQ(report->locked + report->extended, 0U);
}

}  // namespace
}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
// A mount whose machine slept for so long that maintenance ended its lease (doc/maintenance.md,
// W4).
#include <gtest/gtest.h>

#include <filesystem>

#include "engine/maintain/check.h"
#include "engine/maintain/forget.h"
#include "engine/maintain/prune.h"
#include "tests/maintain/schedule_world.h"
#include "tests/staging/staging_fixture.h"

namespace bkfs {
namespace {

using Op = FaultBackend::Op;

class LapsedLeaseTest : public ::testing::Test {
 protected:
  LapsedLeaseTest()
      : store_(0, &clock_),
        faulty_(store_),
        meddled_(
            faulty_, [] {},
            [this](const std::string& what, const std::string& name) {
              if (on_put_ && what == "put") on_put_(name);
            }),
        mount_(meddled_, World::Small(), &clock_) {
    mount_.options.fsync_to_store = true;
    mount_.options.writer.pack_target = 64 << 10;
    mount_.options.writer.contents_frame = 8 << 10;
    mount_.options.writer.trees_frame = 4 << 10;
  }

  void Mount() { mount_.Open(mount_.test().CloneMaster(), "mount"); }
  Staging& staging() { return mount_.staging(); }
  // A file that is closed, and in the store.
  void Write(NodeId dir, const std::string& name, ByteView data) {
    const NodeId file = mount_.WriteFile(dir, name, data);
    ASSERT_TRUE(IsOk(staging().Fsync(file)));
    ASSERT_TRUE(IsOk(staging().Lookup(dir, name)));
  }
  // The machine sleeps, and others go on: after one prune the mount's packs are condemned, after
  // more they are gone.
  void Sleep(int prunes) {
    clock_.Jump(8 * 24 * 3600 * kSecond);
    for (int i = 0; i < prunes; ++i) Maintain();
  }
  void Maintain() {
    auto repo = Maintainer();
    PruneOptions options;
    options.grace_ns = kSecond;  // one prune condemns, the next one deletes
    clock_.Jump(10 * kSecond);
    ASSERT_TRUE(IsOk(Prune(*repo, options)));
  }
  std::unique_ptr<Repository> Maintainer() {
    Repository::Options options;
    options.cache_directory = mount_.test().folder() + "/maintainer";
    options.index_memory = 4 << 20;
    auto repo = Repository::Open(std::make_unique<BorrowedBackend>(store_),
                                 mount_.test().CloneMaster(), options, log_, clock_);
    BKFS_CHECK(repo.ok());
    return std::move(*repo);
  }
  size_t Objects(const std::string& prefix) {
    size_t count = 0;
    EXPECT_TRUE(IsOk(store_.List(prefix, [&](const std::string&, uint64_t) {
      ++count;
      return Status();
    })));
    return count;
  }
  std::map<std::string, Bytes> Commit() {
    auto id = staging().Commit("s");
    EXPECT_TRUE(IsOk(id));
    if (!id.ok()) return {};
    return Read(*id);
  }
  // With nothing of the mount's memory; and whatever is not whole is told.
  std::map<std::string, Bytes> Read(const SnapshotId& id) {
    const std::string cache = mount_.test().folder() + "/reader";
    std::filesystem::remove_all(cache);
    Repository::Options options;
    options.cache_directory = cache;
    options.index_memory = 4 << 20;
    auto repo = Repository::Open(std::make_unique<BorrowedBackend>(store_),
                                 mount_.test().CloneMaster(), options, log_, clock_);
    EXPECT_TRUE(IsOk(repo));
    auto checked = CheckRepository(**repo, {}, {});
    EXPECT_TRUE(IsOk(checked));
    for (const auto& file : checked->files) ADD_FAILURE() << file.path << file.why.message();
    for (const auto& object : checked->objects) ADD_FAILURE() << object.object;
    return StagedRepository::ReadSnapshotOf(**repo, id);
  }
  std::string StatusText() {
    auto text = staging().StatusText();
    EXPECT_TRUE(IsOk(text));
    return *text;
  }
  bool IsLost(const std::string& what) {
    const std::string text = StatusText();
    return text.find("  lost: ") != text.npos && text.find("\n    " + what + "\n") != text.npos;
  }

  JumpingClock clock_;
  MemoryBackend store_;
  FaultBackend faulty_;
  std::function<void(const std::string&)> on_put_;
  MeddledBackend meddled_;
  NullLogger log_;
  StagedRepository mount_;
};

const Bytes kSmall = PseudoRandom(20'000, 1);
const Bytes kLarge = PseudoRandom(3'000'000, 2);  // its pieces stand in lists

TEST_F(LapsedLeaseTest, WhatIsCondemnedAndNotDeletedIsStoredAgain) {
  Mount();
  const NodeId root = mount_.Series("s");
  const NodeId dir = staging().Create(root, "dir", {.kind = EntryKind::kDirectory})->id;
  Write(root, "small", kSmall);
  Write(dir, "large", kLarge);
  Sleep(1);
  auto files = Commit();
  EXPECT_EQ(files["/small"], kSmall);
  EXPECT_EQ(files["/dir/large"], kLarge);
  EXPECT_EQ(StatusText().find("lost"), std::string::npos);
  // Nothing relies on the old copies any more.
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(IsOk(staging().RenewLease()));
    Maintain();
  }
  EXPECT_EQ(Read(staging().ListSeries()->at(0).last_snapshot).size(), 2U);
}

TEST_F(LapsedLeaseTest, WhatIsGoneIsToldUntilSomethingWasWritten) {
  Mount();
  const NodeId root = mount_.Series("s");
  const NodeId dir = staging().Create(root, "dir", {.kind = EntryKind::kDirectory})->id;
  Write(root, "small", kSmall);
  Write(dir, "large\n", kLarge);
  ASSERT_TRUE(IsOk(staging().Link(staging().Lookup(root, "small")->id, dir, "linked")));
  Sleep(3);
  EXPECT_TRUE(Commit().empty());
  EXPECT_TRUE(IsLost("small") || IsLost("dir/linked")) << StatusText();
  EXPECT_TRUE(IsLost("dir/large\\x0a")) << StatusText();
  EXPECT_NE(StatusText().find("lost: 2 files that"), std::string::npos) << StatusText();
  EXPECT_EQ(staging().Lookup(root, "small").code(), Code::kNotFound);
  EXPECT_EQ(staging().Lookup(dir, "linked").code(), Code::kNotFound);
  EXPECT_EQ(staging().TakeGone().size(), 3U);
  EXPECT_TRUE(staging().TakeGone().empty());
  // Still told after a restart, and by a commit that finds nothing to do.
  mount_.Close();
  Mount();
  EXPECT_TRUE(IsLost("dir/large\\x0a")) << StatusText();
  EXPECT_TRUE(Commit().empty());
  EXPECT_TRUE(IsLost("dir/large\\x0a")) << StatusText();
  Write(mount_.Series("s"), "small", kSmall);
  EXPECT_EQ(Commit()["/small"], kSmall);
  EXPECT_EQ(StatusText().find("lost"), std::string::npos);
}

TEST_F(LapsedLeaseTest, AKeyThatCannotReadLosesWhatIsCondemned) {
  const KeyMaterial key = mount_.test().Derive(KeyType::kWriteOnly);
  mount_.Open(TestRepository::Reload(key), "mount");
  const NodeId root = mount_.Series("s");
  const NodeId dir = staging().Create(root, "dir", {.kind = EntryKind::kDirectory})->id;
  Write(dir, "before", kSmall);
  ASSERT_TRUE(IsOk(staging().Commit("s")));
  Write(dir, "large", kLarge);
  Sleep(1);
  auto files = Commit();
  EXPECT_EQ(files.size(), 1U);
  EXPECT_EQ(files["/dir/before"], kSmall);
  EXPECT_TRUE(IsLost("dir/large")) << StatusText();
  Write(dir, "large", kLarge);
  EXPECT_EQ(Commit()["/dir/large"], kLarge);
}

TEST_F(LapsedLeaseTest, AStoreThatFailsLosesNothing) {
  Mount();
  const NodeId root = mount_.Series("s");
  Write(root, "large", kLarge);
  Sleep(1);
  const size_t leases = Objects("leases/");
  faulty_.Add({.op = Op::kPut, .prefix = "packs/", .error = {Code::kNoSpace, "store is full"}});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(staging().Commit("s").code(), Code::kNoSpace);
  EXPECT_TRUE(IsOk(staging().Lookup(root, "large")));
  EXPECT_EQ(StatusText().find("lost:"), std::string::npos);
  EXPECT_LE(Objects("leases/"), leases + 1);  // not one for each try
  faulty_.Heal();
  // The maintainer cannot go further meanwhile: the new lease has not moved on.
  Maintain();
  Maintain();
  EXPECT_EQ(Commit()["/large"], kLarge);
}

TEST_F(LapsedLeaseTest, AReadThatMaySucceedLaterLosesNothing) {
  Mount();
  const NodeId root = mount_.Series("s");
  Write(root, "large", kLarge);
  Sleep(1);
  faulty_.Add({.op = Op::kReadAt, .prefix = "packs/"});
  EXPECT_EQ(staging().Commit("s").code(), Code::kUnavailable);
  EXPECT_TRUE(IsOk(staging().Lookup(root, "large")));
  faulty_.Heal();
  EXPECT_EQ(Commit()["/large"], kLarge);
}

TEST_F(LapsedLeaseTest, AMachineThatWasOffForWeeks) {
  Mount();
  Write(mount_.Series("s"), "large", kLarge);
  mount_.Close();
  Sleep(1);
  faulty_.Add({.op = Op::kPut, .prefix = "packs/", .error = {Code::kNoSpace, "store is full"}});
  EXPECT_EQ(mount_.TryOpen(mount_.test().CloneMaster(), "mount").code(), Code::kNoSpace);
  faulty_.Heal();
  Maintain();
  Maintain();
  Mount();
  EXPECT_EQ(Commit()["/large"], kLarge);
  EXPECT_EQ(StatusText().find("lost"), std::string::npos);
}

TEST_F(LapsedLeaseTest, AMachineThatWasOffForTooLong) {
  Mount();
  Write(mount_.Series("s"), "large", kLarge);
  mount_.Close();
  Sleep(3);
  Mount();
  EXPECT_TRUE(IsLost("large")) << StatusText();
  EXPECT_TRUE(staging().TakeGone().empty());  // nobody had seen it
  EXPECT_TRUE(Commit().empty());
  EXPECT_TRUE(IsLost("large")) << StatusText();
}

// The directories' own blobs were stored by a commit that failed at the last step.
TEST_F(LapsedLeaseTest, DirectoriesAreStoredAgainAfterACrash) {
  Mount();
  const NodeId root = mount_.Series("s");
  Write(root, "small", kSmall);
  faulty_.Add({.op = Op::kPut, .prefix = "snapshots/"});
  EXPECT_EQ(staging().Commit("s").code(), Code::kUnavailable);
  faulty_.Heal();
  mount_.Close();
  Sleep(3);
  // Killed after the new lease was put, before anything was looked at.
  faulty_.Add({.op = Op::kGet, .prefix = "index/"});
  faulty_.Add({.op = Op::kList, .prefix = "packs/"});
  faulty_.Add({.op = Op::kPut, .prefix = "leases/", .first = 2});
  EXPECT_FALSE(mount_.TryOpen(mount_.test().CloneMaster(), "mount").ok());
  faulty_.Heal();
  Mount();
  EXPECT_TRUE(Commit().empty());
  EXPECT_TRUE(IsLost("small")) << StatusText();
}

TEST_F(LapsedLeaseTest, AFileThatIsOpenGoesOnWithWhatCanBeRead) {
  Mount();
  const NodeId file = staging().Create(mount_.Series("s"), "large", {})->id;
  ASSERT_TRUE(IsOk(staging().OpenFile(file, true, false)));
  const ByteView all(kLarge);
  ASSERT_TRUE(IsOk(staging().Write(file, 0, all.first(2'000'000))));
  Sleep(1);
  ASSERT_TRUE(IsOk(staging().Commit("s")));
  ASSERT_TRUE(IsOk(staging().Write(file, 2'000'000, all.subspan(2'000'000))));
  ASSERT_TRUE(IsOk(staging().Flush(file)));
  staging().CloseFile(file, true);
  EXPECT_EQ(Commit()["/large"], kLarge);
}

TEST_F(LapsedLeaseTest, WhoWritesIntoAFileThatHasLostItsBeginningIsTold) {
  Mount();
  const NodeId root = mount_.Series("s");
  const NodeId file = staging().Create(root, "large", {})->id;
  ASSERT_TRUE(IsOk(staging().OpenFile(file, true, false)));
  ASSERT_TRUE(IsOk(staging().Write(file, 0, kLarge)));
  Write(root, "small", kSmall);  // and what the other one has so far is in the store too
  Sleep(3);
  EXPECT_EQ(Commit()["/large"], Bytes());  // as it was when it was made
  EXPECT_EQ(staging().Write(file, kLarge.size(), kSmall).code(), Code::kIo);
  EXPECT_EQ(staging().Flush(file).code(), Code::kIo);
  EXPECT_EQ(staging().Fsync(file).code(), Code::kIo);
  staging().CloseFile(file, true);
  mount_.WriteFile(root, "large", kLarge);
  EXPECT_EQ(Commit()["/large"], kLarge);
}

// Maintenance ends the lease after the commit's first look at it.
TEST_F(LapsedLeaseTest, EndedWhileACommitIsUnderWay) {
  Mount();
  const NodeId root = mount_.Series("s");
  Write(root, "large", kLarge);
  Write(root, "small", kSmall);
  bool slept = false;
  on_put_ = [&](const std::string& name) {
    if (slept || !name.starts_with("index/")) return;
    slept = true;
    Sleep(1);
  };
  auto id = staging().Commit("s");
  ASSERT_TRUE(IsOk(id));
  EXPECT_TRUE(slept);
  on_put_ = nullptr;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(IsOk(staging().RenewLease()));
    Maintain();
  }
  auto files = Read(*id);
  EXPECT_EQ(files["/large"], kLarge);
  EXPECT_EQ(files["/small"], kSmall);
}

TEST_F(LapsedLeaseTest, TheSnapshotThatASeriesBuildsOnWasForgotten) {
  Mount();
  Write(mount_.Series("s"), "large", kLarge);
  auto first = staging().Commit("s");
  ASSERT_TRUE(IsOk(first));
  mount_.Close();
  Mount();  // so that the tree is not in the journal
  const NodeId root = mount_.Series("s");
  Write(root, "small", kSmall);
  clock_.Jump(8 * 24 * 3600 * kSecond);
  ASSERT_TRUE(IsOk(ForgetSnapshots(*Maintainer(), {*first})));
  Sleep(1);
  auto files = Commit();
  EXPECT_EQ(files["/large"], kLarge);
  EXPECT_EQ(files["/small"], kSmall);
}

// The lease holds all the time; what the tree rests on has another name now, and is pinned still.
TEST_F(LapsedLeaseTest, ARenamedSeriesKeepsWhatItGoesOnFrom) {
  Mount();
  const NodeId root = mount_.Series("before");
  Write(staging().Create(root, "dir", {.kind = EntryKind::kDirectory})->id, "large", kLarge);
  auto first = staging().Commit("before");
  ASSERT_TRUE(IsOk(first));
  mount_.Close();
  Mount();  // so that the tree is not in the journal
  mount_.Series("before");
  ASSERT_TRUE(IsOk(staging().RenameSeries("before", "s")));
  ASSERT_TRUE(IsOk(ForgetSnapshots(*Maintainer(), {*first})));
  for (int i = 0; i < 3; ++i) {
    mount_.Close();
    Mount();  // heeds what was condemned
    Maintain();
  }
  EXPECT_EQ(Commit()["/dir/large"], kLarge);
}

// Ended and begun again, it rests on its own last snapshot, whatever it had been renamed from.
TEST_F(LapsedLeaseTest, ARenamedSeriesThatIsBegunAgainRestsOnItsOwn) {
  Mount();
  NodeId root = mount_.Series("s");
  Write(staging().Create(root, "dir", {.kind = EntryKind::kDirectory})->id, "large", kLarge);
  auto first = staging().Commit("s");
  ASSERT_TRUE(IsOk(first));
  ASSERT_TRUE(IsOk(staging().EndSeries("s")));
  Write(mount_.Series("before"), "other", kSmall);
  ASSERT_TRUE(IsOk(staging().Commit("before")));
  ASSERT_TRUE(IsOk(staging().RenameSeries("before", "s")));
  ASSERT_TRUE(IsOk(staging().Unlink(mount_.Series("s"), "other")));
  ASSERT_TRUE(IsOk(staging().EndSeries("s")));
  root = mount_.Series("s");
  Write(root, "small", kSmall);
  ASSERT_TRUE(IsOk(ForgetSnapshots(*Maintainer(), {*first})));
  for (int i = 0; i < 3; ++i) {
    mount_.Close();
    Mount();
    Maintain();
  }
  auto files = Commit();
  EXPECT_EQ(files["/dir/large"], kLarge);
  EXPECT_EQ(files["/small"], kSmall);
}

TEST_F(LapsedLeaseTest, ListsOfLostFilesAreBounded) {
  Mount();
  const NodeId root = mount_.Series("s");
  for (int i = 0; i < 30; ++i) {
    mount_.WriteFile(root, std::to_string(i), PseudoRandom(3000, static_cast<uint64_t>(i + 10)));
  }
  Write(root, "last", kSmall);
  Sleep(3);
  EXPECT_TRUE(Commit().empty());
  EXPECT_NE(StatusText().find("lost: 31 files that"), std::string::npos) << StatusText();
  EXPECT_TRUE(IsLost("and 11 more")) << StatusText();
}

}  // namespace
}  // namespace bkfs

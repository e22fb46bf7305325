// SPDX-License-Identifier: Apache-2.0
// What a mount shows of snapshots that are forgotten, and of decisions that are forged.
#include <algorithm>
#include <set>

#include "engine/format/lease.h"
#include "engine/format/maintenance.h"
#include "engine/maintain/check.h"
#include "engine/maintain/forget.h"
#include "engine/maintain/prune.h"
#include "tests/fs/tree_under_test.h"

namespace bkfs {
namespace {

constexpr Caller kUser{0, 0, 022};

// Two snapshots: a differs, b does not, both in a directory that therefore differs.
class ForgottenTest : public ::testing::Test {
 protected:
  ForgottenTest() : test_(store_) {
    master_ = *test_.OpenMaster();
    Staging::Options options;
    options.directory = master_->local_directory() + "/staging";
    options.commit_idle_ns = 0;
    auto staging = Staging::Open(*master_, std::move(options));
    EXPECT_TRUE(IsOk(staging));
    const NodeId series = (*staging)->CreateSeries("s", {.mode = 0755})->id;
    const NodeId dir =
        (*staging)->Create(series, "d", {.kind = EntryKind::kDirectory, .mode = 0755})->id;
    for (const char* name : {"a", "b"}) EXPECT_TRUE((*staging)->Create(dir, name, {}).ok());
    // In a pack of its own.
    Put(**staging, dir, "b", 7);
    EXPECT_TRUE(IsOk((*staging)->Commit("s")));
    for (uint64_t seed : {1U, 2U}) {
      Put(**staging, dir, "a", seed);
      auto made = (*staging)->Commit("s");
      EXPECT_TRUE(IsOk(made));
      (seed == 1 ? first_ : second_) = *made;
    }
  }
  static void Put(Staging& staging, NodeId dir, const char* name, uint64_t seed) {
    const NodeId file = staging.Lookup(dir, name)->id;
    EXPECT_TRUE(IsOk(staging.OpenFile(file, true, true)));
    EXPECT_TRUE(IsOk(staging.Write(file, 0, PseudoRandom(kSize, seed))));
    EXPECT_TRUE(IsOk(staging.Flush(file)));
    staging.CloseFile(file, true);
  }

  void Mount(bool leased) {
    Repository::Options options;
    options.cache_directory = test_.folder() + "/reader";
    options.frame_cache = 1;
    options.tree_cache = 1;
    auto repo =
        Repository::Open(std::make_unique<BorrowedBackend>(store_),
                         test_.Derive(KeyType::kReadOnly), options, test_.log(), test_.clock());
    ASSERT_TRUE(IsOk(repo));
    repo_ = *std::move(repo);
    if (leased) {
      reader_ = std::make_unique<ReaderLease>(*repo_);
      lease_ = *LeaseHolder::Begin(*repo_, {});
      ASSERT_TRUE(IsOk(lease_->Start([this](const auto&) {
        LeasePins pins;
        pins.roots = reader_->Roots();
        return Result<LeasePins>(std::move(pins));
      })));
      reader_->RelyOn(lease_.get());
    }
    FileSystem::Options shown;
    shown.lease = reader_.get();
    fs_ = std::make_unique<FileSystem>(*repo_, nullptr, shown);
  }
  // A number that is held, as the kernel does.
  Ino Find(const SnapshotId& snapshot, const std::vector<std::string>& names) {
    Ino ino = fs_->Lookup(kUser, kSnapshotsIno, snapshot.hex())->attr.ino;
    for (const auto& name : names) {
      auto node = fs_->Lookup(kUser, ino, name);
      EXPECT_TRUE(IsOk(node));
      ino = node->attr.ino;
    }
    return ino;
  }
  void ForgetAndDelete(const SnapshotId& snapshot) {
    ASSERT_TRUE(IsOk(ForgetSnapshots(*master_, {snapshot})));
    PruneOptions options;
    options.grace_ns = 0;
    for (int i = 0; i < 3; ++i) {
      if (lease_) {
        ASSERT_TRUE(IsOk(lease_->Renew()));
      }
      ASSERT_TRUE(IsOk(Prune(*master_, options)));
    }
    // The mount looks again when it is asked for what it does not know.
    const std::string unknown(2 * SnapshotId::kSize, 'f');
    EXPECT_EQ(fs_->Lookup(kUser, kSnapshotsIno, unknown).code(), Code::kNotFound);
    EXPECT_EQ(fs_->Lookup(kUser, kSnapshotsIno, snapshot.hex()).code(), Code::kNotFound);
  }
  Status Read(Ino ino, uint64_t handle, uint64_t seed) {
    Bytes out(kSize);
    auto n = fs_->Read(ino, handle, 0, out);
    if (!n.ok()) return n.status();
    EXPECT_EQ(out, PseudoRandom(kSize, seed));
    return {};
  }
  Status List(Ino dir) {
    return fs_->ReadDir(dir, 2, false, [](const DirItem&) { return true; });
  }

  static constexpr size_t kSize = 60'000;
  MemoryBackend store_;
  TestRepository test_;
  std::unique_ptr<Repository> master_;
  SnapshotId first_;
  SnapshotId second_;
  std::unique_ptr<Repository> repo_;
  std::unique_ptr<ReaderLease> reader_;
  std::unique_ptr<LeaseHolder> lease_;
  std::unique_ptr<FileSystem> fs_;
};

TEST_F(ForgottenTest, WhatIsOpenIsReadOnAndTheRestIsStale) {
  Mount(true);
  const Ino dir = Find(first_, {"d"});
  const Ino file = Find(first_, {"d", "a"});
  auto opened = fs_->Open(kUser, file, {});
  ASSERT_TRUE(IsOk(opened));
  ForgetAndDelete(first_);
  EXPECT_TRUE(IsOk(Read(file, opened->handle, 1)));
  // Something of the snapshot is open, so all of it is there.
  auto listed = fs_->OpenDir(dir);
  ASSERT_TRUE(IsOk(listed));
  fs_->Release(file, opened->handle);
  ForgetAndDelete(first_);
  EXPECT_TRUE(IsOk(List(dir)));
  EXPECT_TRUE(IsOk(fs_->GetAttr(file)));
  fs_->ReleaseDir(dir, listed->handle);
  ForgetAndDelete(first_);
  EXPECT_EQ(List(dir).code(), Code::kStale);
  EXPECT_EQ(fs_->OpenDir(dir).code(), Code::kStale);
  EXPECT_EQ(fs_->Lookup(kUser, dir, "a").code(), Code::kStale);
  EXPECT_EQ(fs_->GetAttr(file).code(), Code::kStale);
  EXPECT_EQ(fs_->Open(kUser, file, {}).code(), Code::kStale);
  EXPECT_EQ(Read(file, 0, 1).code(), Code::kStale);
}

TEST_F(ForgottenTest, WithoutALeaseToo) {
  Mount(false);
  const Ino dir = Find(first_, {"d"});
  const Ino file = Find(first_, {"d", "a"});
  ForgetAndDelete(first_);
  EXPECT_TRUE(IsOk(Read(Find(second_, {"d", "a"}), 0, 2)));  // and nothing else is in memory
  EXPECT_EQ(List(dir).code(), Code::kStale);
  EXPECT_EQ(fs_->Lookup(kUser, dir, "b").code(), Code::kStale);
  EXPECT_EQ(Read(file, 0, 1).code(), Code::kStale);
}

// One inode in both snapshots, whichever goes.
TEST_F(ForgottenTest, AFileThatTheOtherSnapshotHasToo) {
  Mount(true);
  const Ino file = Find(second_, {"d", "b"});
  ASSERT_EQ(Find(first_, {"d", "b"}), file);
  auto opened = fs_->Open(kUser, file, {});
  ASSERT_TRUE(IsOk(opened));
  ASSERT_EQ(Find(second_, {"d", "b"}), file);  // it stays where it was opened
  ForgetAndDelete(first_);
  EXPECT_TRUE(IsOk(Read(file, opened->handle, 7)));
  fs_->Release(file, opened->handle);
  ForgetAndDelete(first_);
  EXPECT_EQ(fs_->Open(kUser, file, {}).code(), Code::kStale);
  // The kernel then looks its path up again.
  ASSERT_EQ(Find(second_, {"d", "b"}), file);
  EXPECT_TRUE(IsOk(fs_->Open(kUser, file, {})));
  EXPECT_TRUE(IsOk(Read(file, 0, 7)));
}

TEST_F(ForgottenTest, AFileThatTheOtherSnapshotHasTooWithoutALease) {
  Mount(false);
  const Ino file = Find(first_, {"d", "b"});
  ASSERT_EQ(Find(second_, {"d", "b"}), file);
  ForgetAndDelete(first_);
  EXPECT_TRUE(IsOk(Read(file, 0, 7)));
}

class ForgedTest : public TreeTest {};

TEST_P(ForgedTest, DecisionsAreNamedAndNotObeyed) {
  ASSERT_EQ(tree().MakeDir("/incoming/s"), 0);
  ASSERT_EQ(tree().WriteFile("/incoming/s/f", PseudoRandom(100'000, 1)), 0);
  auto made = stack_.staging()->Commit("s");
  ASSERT_TRUE(IsOk(made));
  TestRepository& test = stack_.test();
  const RepoId repo = test.master().repo;
  LeaseId lease;  // the mount's own
  std::vector<PackId> packs;
  ASSERT_TRUE(IsOk(stack_.store().List("", [&](const std::string& name, uint64_t) {
    auto object = ParseLeaseName(name);
    if (object.ok()) lease = object->id;
    auto pack = ParsePackName(name);
    if (pack.ok()) packs.push_back(*pack);
    return Status();
  })));
  std::sort(packs.begin(), packs.end());
  std::set<std::string> forged;
  auto put = [&](const std::string& name, const Bytes& object) {
    stack_.store().Replace(name, object);
    forged.insert(name);
  };
  uint64_t number = 0;
  MemoryBackend elsewhere;
  TestRepository foreign(elsewhere);  // whose keys nobody here knows
  const KeyMaterial stolen[] = {test.Derive(KeyType::kWriteOnly), test.Derive(KeyType::kReadWrite),
                                foreign.CloneMaster()};
  for (const KeyMaterial& key : stolen) {
    const Bytes removal = EncodeRemoval({key.id(), 1, {*made}}, repo, key.signing);
    put(RemovalName(RemovalIdOf(removal)), removal);
    LogEntry entry;
    entry.signer = key.id();
    entry.number = ++number;
    entry.doomed = packs;
    put(LogEntryName(number), EncodeLogEntry(entry, repo, key.signing));
    put(FenceName(lease), EncodeFence({key.id(), lease, 1}, repo, key.signing));
    put(ClosureName(lease), EncodeClosure({key.id(), lease, 1, {}}, repo, key.signing));
  }
  ASSERT_EQ(forged.size(), 8U);
  ASSERT_TRUE(IsOk(stack_.staging()->RenewLease()));
  EXPECT_EQ(Read("/snapshots/" + made->hex() + "/f"), PseudoRandom(100'000, 1));
  Bytes status;
  ASSERT_EQ(tree().ReadAt("/incoming/.status", 0, 100'000, status), 0);
  for (const auto& name : forged) {
    EXPECT_NE(AsText(status).find("passed over: " + name + ": "), std::string_view::npos) << name;
  }
  // The mount goes on under its lease.
  ASSERT_EQ(tree().WriteFile("/incoming/s/g", PseudoRandom(1000, 2)), 0);
  EXPECT_TRUE(IsOk(stack_.staging()->Commit("s")));
  EXPECT_EQ(Read("/incoming/s/f"), PseudoRandom(100'000, 1));
  auto report = CheckRepository(**test.OpenMaster(), {}, {});
  ASSERT_TRUE(IsOk(report));
  std::set<std::string> named;
  for (const auto& problem : report->objects) named.insert(problem.object);
  EXPECT_EQ(named, forged);
  // A rightful key is not kept from its work.
  auto maintain = test.Open(test.Derive(KeyType::kMaintain), test.folder() + "/maintain");
  ASSERT_TRUE(IsOk(maintain));
  PruneOptions options;
  options.grace_ns = 0;
  for (int i = 0; i < 2; ++i) {
    auto pruned = Prune(**maintain, options);
    ASSERT_TRUE(IsOk(pruned));
    EXPECT_EQ(pruned->snapshots, 2U);
    EXPECT_EQ(pruned->deleted_packs, 0U);
    ASSERT_TRUE(IsOk(stack_.staging()->RenewLease()));
  }
  ASSERT_TRUE(IsOk(ForgetSnapshots(**maintain, {*made})));
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(IsOk(Prune(**maintain, options)));
    ASSERT_TRUE(IsOk(stack_.staging()->RenewLease()));
  }
  EXPECT_EQ(Read("/incoming/s/f"), PseudoRandom(100'000, 1));
}

INSTANTIATE_TEST_SUITE_P(InProcessAndMounted, ForgedTest, ::testing::Bool(),
                         [](const auto& way) { return way.param ? "Mounted" : "InProcess"; });

}  // namespace
}  // namespace bkfs

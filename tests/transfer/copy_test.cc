// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/copy.h"

#include "engine/format/maintenance.h"
#include "tests/transfer/transfer_fixture.h"

namespace bkfs {
namespace {

namespace fs = std::filesystem;

class CopyWatcher final : public CopyObserver {
 public:
  void Done(const Snapshot&, const CopyOutcome&) override {}
  void Progress(const CopyCounts&) override { ++asked; }
  bool Cancelled() override { return asked > cancel_after; }
  int asked = 0;
  int cancel_after = 1 << 30;
};

CreateOptions SmallPieces() {
  CreateOptions options;
  options.chunks = {4 << 10, 8 << 10, 16 << 10};
  return options;
}

class CopyTest : public TransferTest {
 protected:
  CopyTest() : to_faulty_(to_store_), to_(to_faulty_, SmallPieces()) {
    to_key_ = to_.Derive(KeyType::kReadWrite);
  }
  void Fill() {
    Write(At("a/file"), PseudoRandom(100'000, 1));
    Write(At("a/deep/er/still"), PseudoRandom(5000, 2));
    Write(At("large"), PseudoRandom(9 << 20, 3));
    Write(At("empty"), {});
    Write(At("b/one"), PseudoRandom(3000, 4));
    fs::create_hard_link(At("b/one"), At("b/two"));
    fs::create_symlink("nowhere", At("link"));
    fs::create_directory(At("nothing"));
    ASSERT_EQ(::mkfifo(At("pipe").c_str(), 0640), 0);
    ASSERT_EQ(::setxattr(At("large").c_str(), "user.x", "value", 5, 0), 0);
    UniqueFd sparse(::open(At("sparse").c_str(), O_RDWR | O_CREAT, 0600));
    ASSERT_EQ(::pwrite(sparse.get(), "x", 1, 8 << 20), 1);
    for (int i = 0; i < 300; ++i) Write(At("many/" + std::to_string(i)), PseudoRandom(50, 100 + i));
    SetTime(At("a"), 1000, 5);
  }
  SnapshotId BackUp() {
    auto made = Backup();
    EXPECT_TRUE(IsOk(made));
    return made->snapshot;
  }
  Result<CopyResult> Copy(const std::vector<SnapshotId>& which) { return Copy(which, to_key_); }
  Result<CopyResult> Copy(const std::vector<SnapshotId>& which, const KeyMaterial& key) {
    auto to =
        to_.Open(key.type == KeyType::kMaster ? to_.CloneMaster() : TestRepository::Reload(key),
                 to_.folder() + "/cache");
    if (!to.ok()) return to.status();
    CopyOptions options;
    options.host = "host";
    watcher_of_copy_.asked = 0;
    return RunCopy(*repo_, **to, which, options, watcher_of_copy_);
  }
  std::unique_ptr<Repository> OpenTo() {
    return std::move(to_.Open(to_.CloneMaster(), to_.folder() + "/" + std::to_string(++opened_)))
        .value();
  }
  // The copy restores as what was backed up.
  void ExpectSame(const SnapshotId& copy, const std::map<std::string, std::string>& want) {
    fs::remove_all(dest());
    auto to = OpenTo();
    auto snapshot = to->snapshots().Resolve(copy.hex());
    ASSERT_TRUE(IsOk(snapshot));
    auto root = to->snapshots().Root(**snapshot);
    ASSERT_TRUE(IsOk(root));
    ASSERT_TRUE(IsOk(RunRestore(*to, *root, dest(), {}, watcher_)));
    EXPECT_EQ(Describe(dest()), want);
    EXPECT_TRUE(watcher_.failures().empty());
  }
  size_t SnapshotsThere() {
    auto list = OpenTo()->snapshots().List();
    EXPECT_TRUE(IsOk(list));
    EXPECT_TRUE(list->problems.empty());
    return list->snapshots.size();
  }

  MemoryBackend to_store_;
  FaultBackend to_faulty_;
  TestRepository to_;
  KeyMaterial to_key_;
  CopyWatcher watcher_of_copy_;
  int opened_ = 0;
};

TEST_F(CopyTest, ACopyIsWhatWasBackedUp) {
  Fill();
  const auto before = Describe(source());
  const SnapshotId first = BackUp();
  auto made = Copy({first});
  ASSERT_TRUE(IsOk(made));
  ASSERT_EQ(made->snapshots.size(), 1U);
  EXPECT_TRUE(made->snapshots[0].made);
  EXPECT_GT(made->counts.read_bytes, 9U << 20);
  ExpectSame(made->snapshots[0].copy, before);
  auto source_record = repo_->snapshots().Resolve(first.hex()).value();
  auto to = OpenTo();
  auto copy = to->snapshots().Resolve(made->snapshots[0].copy.hex()).value();
  EXPECT_EQ(copy->envelope.signer, to_key_.id());
  const SnapshotBody &a = source_record->body, &b = copy->body;
  EXPECT_EQ(std::tie(a.name, a.host, a.user, a.time_ns, a.end_ns, a.totals, a.tags, a.paths),
            std::tie(b.name, b.host, b.user, b.time_ns, b.end_ns, b.totals, b.tags, b.paths));
  EXPECT_NE(a.lease, b.lease);
  EXPECT_GT(b.added, 9U << 20);
}

TEST_F(CopyTest, OnlyWhatIsMissingIsReadAndStored) {
  Fill();
  const SnapshotId first = BackUp();
  auto made = Copy({first});
  ASSERT_TRUE(IsOk(made));
  auto again = Copy({first});
  ASSERT_TRUE(IsOk(again));
  EXPECT_FALSE(again->snapshots[0].made);
  EXPECT_EQ(again->snapshots[0].copy, made->snapshots[0].copy);
  EXPECT_EQ(again->counts.read_bytes, 0U);
  EXPECT_EQ(again->writer.bytes_new, 0U);
  EXPECT_EQ(SnapshotsThere(), 1U);
  // A new file in one directory: the others are taken over as they are.
  Write(At("a/new"), PseudoRandom(20'000, 9));
  const auto now = Describe(source());
  const SnapshotId second = BackUp();
  auto next = Copy({first, second, second});
  ASSERT_TRUE(IsOk(next));
  ASSERT_EQ(next->snapshots.size(), 2U);
  EXPECT_FALSE(next->snapshots[0].made);
  EXPECT_TRUE(next->snapshots[1].made);
  EXPECT_EQ(next->counts.read_bytes, 20'000U);
  ExpectSame(next->snapshots[1].copy, now);
  auto copy = OpenTo()->snapshots().Resolve(next->snapshots[1].copy.hex()).value();
  EXPECT_EQ(copy->body.parent, made->snapshots[0].copy);
}

// What is remembered of a directory does not count when the snapshot it lies in is gone: what is
// below it may have been deleted.
TEST_F(CopyTest, DirectoriesOfForgottenCopiesAreGoneThroughAgain) {
  Fill();
  const auto want = Describe(source());
  auto made = Copy({BackUp()});
  ASSERT_TRUE(IsOk(made));
  const SnapshotId gone = made->snapshots[0].copy;
  const Bytes removal =
      EncodeRemoval({to_.master().id(), 1, {gone}}, to_.master().repo, to_.master().signing);
  ASSERT_TRUE(IsOk(to_store_.PutOne(RemovalName(RemovalIdOf(removal)), removal)));
  std::vector<std::string> packs;
  ASSERT_TRUE(IsOk(to_store_.List("packs/", [&](const std::string& name, uint64_t) {
    packs.push_back(name);
    return Status();
  })));
  // Everything but the pack of the trees, as a prune might for a while.
  LogEntry condemn;
  for (const auto& name : packs) {
    if (DecodePackHeader(*to_store_.Get(name)).value() == PackKind::kTrees) continue;
    condemn.condemned.push_back(ParsePackName(name).value());
  }
  auto to = OpenTo();
  ASSERT_TRUE(IsOk(to->maintenance().Append(condemn, to_.master().signing, 0)));
  LogEntry doom;
  doom.doomed = condemn.condemned;
  ASSERT_TRUE(IsOk(to->maintenance().Append(doom, to_.master().signing, 1)));
  for (const auto& id : doom.doomed) ASSERT_TRUE(IsOk(to_store_.Remove(PackName(id))));
  const SnapshotId second = BackUp();
  auto next = Copy({second});
  ASSERT_TRUE(IsOk(next));
  EXPECT_TRUE(next->snapshots[0].made);
  EXPECT_GT(next->counts.read_bytes, 9U << 20);
  ExpectSame(next->snapshots[0].copy, want);
}

TEST_F(CopyTest, AWriteOnlyKeyRemembersWhatItCopied) {
  Fill();
  const SnapshotId first = BackUp();
  const KeyMaterial key = to_.Derive(KeyType::kWriteOnly);
  ASSERT_TRUE(IsOk(Copy({first}, key)));
  auto again = Copy({first}, key);
  ASSERT_TRUE(IsOk(again));
  EXPECT_FALSE(again->snapshots[0].made);
  EXPECT_EQ(SnapshotsThere(), 1U);
}

TEST_F(CopyTest, WhatIsRememberedMayBeLost) {
  Fill();
  const SnapshotId first = BackUp();
  ASSERT_TRUE(IsOk(Copy({first})));
  fs::remove_all(to_.folder() + "/cache");
  auto again = Copy({first});
  ASSERT_TRUE(IsOk(again));
  EXPECT_FALSE(again->snapshots[0].made);  // by name, host and time
  Write(At("new"), PseudoRandom(10, 1));
  auto next = Copy({BackUp()});
  ASSERT_TRUE(IsOk(next));
  EXPECT_GT(next->counts.read_bytes, 9U << 20);
  EXPECT_LT(next->writer.bytes_stored, 1U << 20);  // all of it was there
}

TEST_F(CopyTest, DamageInOneSnapshotKeepsNoOtherBack) {
  Write(At("good"), PseudoRandom(1000, 1));
  const SnapshotId good = BackUp();
  const auto before = Objects("packs/");
  Write(At("sub/bad"), PseudoRandom(50'000, 2));
  const SnapshotId bad = BackUp();
  for (const auto& name : Objects("packs/")) {
    if (std::find(before.begin(), before.end(), name) != before.end()) continue;
    if (DecodePackHeader(*store_.Get(name)).value() != PackKind::kContents) continue;
    Bytes object = *store_.Get(name);
    for (size_t i = 20; i < 40'000; ++i) object[i] ^= 1;
    store_.Replace(name, object);
  }
  Reopen();
  auto made = Copy({good, bad});
  ASSERT_TRUE(IsOk(made));
  EXPECT_TRUE(made->snapshots[0].made);
  EXPECT_EQ(made->snapshots[1].why.code(), Code::kCorrupt);
  EXPECT_NE(made->snapshots[1].why.message().find("/sub/bad"), std::string::npos)
      << made->snapshots[1].why.message();
  EXPECT_EQ(made->counts.failures, 1U);
  EXPECT_EQ(SnapshotsThere(), 1U);
}

TEST_F(CopyTest, WhatIsInterruptedOrFailsIsTakenUpAgain) {
  Fill();
  const auto want = Describe(source());
  const SnapshotId first = BackUp();
  watcher_of_copy_.cancel_after = 40;
  EXPECT_EQ(Copy({first}).code(), Code::kInterrupted);
  watcher_of_copy_.cancel_after = 1 << 30;
  to_faulty_.Add({.op = FaultBackend::Op::kPut,
                  .prefix = "packs/",
                  .first = 1,
                  .error = Status(Code::kNoSpace, "full")});
  EXPECT_EQ(Copy({first}).code(), Code::kNoSpace);
  to_faulty_.Heal();
  EXPECT_EQ(SnapshotsThere(), 0U);
  auto made = Copy({first});
  ASSERT_TRUE(IsOk(made));
  ExpectSame(made->snapshots[0].copy, want);
  EXPECT_TRUE(Objects("leases/").empty());
}

TEST_F(CopyTest, Refusals) {
  const SnapshotId first = BackUp();
  EXPECT_EQ(Copy({first}, to_.Derive(KeyType::kReadOnly)).code(), Code::kDenied);
  EXPECT_EQ(Copy({SnapshotId()}).code(), Code::kNotFound);
  CopyOptions options;
  EXPECT_EQ(RunCopy(*repo_, *repo_, {first}, options, watcher_of_copy_).code(), Code::kInvalid);
  Reopen(test_.Derive(KeyType::kMaintain), "maintain");
  EXPECT_EQ(Copy({first}).code(), Code::kDenied);
}

}  // namespace
}  // namespace bkfs

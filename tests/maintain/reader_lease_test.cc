// SPDX-License-Identifier: Apache-2.0
// What a reader's lease keeps from a prune, and what is told when it cannot.
#include "engine/repo/reader_lease.h"

#include <gtest/gtest.h>

#include "backends/fault/fault_backend.h"
#include "engine/maintain/forget.h"
#include "engine/maintain/prune.h"
#include "engine/repo/tree_writer.h"
#include "tests/support/test_repository.h"

namespace bkfs {
namespace {

using Op = FaultBackend::Op;

class LinesLogger final : public Logger {
 public:
  void Log(LogLevel level, std::string_view message) override {
    lines.emplace_back(level, message);
  }
  std::vector<std::pair<LogLevel, std::string>> lines;
};

class ReaderLeaseTest : public ::testing::Test {
 protected:
  ReaderLeaseTest() : faulty_(store_), test_(store_) {
    maintain_ = Open(test_.CloneMaster());
    reader_ = Open(test_.Derive(KeyType::kReadOnly));
  }

  // Each with a cache of its own, all through the store that may fail.
  std::unique_ptr<Repository> Open(KeyMaterial key) {
    Repository::Options options;
    options.cache_directory = test_.folder() + "/" + std::to_string(++opened_);
    options.index_memory = 4 << 20;
    options.frame_cache = 1;
    options.tree_cache = 1;
    auto repo = Repository::Open(std::make_unique<BorrowedBackend>(faulty_), std::move(key),
                                 options, log_, test_.clock());
    EXPECT_TRUE(IsOk(repo));
    return *std::move(repo);
  }

  // Stores a directory of one file, or relies on what is stored of it.
  static Entry Store(Repository& repo, BlobWriter& writer, uint64_t seed) {
    Entry file;
    file.name = "f";
    file.size = 50'000;
    auto blob = writer.Add(PackKind::kContents, PseudoRandom(file.size, seed));
    EXPECT_TRUE(IsOk(blob));
    EXPECT_TRUE(IsOk(SetExtents(file, {{file.size, 0, *blob}}, writer, nullptr)));
    DirectoryWriter directory(writer, repo.key().chunker_key.view(), nullptr);
    EXPECT_TRUE(IsOk(directory.Add(file)));
    auto ref = directory.Finish();
    EXPECT_TRUE(IsOk(ref));
    EXPECT_TRUE(IsOk(writer.Flush()));
    Entry root;
    root.kind = EntryKind::kDirectory;
    root.directory = ref->blob;
    root.totals = ref->totals;
    return root;
  }
  using SnapshotPtr = std::shared_ptr<const Snapshot>;
  static SnapshotPtr Commit(Repository& repo, const Entry& root, const LeaseId& lease) {
    SnapshotBody body;
    body.name = "s";
    body.host = "host";
    body.time_ns = repo.clock().WallNanos();
    body.lease = lease;
    auto made = repo.snapshots().Commit(body, root);
    EXPECT_TRUE(IsOk(made));
    return *made;
  }

  // A writer under a lease that heeds as W3 has it.
  struct Writer {
    std::unique_ptr<Repository> repo;
    std::unique_ptr<BlobWriter> blobs;
    std::unique_ptr<LeaseHolder> lease;
  };
  Writer BeginWriter() {
    Writer out;
    out.repo = Open(test_.CloneMaster());
    auto blobs = out.repo->NewWriter(NewMemorySpool(), {});
    EXPECT_TRUE(IsOk(blobs));
    out.blobs = *std::move(blobs);
    LeaseHolder::Options options;
    options.kind = LeaseKind::kWriter;
    auto lease = LeaseHolder::Begin(*out.repo, options);
    EXPECT_TRUE(IsOk(lease));
    out.lease = *std::move(lease);
    BlobWriter* writer = out.blobs.get();
    EXPECT_TRUE(
        IsOk(out.lease->Start([writer](const std::shared_ptr<const CondemnedPacks>& condemned) {
          LeasePins pins;
          pins.packs = writer->Heed(condemned);
          return Result<LeasePins>(std::move(pins));
        })));
    return out;
  }
  SnapshotPtr Backup(uint64_t seed) {
    Writer writer = BeginWriter();
    const Entry root = Store(*writer.repo, *writer.blobs, seed);
    return Commit(*writer.repo, root, writer.lease->id());
  }

  void Forget(const Snapshot& snapshot) {
    ASSERT_TRUE(IsOk(ForgetSnapshots(*maintain_, {snapshot.id})));
  }
  PruneReport Prune() {
    PruneOptions options;
    options.grace_ns = 0;
    auto report = bkfs::Prune(*maintain_, options);
    EXPECT_TRUE(IsOk(report));
    return report.ok() ? *report : PruneReport();
  }
  // By the reader, from the store.
  Status Read(const Snapshot& snapshot) {
    BKFS_ASSIGN(Entry root, reader_->snapshots().Root(snapshot));
    BKFS_ASSIGN(Entry file, reader_->trees().Lookup(root.directory, "f"));
    BKFS_ASSIGN(auto extents, reader_->trees().LoadExtents(file));
    return reader_->blobs().Read(PackKind::kContents, extents.at(0).blob).status();
  }
  std::vector<std::string> Objects(const std::string& prefix) {
    std::vector<std::string> names;
    EXPECT_TRUE(IsOk(store_.List(prefix, [&](const std::string& name, uint64_t) {
      names.push_back(name);
      return Status();
    })));
    return names;
  }

  MemoryBackend store_;
  FaultBackend faulty_;
  TestRepository test_;
  LinesLogger log_;
  std::unique_ptr<Repository> maintain_;
  std::unique_ptr<Repository> reader_;
  int opened_ = 0;
};

// A lease whose state is renewed as a timer would do it.
class OwnLease {
 public:
  OwnLease(Repository& repo, size_t ahead) : reader(repo, ahead) {
    auto begun = LeaseHolder::Begin(repo, {});
    EXPECT_TRUE(IsOk(begun));
    holder = *std::move(begun);
    EXPECT_TRUE(IsOk(holder->Start([this](const auto&) {
      LeasePins pins;
      pins.roots = reader.Roots();
      return Result<LeasePins>(std::move(pins));
    })));
    reader.RelyOn(holder.get());
  }
  ReaderLease reader;
  std::unique_ptr<LeaseHolder> holder;
};

TEST_F(ReaderLeaseTest, WhatIsInUseOutlivesItsSnapshot) {
  auto snapshot = Backup(1);
  OwnLease lease(*reader_, 0);
  auto pinned = lease.reader.Acquire({snapshot->id});
  ASSERT_TRUE(IsOk(pinned));
  EXPECT_TRUE(*pinned);
  Forget(*snapshot);
  for (int i = 0; i < 3; ++i) {
    Prune();
    ASSERT_TRUE(IsOk(lease.holder->Renew()));
  }
  EXPECT_TRUE(IsOk(Read(*snapshot)));
  // Another user of the same comes and goes.
  EXPECT_TRUE(IsOk(lease.reader.Acquire({snapshot->id})));
  lease.reader.Release(snapshot->id);
  Prune();
  EXPECT_TRUE(IsOk(Read(*snapshot)));
  lease.reader.Release(snapshot->id);
  ASSERT_TRUE(IsOk(lease.holder->Renew()));
  EXPECT_GT(Prune().condemned_packs, 0U);
  ASSERT_TRUE(IsOk(lease.holder->Renew()));
  EXPECT_GT(Prune().deleted_packs, 0U);
  EXPECT_EQ(Objects("packs/").size(), 0U);
  EXPECT_EQ(lease.reader.Acquire({snapshot->id}).code(), Code::kStale);
}

// A pack that had been condemned when a snapshot came to need it: no entry of the log announces
// that it goes with the snapshot.
TEST_F(ReaderLeaseTest, APackThatWasCondemnedBeforeItWasNeeded) {
  for (const bool acquired : {true, false}) {
    auto first = Backup(1);
    Writer writer = BeginWriter();
    const Entry root = Store(*writer.repo, *writer.blobs, 1);  // relies on what is there
    Forget(*first);
    EXPECT_GT(Prune().condemned_packs, 0U);
    auto second = Commit(*writer.repo, root, writer.lease->id());
    writer.lease.reset();
    OwnLease lease(*reader_, 0);
    if (acquired) {
      ASSERT_TRUE(IsOk(lease.reader.Acquire({second->id})));
    }
    Forget(*second);
    EXPECT_EQ(Prune().deleted_packs > 0, !acquired);
    EXPECT_EQ(Read(*second).ok(), acquired);
    if (acquired) lease.reader.Release(second->id);
    lease.holder.reset();
    Prune();
    EXPECT_EQ(Objects("packs/").size(), 0U);
  }
}

TEST_F(ReaderLeaseTest, OneStateForWhatIsAskedForOneAfterAnother) {
  std::vector<SnapshotPtr> all;
  for (uint64_t seed = 0; seed < 6; ++seed) all.push_back(Backup(seed));
  OwnLease lease(*reader_, 4);
  ASSERT_TRUE(IsOk(lease.reader.Acquire({all[1]->id})));
  const uint64_t before = faulty_.Count();
  for (size_t i = 2; i < all.size(); ++i) ASSERT_TRUE(IsOk(lease.reader.Acquire({all[i]->id})));
  EXPECT_EQ(faulty_.Count(), before);
  ASSERT_TRUE(IsOk(lease.reader.Acquire({all[0]->id})));
  EXPECT_GT(faulty_.Count(), before);
  for (const auto& snapshot : all) lease.reader.Release(snapshot->id);
  EXPECT_EQ(lease.reader.Roots().size(), 0U);
}

TEST_F(ReaderLeaseTest, ForgottenBeforeItWasUsed) {
  auto one = Backup(1);
  auto two = Backup(2);
  OwnLease lease(*reader_, 10);
  ASSERT_TRUE(IsOk(reader_->snapshots().List()));
  Forget(*two);
  EXPECT_EQ(lease.reader.Acquire({one->id, two->id}).code(), Code::kStale);
  ASSERT_TRUE(IsOk(lease.holder->Renew()));
  EXPECT_EQ(lease.reader.Roots().size(), 0U);  // neither has a user
}

// One copy has been deleted, and the store is away when the other is to be read: that is no damage.
TEST_F(ReaderLeaseTest, AStoreThatIsAwayHasLostNothing) {
  auto first = Backup(1);
  ASSERT_TRUE(IsOk(reader_->RefreshIndex()));
  Forget(*first);
  EXPECT_GT(Prune().deleted_packs, 0U);
  auto second = Backup(1);  // stored again
  const auto packs = Objects("packs/");
  for (const auto& pack : packs) {
    faulty_.Add({.op = Op::kReadAt, .prefix = pack});
    faulty_.Add({.op = Op::kGet, .prefix = pack});
  }
  EXPECT_EQ(Read(*second).code(), Code::kUnavailable);
  faulty_.Heal();
  EXPECT_TRUE(IsOk(Read(*second)));
}

TEST_F(ReaderLeaseTest, AStoreThatTakesNothing) {
  auto snapshot = Backup(1);
  for (Code code : {Code::kReadOnly, Code::kDenied, Code::kNotPermitted, Code::kNoSpace}) {
    faulty_.Add({.op = Op::kPut, .error = {code, "no"}});
    log_.lines.clear();
    ReaderLease lease(*reader_);
    ASSERT_TRUE(IsOk(lease.Begin({})));
    EXPECT_FALSE(lease.held());
    auto pinned = lease.Acquire({snapshot->id});
    ASSERT_TRUE(IsOk(pinned));
    EXPECT_FALSE(*pinned);
    EXPECT_TRUE(IsOk(Read(*snapshot)));
    lease.Release(snapshot->id);
    ASSERT_EQ(log_.lines.size(), 1U);
    EXPECT_EQ(log_.lines[0].first, LogLevel::kInfo);
    faulty_.Heal();
  }
  // The lease was put, its state is not.
  faulty_.Add({.op = Op::kPut, .prefix = "leases/", .first = 2, .error = {Code::kNoSpace, "full"}});
  ReaderLease lease(*reader_);
  ASSERT_TRUE(IsOk(lease.Begin({})));
  EXPECT_FALSE(lease.held());
  EXPECT_EQ(Objects("leases/").size(), 0U);
  faulty_.Heal();
  // Other trouble is told.
  faulty_.Add({.op = Op::kPut});
  EXPECT_EQ(ReaderLease(*reader_).Begin({}).code(), Code::kUnavailable);
}

TEST_F(ReaderLeaseTest, AStoreThatIsFullForAWhile) {
  auto one = Backup(1);
  auto two = Backup(2);
  OwnLease lease(*reader_, 0);
  faulty_.Add({.op = Op::kPut, .error = {Code::kNoSpace, "full"}});
  log_.lines.clear();
  for (const auto& snapshot : {one, two}) {
    auto pinned = lease.reader.Acquire({snapshot->id});
    ASSERT_TRUE(IsOk(pinned));
    EXPECT_FALSE(*pinned);
  }
  EXPECT_EQ(log_.lines.size(), 1U);
  faulty_.Heal();
  lease.reader.Release(one->id);
  ASSERT_TRUE(IsOk(lease.holder->Renew()));
  auto again = lease.reader.Acquire({one->id});
  ASSERT_TRUE(IsOk(again));
  EXPECT_TRUE(*again);
  // What is open all the time came under the renewed state.
  Forget(*two);
  Prune();
  Prune();
  EXPECT_TRUE(IsOk(Read(*two)));
}

TEST_F(ReaderLeaseTest, ALeaseThatWasEndedIsPutAgain) {
  auto snapshot = Backup(1);
  OwnLease lease(*reader_, 0);
  ASSERT_TRUE(IsOk(lease.reader.Acquire({snapshot->id})));
  const LeaseId before = lease.holder->id();
  for (const auto& name : Objects("leases/")) ASSERT_TRUE(IsOk(store_.Remove(name)));
  ASSERT_TRUE(IsOk(lease.holder->Renew()));
  EXPECT_NE(lease.holder->id(), before);
  EXPECT_EQ(Objects("leases/").size(), 2U);  // with its state
  Forget(*snapshot);
  Prune();
  Prune();
  EXPECT_TRUE(IsOk(Read(*snapshot)));
}

TEST_F(ReaderLeaseTest, ALogOnlyKeyHasNone) {
  auto snapshot = Backup(1);
  auto repo = Open(test_.Derive(KeyType::kLogOnly));
  ReaderLease lease(*repo);
  ASSERT_TRUE(IsOk(lease.Begin({})));
  EXPECT_FALSE(lease.held());
  EXPECT_EQ(Objects("leases/").size(), 0U);
}

// A writer reads the log before it looks at what it relies on, and then starts.
TEST_F(ReaderLeaseTest, WhatWasReadIsNotReadAgain) {
  auto repo = Open(test_.CloneMaster());
  LeaseHolder::Options options;
  options.kind = LeaseKind::kWriter;
  auto lists = [&](bool read_before) {
    auto lease = LeaseHolder::Begin(*repo, options);
    EXPECT_TRUE(IsOk(lease));
    const uint64_t begun = faulty_.Count(Op::kList);
    if (read_before) {
      EXPECT_TRUE(IsOk((*lease)->ReadLogAndIndex()));
    }
    const uint64_t read = faulty_.Count(Op::kList);
    EXPECT_TRUE(IsOk((*lease)->Start([](const auto&) { return Result<LeasePins>(LeasePins()); })));
    const uint64_t started = faulty_.Count(Op::kList);
    EXPECT_TRUE(IsOk((*lease)->Renew()));
    EXPECT_EQ(faulty_.Count(Op::kList) - started,
              read_before ? started - read : started - begun - 1);
    return started - read;
  };
  EXPECT_LT(lists(true), lists(false));
  // An entry that came meanwhile is not missed, nor what the index says since.
  auto lease = LeaseHolder::Begin(*repo, options);
  ASSERT_TRUE(IsOk(lease));
  ASSERT_TRUE(IsOk((*lease)->ReadLogAndIndex()));
  Backup(7);
  auto appended = maintain_->maintenance().Append({}, maintain_->key().signing, 0);
  ASSERT_TRUE(IsOk(appended));
  uint64_t heeded = 0;
  ASSERT_TRUE(IsOk((*lease)->Start([&](const std::shared_ptr<const CondemnedPacks>& condemned) {
    heeded = condemned->last;
    return Result<LeasePins>(LeasePins());
  })));
  EXPECT_EQ(heeded, 1U);
  auto known = repo->index().FindPack(*ParsePackName(Objects("packs/").at(0)));
  ASSERT_TRUE(IsOk(known));
  EXPECT_TRUE(known->has_value());
}

}  // namespace
}  // namespace bkfs

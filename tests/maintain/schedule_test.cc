// SPDX-License-Identifier: Apache-2.0
// The model behind doc/maintenance.md: mounts, backups, readers and maintainers in random
// interleavings at the granularity of single store operations, with crashes and clocks that jump.
// No snapshot that was acknowledged and not forgotten ever loses a byte, and in the end no garbage
// is left.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "engine/maintain/compact.h"
#include "engine/maintain/forget.h"
#include "engine/maintain/prune.h"
#include "engine/repo/reader_lease.h"
#include "engine/transfer/backup.h"
#include "tests/maintain/schedule_world.h"

namespace bkfs {
namespace {

// A writable mount: writes, deletes, commits, heeds, is closed, is killed.
class MountActor final : public Actor {
 public:
  using Actor::Actor;

  void Step() override {
    if (!staging_ && !Begin()) return;
    MaybeDoom();
    const uint64_t what = Random(10);
    if (what < 4) {
      WriteSome();
    } else if (what < 5) {
      Status gone = staging_->Unlink(root_, "f" + std::to_string(Random(6)));
      if (!gone.Is(Code::kNotFound)) Excuse(gone, "unlink");
    } else if (what < 8) {
      CommitNow();
    } else if (what < 9) {
      Excuse(staging_->RenewLease(), "renew");
    } else {
      End(Random(2) == 0);
      return;
    }
    Heal();
    if (Random(8) == 0) End(false);
  }

  void Finish() override {
    if (fault_) Heal();
    if (!staging_ && !Begin()) return;
    CommitNow();
    End(true);
  }

 private:
  bool Begin() {
    if (!IsOpen()) return false;
    MaybeDoom();
    Staging::Options options;
    options.directory = repo_->local_directory() + "/staging";
    options.commit_idle_ns = 0;
    options.host = name_;
    options.writer.pack_target = 24 << 10;
    options.writer.contents_frame = 8 << 10;
    options.writer.trees_frame = 4 << 10;
    auto staging = Staging::Open(*repo_, std::move(options));
    Heal();
    if (!staging.ok()) {
      Excuse(staging.status(), "staging");
      repo_.reset();
      return false;
    }
    staging_ = std::move(*staging);
    auto series = staging_->LookupSeries(name_);
    if (!series.ok()) {
      NewNode how;
      how.mode = 0755;
      series = staging_->CreateSeries(name_, how);
    }
    if (!series.ok()) {
      Excuse(series.status(), "series");
      End(false);
      return false;
    }
    root_ = series->id;
    return true;
  }

  void WriteSome() {
    for (uint64_t i = 0; i <= Random(3); ++i) {
      const std::string name = "f" + std::to_string(Random(6));
      auto there = staging_->Lookup(root_, name);
      if (!there.ok()) there = staging_->Create(root_, name, {});
      if (!there.ok()) return Excuse(there.status(), "create");
      Status status = staging_->OpenFile(there->id, true, true);
      if (!status.ok()) return Excuse(status, "open file");
      status = staging_->Write(there->id, 0, ContentsOf(Random(kContents)));
      if (status.ok()) status = staging_->Flush(there->id);
      staging_->CloseFile(there->id, true);
      if (!status.ok()) {
        // What it holds now nobody can say.
        (void)staging_->Unlink(root_, name);
        return Excuse(status, "write");
      }
    }
  }

  void CommitNow() {
    auto id = staging_->Commit(name_);
    if (!id.ok()) return Excuse(id.status(), "commit");
    if (id->is_zero() || world_.expected_.Of(*id)) return;
    Files files;
    Status read =
        staging_->ReadDir(root_, 0, [&](uint64_t, std::string_view name, const NodeAttr& attr) {
          files[std::string(name)] = SeedOf(attr.size);
          return true;
        });
    ASSERT_TRUE(IsOk(read));
    world_.expected_.Acknowledged(*id, files);
  }

  void End(bool graceful) {
    if (!graceful) fault_->StopAfter(0);
    staging_.reset();
    repo_.reset();
  }

  std::unique_ptr<Staging> staging_;
  NodeId root_ = 0;
};

// bkfs backup: one snapshot, then the next with a few files changed.
class BackupActor final : public Actor {
 public:
  BackupActor(World& world, const std::string& name, KeyMaterial key)
      : Actor(world, name, std::move(key)), source_(world.test_.folder() + "/src-" + name) {
    std::filesystem::create_directories(source_);
  }

  void Step() override {
    for (uint64_t i = 0; i <= Random(4); ++i) {
      const std::string name = "g" + std::to_string(Random(6));
      if (Random(5) == 0) {
        std::filesystem::remove(source_ + "/" + name);
        files_.erase(name);
        continue;
      }
      const uint64_t seed = Random(kContents);
      const Bytes data = ContentsOf(seed);
      std::ofstream(source_ + "/" + name, std::ios::binary | std::ios::trunc)
          .write(reinterpret_cast<const char*>(data.data()),
                 static_cast<std::streamsize>(data.size()));
      files_[name] = seed;
    }
    if (!IsOpen()) return;
    MaybeDoom();
    BackupOptions options;
    options.paths = {source_};
    options.name = name_;
    options.host = name_;
    options.writer.pack_target = 24 << 10;
    options.writer.contents_frame = 8 << 10;
    options.writer.trees_frame = 4 << 10;
    Watcher watcher;
    auto made = RunBackup(*repo_, options, watcher);
    if (made.ok()) {
      world_.expected_.Acknowledged(made->snapshot, files_);
    } else {
      Excuse(made.status(), "backup");
    }
    Heal();
    if (!made.ok() || Random(4) == 0) repo_.reset();
  }
  void Finish() override { repo_.reset(); }

 private:
  class Watcher final : public BackupObserver {
    void SourceFailed(const std::string& path, const Status& why) override {
      ADD_FAILURE() << path << ": " << why.message();
    }
    void Progress(const BackupCounts&) override {}
    bool Cancelled() override { return false; }
  };

  const std::string source_;
  Files files_;
};

class MaintainActor final : public Actor {
 public:
  using Actor::Actor;

  void Step() override {
    if (!IsOpen()) return;
    MaybeDoom();
    const uint64_t what = Random(6);
    Status status;
    if (what < 2) {
      status = ForgetSome();
    } else if (what < 5) {
      PruneOptions options;
      options.run.host = name_;
      options.grace_ns = Random(2) == 0 ? 0 : 1000 * kSecond;
      status = Prune(*repo_, options).status();
    } else {
      CompactOptions options;
      options.run.host = name_;
      options.threshold = static_cast<double>(Random(60));
      options.pack_target = 48 << 10;
      status = Compact(*repo_, options).status();
    }
    Excuse(status, "maintenance " + std::to_string(what));
    Heal();
    if (!status.ok() || Random(4) == 0) repo_.reset();
  }
  void Finish() override { repo_.reset(); }

 private:
  Status ForgetSome() {
    std::vector<SnapshotId> ids;
    for (const auto& id : world_.expected_.Alive()) {
      if (Random(3) == 0) ids.push_back(id);
    }
    if (ids.empty()) return {};
    // From when it is asked for, nobody may rely on them.
    for (const auto& id : ids) world_.expected_.Forgotten(id);
    return ForgetSnapshots(*repo_, ids).status();
  }
};

// A mount that may not write to the store: no lease, an index that grows old.
class ReaderActor final : public Actor {
 public:
  using Actor::Actor;

  void Step() override {
    if (!IsOpen()) return;
    auto list = repo_->snapshots().List();
    if (!list.ok()) return Excuse(list.status(), "list");
    if (list->snapshots.empty()) return;
    const auto& snapshot = list->snapshots[Random(list->snapshots.size())];
    const auto expected = world_.expected_.Of(snapshot->id);
    Status read = ReadSnapshot(*repo_, *snapshot, expected);
    // Forgotten while it was read, or never acknowledged and ended since: then it may be gone.
    if (!read.ok() && expected && !world_.expected_.IsForgotten(snapshot->id)) {
      ADD_FAILURE() << "reader: " << snapshot->id.hex() << ": " << read.message();
    }
    if (Random(5) == 0) repo_.reset();
  }
  void Finish() override { repo_.reset(); }
};

// A mount that may: what it has open it reads on from, forgotten or not.
class LeasedReaderActor final : public Actor {
 public:
  using Actor::Actor;

  void Step() override {
    if (!lease_ && !Begin()) return;
    for (uint64_t i = 0; i <= Random(3); ++i) {
      MaybeDoom();
      const uint64_t what = Random(10);
      if (what < 6) {
        OpenOne();
      } else if (what < 8) {
        Excuse(lease_->Renew(), "renew");
      } else {
        CloseOne();
      }
      Heal();
    }
    MaybeDoom();
    for (const auto& handle : open_) ReadOn(handle);
    Heal();
    if (Random(20) == 0) End(Random(2) == 0);
  }
  void Finish() override { End(true); }

 private:
  struct Handle {
    std::shared_ptr<const Snapshot> snapshot;
    std::optional<Files> expected;
    LeaseId lease;
  };

  bool Begin() {
    // Nothing is kept: each read goes to the store.
    if (!IsOpen(1)) return false;
    MaybeDoom();
    reader_ = std::make_unique<ReaderLease>(*repo_, Random(2) * 8);
    LeaseHolder::Options options;
    options.host = name_;
    auto lease = LeaseHolder::Begin(*repo_, std::move(options));
    Status begun = lease.status();
    if (begun.ok()) {
      begun = (*lease)->Start([this](const std::shared_ptr<const CondemnedPacks>&) {
        LeasePins pins;
        pins.roots = reader_->Roots();
        return Result<LeasePins>(std::move(pins));
      });
    }
    Excuse(begun, "lease");
    Heal();
    if (!begun.ok()) return false;
    lease_ = *std::move(lease);
    reader_->RelyOn(lease_.get());
    return true;
  }

  // From a list that may be as old as what a kernel keeps.
  void OpenOne() {
    if (listed_.empty() || Random(3) == 0) {
      auto list = repo_->snapshots().List();
      if (!list.ok()) return Excuse(list.status(), "list");
      listed_ = list->snapshots;
    }
    if (listed_.empty()) return;
    Handle handle;
    handle.snapshot = listed_[Random(listed_.size())];
    const SnapshotId& id = handle.snapshot->id;
    handle.lease = lease_->id();
    handle.expected = world_.expected_.Of(id);
    auto pinned = reader_->Acquire({id});
    if (pinned.code() == Code::kStale) {
      EXPECT_TRUE(!handle.expected || world_.expected_.IsForgotten(id)) << id.hex();
      return;
    }
    ASSERT_TRUE(IsOk(pinned));
    if (*pinned) return open_.push_back(std::move(handle));
    reader_->Release(id);  // it may go
  }

  void ReadOn(const Handle& handle) {
    Status read = ReadSnapshot(*repo_, *handle.snapshot, handle.expected);
    if (read.ok() || read.Is(Code::kUnavailable)) return;
    // Clocks jump here: whoever lived was taken for dead.
    const bool ended = handle.lease != lease_->id() ||
                       world_.store_.Size(LeaseName(handle.lease)).code() == Code::kNotFound;
    EXPECT_TRUE(ended) << name_ << ": " << handle.snapshot->id.hex() << ": " << read.message();
  }

  void CloseOne() {
    if (open_.empty()) return;
    const auto which = open_.begin() + static_cast<ptrdiff_t>(Random(open_.size()));
    reader_->Release(which->snapshot->id);
    open_.erase(which);
  }

  void End(bool graceful) {
    if (!graceful && fault_) fault_->StopAfter(0);
    open_.clear();
    listed_.clear();
    lease_.reset();
    reader_.reset();
    repo_.reset();
  }

  std::unique_ptr<ReaderLease> reader_;
  std::unique_ptr<LeaseHolder> lease_;
  std::vector<std::shared_ptr<const Snapshot>> listed_;
  std::vector<Handle> open_;
};

class ScheduleTest : public ::testing::TestWithParam<int> {};

TEST_P(ScheduleTest, NothingIsLostAndNoGarbageStays) {
  const auto seed = static_cast<uint64_t>(GetParam());
  World world(seed);
  auto& test = world.test_;
  KeyMaterial rw = test.Derive(KeyType::kReadWrite);
  KeyMaterial wo = test.Derive(KeyType::kWriteOnly);
  KeyMaterial rw2 = test.Derive(KeyType::kReadWrite);
  KeyMaterial wo2 = test.Derive(KeyType::kWriteOnly);
  KeyMaterial maintain = test.Derive(KeyType::kMaintain);
  KeyMaterial ro = test.Derive(KeyType::kReadOnly);
  world.keys_ = {&rw, &wo, &rw2, &wo2, &maintain, &ro};
  world.Add(std::make_unique<MountActor>(world, "mount-rw", TestRepository::Reload(rw)));
  world.Add(std::make_unique<MountActor>(world, "mount-wo", TestRepository::Reload(wo)));
  world.Add(std::make_unique<BackupActor>(world, "backup-rw", TestRepository::Reload(rw2)));
  world.Add(std::make_unique<BackupActor>(world, "backup-wo", TestRepository::Reload(wo2)));
  world.Add(std::make_unique<MaintainActor>(world, "maintain", TestRepository::Reload(maintain)));
  world.Add(std::make_unique<MaintainActor>(world, "master", test.CloneMaster()));
  world.Add(std::make_unique<ReaderActor>(world, "reader", test.Derive(KeyType::kReadOnly)));
  world.Add(std::make_unique<LeasedReaderActor>(world, "leased", TestRepository::Reload(ro)));
  world.Run(60);
  if (!HasFailure()) world.CheckNoGarbage();
  if (HasFailure()) std::cerr << world.Trace();
}

// More on request: BKFS_SCHEDULES=200.
int ScheduleCount() {
  const char* wanted = std::getenv("BKFS_SCHEDULES");
  return 1 + (wanted ? std::max(1, std::atoi(wanted)) : 12);
}

INSTANTIATE_TEST_SUITE_P(Seeds, ScheduleTest, ::testing::Range(1, ScheduleCount()));

}  // namespace
}  // namespace bkfs

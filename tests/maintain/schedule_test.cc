// SPDX-License-Identifier: Apache-2.0
// The model behind doc/maintenance.md: mounts, backups, readers and maintainers in random
// interleavings at the granularity of single store operations, with crashes and clocks that jump.
// No snapshot that was acknowledged and not forgotten ever loses a byte, and in the end no garbage
// is left.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <mutex>
#include <random>
#include <thread>

#include "backends/fault/fault_backend.h"
#include "engine/maintain/compact.h"
#include "engine/maintain/forget.h"
#include "engine/maintain/prune.h"
#include "engine/repo/file_reader.h"
#include "engine/staging/staging.h"
#include "engine/transfer/backup.h"
#include "tests/support/test_repository.h"

namespace bkfs {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr uint64_t kContents = 24;  // different files there are

class JumpingClock final : public Clock {
 public:
  int64_t WallNanos() const override { return SystemClock().WallNanos() + ahead_; }
  int64_t MonotonicNanos() const override { return SystemClock().MonotonicNanos(); }
  void Jump(int64_t by) { ahead_ += by; }

 private:
  std::atomic<int64_t> ahead_{0};
};

// A file's size tells which of the contents it has.
size_t SizeOf(uint64_t seed) { return 2000 + seed * 911; }
Bytes ContentsOf(uint64_t seed) { return PseudoRandom(SizeOf(seed), seed); }
uint64_t SeedOf(uint64_t size) { return (size - 2000) / 911; }

using Files = std::map<std::string, uint64_t>;  // name -> seed

// What a snapshot must hold; shared by all actors.
class Expectations {
 public:
  void Acknowledged(const SnapshotId& id, const Files& files) {
    std::scoped_lock lock(mutex_);
    snapshots_[id] = files;
  }
  void Forgotten(const SnapshotId& id) {
    std::scoped_lock lock(mutex_);
    forgotten_.insert(id);
  }
  bool IsForgotten(const SnapshotId& id) {
    std::scoped_lock lock(mutex_);
    return forgotten_.contains(id);
  }
  std::optional<Files> Of(const SnapshotId& id) {
    std::scoped_lock lock(mutex_);
    auto found = snapshots_.find(id);
    return found == snapshots_.end() ? std::nullopt : std::optional<Files>(found->second);
  }
  std::vector<SnapshotId> Alive() {
    std::scoped_lock lock(mutex_);
    std::vector<SnapshotId> out;
    for (const auto& [id, files] : snapshots_) {
      if (!forgotten_.contains(id)) out.push_back(id);
    }
    return out;
  }

 private:
  std::mutex mutex_;
  std::map<SnapshotId, Files> snapshots_;
  std::set<SnapshotId> forgotten_;
};

class World;

// Calls the world before each operation, so that others act in between.
class MeddledBackend final : public Backend {
 public:
  using Note = std::function<void(const std::string& what, const std::string& name)>;
  MeddledBackend(Backend& inner, std::function<void()> meddle, Note note)
      : inner_(inner), meddle_(std::move(meddle)), note_(std::move(note)) {}
  Result<Bytes> Get(const std::string& name) override {
    meddle_();
    return inner_.Get(name);
  }
  Status ReadAt(const std::string& name, uint64_t offset, MutableByteView out) override {
    meddle_();
    return inner_.ReadAt(name, offset, out);
  }
  Status Put(const std::string& name, std::span<const ByteView> parts) override {
    meddle_();
    Status put = inner_.Put(name, parts);
    note_(put.ok() ? "put" : "not put", name);
    return put;
  }
  Result<uint64_t> Size(const std::string& name) override {
    meddle_();
    return inner_.Size(name);
  }
  Result<int64_t> ModifiedAt(const std::string& name) override {
    meddle_();
    return inner_.ModifiedAt(name);
  }
  Status List(const std::string& prefix,
              const std::function<Status(const std::string&, uint64_t)>& visit) override {
    meddle_();
    return inner_.List(prefix, [&](const std::string& name, uint64_t size) {
      meddle_();
      return visit(name, size);
    });
  }
  Status Remove(const std::string& name) override {
    meddle_();
    Status removed = inner_.Remove(name);
    note_(removed.ok() ? "removed" : "not removed", name);
    return removed;
  }
  Result<StoreSpace> Space() override { return inner_.Space(); }
  std::string Describe() const override { return inner_.Describe(); }

 private:
  Backend& inner_;
  const std::function<void()> meddle_;
  const Note note_;
};

class Actor {
 public:
  Actor(World& world, std::string name) : world_(world), name_(std::move(name)) {}
  virtual ~Actor() = default;
  virtual void Step() = 0;
  virtual void Finish() = 0;
  std::mutex mutex;  // held while it acts

 protected:
  uint64_t Random(uint64_t below);
  Result<std::unique_ptr<Repository>> Open(KeyMaterial key);
  // The next operations of this actor go on like this: perhaps not for long.
  void MaybeDoom() {
    if (Random(4) == 0) fault_->StopAfter(Random(40), Random(2) == 0);
  }
  void Heal() { fault_->Heal(); }
  // Whether a failure is one that may be; `what` it was that failed.
  void Excuse(const Status& status, const std::string& what);

  World& world_;
  const std::string name_;
  std::unique_ptr<FaultBackend> fault_;
};

class World {
 public:
  explicit World(uint64_t seed) : random_(seed), store_(0, &clock_), test_(store_, Small()) {}

  static CreateOptions Small() {
    CreateOptions options;
    options.chunks = {4 << 10, 8 << 10, 16 << 10};
    return options;
  }
  uint64_t Random(uint64_t below) {
    std::scoped_lock lock(random_mutex_);
    return random_() % below;
  }
  void Add(std::unique_ptr<Actor> actor) { actors_.push_back(std::move(actor)); }
  // Before an operation of one actor, another may do something.
  void Meddle() {
    if (!meddling_ || Random(150) != 0) return;
    constexpr int kDeepest = 2;
    if (++depth_ <= kDeepest) {
      Actor& other = *actors_[Random(actors_.size())];
      std::unique_lock acts(other.mutex, std::try_to_lock);
      // On a thread of its own: no lock of this one is any business of the other.
      if (acts.owns_lock()) std::thread([&other] { other.Step(); }).join();
    }
    --depth_;
  }
  void Run(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFailure(); ++i) {
      Actor& actor = *actors_[Random(actors_.size())];
      std::scoped_lock acts(actor.mutex);
      actor.Step();
      if (Random(6) == 0) clock_.Jump(static_cast<int64_t>(Random(3) * 1500) * kSecond);
      if (Random(60) == 0) clock_.Jump(8 * 24 * 3600 * kSecond);
      CheckAll();
    }
    for (auto& actor : actors_) {
      std::scoped_lock acts(actor->mutex);
      actor->Finish();
    }
    // Who was made to act again meanwhile has no more to say.
    meddling_ = false;
    for (auto& actor : actors_) actor->Finish();
    CheckAll();
  }
  void CheckAll();
  void CheckNoGarbage();
  // What was done to the store, for the message of a failure.
  void Note(const std::string& who, const std::string& what, const std::string& name) {
    std::string line = who + " " + what + " " + name;
    if (what == "put" && name.starts_with("condemned/")) {
      auto entry = DecodeLogEntry(Got(name));
      if (entry.ok()) {
        line += " base " + std::to_string(entry->base) + " condemns";
        for (const auto& id : entry->condemned) line += " " + id.short_hex();
        line += " dooms";
        for (const auto& id : entry->doomed) line += " " + id.short_hex();
      }
    }
    if (what == "put" && name.starts_with("leases/") && name.find('.') != name.npos) {
      for (KeyMaterial* key : keys_) {
        auto state = DecodeLeaseState(Got(name), test_.master().repo,
                                      test_.master().index_key.view(), key->signing.public_key());
        if (!state.ok()) continue;
        line += " moved past " + std::to_string(state->moved_past) + " pins";
        for (const auto& id : state->packs) line += " " + id.short_hex();
        line += " roots";
        for (const auto& id : state->roots) line += " " + id.short_hex();
      }
    }
    if (what == "put" && name.starts_with("index/")) {
      auto segment =
          DecodeIndexSegment(Got(name), test_.master().index_key.view(), test_.master().repo);
      if (segment.ok()) {
        line += " as of " + std::to_string(segment->as_of) + " lists";
        for (const auto& pack : segment->packs) line += " " + pack.id.short_hex();
      }
    }
    std::scoped_lock lock(trace_mutex_);
    trace_.push_back(std::move(line));
  }
  std::string Trace() {
    std::scoped_lock lock(trace_mutex_);
    std::string out;
    for (const auto& line : trace_) out += line + "\n";
    return out;
  }
  Bytes Got(const std::string& name) {
    auto object = store_.Get(name);
    return object.ok() ? *object : Bytes();
  }
  std::vector<KeyMaterial*> keys_;

  JumpingClock clock_;
  std::mt19937_64 random_;
  std::mutex random_mutex_;
  MemoryBackend store_;
  TestRepository test_;
  NullLogger log_;
  Expectations expected_;

 private:
  std::vector<std::unique_ptr<Actor>> actors_;
  std::atomic<int> depth_ = 0;
  std::mutex trace_mutex_;
  std::vector<std::string> trace_;
  std::atomic<bool> meddling_ = true;
};

uint64_t Actor::Random(uint64_t below) { return world_.Random(below); }

Result<std::unique_ptr<Repository>> Actor::Open(KeyMaterial key) {
  fault_ = std::make_unique<FaultBackend>(std::make_unique<MeddledBackend>(
      world_.store_, [this] { world_.Meddle(); },
      [this](const std::string& what, const std::string& name) {
        world_.Note(name_, what, name);
      }));
  Repository::Options options;
  options.cache_directory = world_.test_.folder() + "/" + name_;
  options.index_memory = 4 << 20;
  return Repository::Open(std::make_unique<BorrowedBackend>(*fault_), std::move(key), options,
                          world_.log_, world_.clock_);
}

void Actor::Excuse(const Status& status, const std::string& what) {
  if (status.ok() || status.Is(Code::kUnavailable) || status.Is(Code::kBusy)) return;
  ADD_FAILURE() << name_ << ": " << what << ": " << CodeName(status.code()) << ": "
                << status.message();
}

// Reads every file of a snapshot. Corrupt where anything is not as it must be.
Status ReadSnapshot(Repository& repo, const Snapshot& snapshot,
                    const std::optional<Files>& expected) {
  BKFS_ASSIGN(Entry root, repo.snapshots().Root(snapshot));
  Files found;
  BKFS_TRY(repo.trees().ForEach(
      root.directory, 0, [&](uint64_t, const DirectoryPtr& leaf, size_t i) -> Result<bool> {
        const Entry entry = leaf->entry(i);
        BKFS_ASSIGN(auto extents, repo.trees().LoadExtents(entry));
        Bytes data;
        for (const auto& extent : extents) {
          BKFS_ASSIGN(BlobData blob, repo.blobs().Read(PackKind::kContents, extent.blob));
          Append(data, blob.bytes.subspan(extent.offset, extent.length));
        }
        const uint64_t seed = SeedOf(entry.size);
        if (data != ContentsOf(seed)) return Status(Code::kCorrupt, entry.name + " differs");
        found[entry.name] = seed;
        return true;
      }));
  if (expected && found != *expected) return {Code::kCorrupt, "other files than were backed up"};
  return {};
}

void World::CheckAll() {
  Repository::Options options;
  options.cache_directory = test_.folder() + "/judge";
  options.index_memory = 4 << 20;
  auto repo = Repository::Open(std::make_unique<BorrowedBackend>(store_), test_.CloneMaster(),
                               options, log_, clock_);
  ASSERT_TRUE(IsOk(repo));
  auto list = (*repo)->snapshots().List();
  ASSERT_TRUE(IsOk(list));
  std::set<SnapshotId> listed;
  for (const auto& snapshot : list->snapshots) {
    listed.insert(snapshot->id);
    ASSERT_TRUE(IsOk(ReadSnapshot(**repo, *snapshot, expected_.Of(snapshot->id))))
        << snapshot->id.hex() << " by " << snapshot->body.host << " under lease "
        << snapshot->body.lease.hex();
  }
  for (const auto& problem : list->problems) {
    // Records that came too late may be there; others have no business to.
    EXPECT_TRUE(problem.why.Is(Code::kDenied)) << problem.object << ": " << problem.why.message();
  }
  for (const auto& id : expected_.Alive()) EXPECT_TRUE(listed.contains(id)) << id.hex();
}

void World::CheckNoGarbage() {
  Repository::Options options;
  options.cache_directory = test_.folder() + "/judge";
  options.index_memory = 4 << 20;
  auto repo = Repository::Open(std::make_unique<BorrowedBackend>(store_), test_.CloneMaster(),
                               options, log_, clock_);
  ASSERT_TRUE(IsOk(repo));
  clock_.Jump(8 * 24 * 3600 * kSecond);  // whoever crashed has been waited for
  PruneOptions prune;
  prune.now = true;
  CompactOptions compact;
  compact.threshold = 0;
  compact.pack_target = 64 << 10;
  ASSERT_TRUE(IsOk(Prune(**repo, prune)));
  ASSERT_TRUE(IsOk(Compact(**repo, compact)));
  ASSERT_TRUE(IsOk(Prune(**repo, prune)));
  auto left = Prune(**repo, prune);
  ASSERT_TRUE(IsOk(left));
  EXPECT_EQ(left->condemned_packs + left->deleted_packs + left->waiting_packs, 0U);
  EXPECT_EQ(left->unused_bytes, 0U);
  EXPECT_EQ(left->missing_blobs, 0U);
  size_t leases = 0;
  size_t entries = 0;
  ASSERT_TRUE(IsOk(store_.List("leases/", [&](const std::string&, uint64_t) {
    ++leases;
    return Status();
  })));
  ASSERT_TRUE(IsOk(store_.List("condemned/", [&](const std::string&, uint64_t) {
    ++entries;
    return Status();
  })));
  EXPECT_EQ(leases, 0U);
  EXPECT_LE(entries, 2U);
  CheckAll();
}

// A writable mount: writes, deletes, commits, heeds, is closed, is killed.
class MountActor final : public Actor {
 public:
  MountActor(World& world, const std::string& name, KeyMaterial key)
      : Actor(world, name), key_(std::move(key)) {}

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
    auto repo = Open(TestRepository::Reload(key_));
    if (!repo.ok()) {
      Excuse(repo.status(), "open");
      return false;
    }
    repo_ = std::move(*repo);
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

  const KeyMaterial key_;
  std::unique_ptr<Repository> repo_;
  std::unique_ptr<Staging> staging_;
  NodeId root_ = 0;
};

// bkfs backup: one snapshot, then the next with a few files changed.
class BackupActor final : public Actor {
 public:
  BackupActor(World& world, const std::string& name, KeyMaterial key)
      : Actor(world, name), key_(std::move(key)), source_(world.test_.folder() + "/src-" + name) {
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
    if (!repo_) {
      auto repo = Open(TestRepository::Reload(key_));
      if (!repo.ok()) return Excuse(repo.status(), "open");
      repo_ = std::move(*repo);
    }
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

  const KeyMaterial key_;
  const std::string source_;
  std::unique_ptr<Repository> repo_;
  Files files_;
};

class MaintainActor final : public Actor {
 public:
  MaintainActor(World& world, const std::string& name, KeyMaterial key)
      : Actor(world, name), key_(std::move(key)) {}

  void Step() override {
    if (!repo_) {
      auto repo = Open(TestRepository::Reload(key_));
      if (!repo.ok()) return Excuse(repo.status(), "open");
      repo_ = std::move(*repo);
    }
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
    return ForgetSnapshots(*repo_, ids);
  }

  const KeyMaterial key_;
  std::unique_ptr<Repository> repo_;
};

// A mount that may not write to the store: no lease, an index that grows old.
class ReaderActor final : public Actor {
 public:
  ReaderActor(World& world, const std::string& name, KeyMaterial key)
      : Actor(world, name), key_(std::move(key)) {}

  void Step() override {
    if (!repo_) {
      auto repo = Open(TestRepository::Reload(key_));
      if (!repo.ok()) return Excuse(repo.status(), "open");
      repo_ = std::move(*repo);
    }
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

 private:
  const KeyMaterial key_;
  std::unique_ptr<Repository> repo_;
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
  world.keys_ = {&rw, &wo, &rw2, &wo2, &maintain};
  world.Add(std::make_unique<MountActor>(world, "mount-rw", TestRepository::Reload(rw)));
  world.Add(std::make_unique<MountActor>(world, "mount-wo", TestRepository::Reload(wo)));
  world.Add(std::make_unique<BackupActor>(world, "backup-rw", TestRepository::Reload(rw2)));
  world.Add(std::make_unique<BackupActor>(world, "backup-wo", TestRepository::Reload(wo2)));
  world.Add(std::make_unique<MaintainActor>(world, "maintain", TestRepository::Reload(maintain)));
  world.Add(std::make_unique<MaintainActor>(world, "master", test.CloneMaster()));
  world.Add(std::make_unique<ReaderActor>(world, "reader", test.Derive(KeyType::kReadOnly)));
  world.Run(50);
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

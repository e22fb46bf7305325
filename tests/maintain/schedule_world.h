// SPDX-License-Identifier: Apache-2.0
#pragma once

// The world of schedule_test.cc: a store, a clock that jumps, what must be there, and actors that
// act between each other's operations.
#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "backends/fault/fault_backend.h"
#include "engine/format/lease.h"
#include "engine/maintain/prune.h"
#include "engine/staging/staging.h"
#include "tests/support/test_repository.h"

namespace bkfs {

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
inline size_t SizeOf(uint64_t seed) { return 2000 + seed * 911; }
inline Bytes ContentsOf(uint64_t seed) { return PseudoRandom(SizeOf(seed), seed); }
inline uint64_t SeedOf(uint64_t size) { return (size - 2000) / 911; }

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
  // `repacks`: whether it passes that on.
  MeddledBackend(Backend& inner, std::function<void()> meddle, Note note, bool repacks = false)
      : inner_(inner), meddle_(std::move(meddle)), note_(std::move(note)), repacks_(repacks) {}
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
  Result<RepackedObject> Repack(std::span<const RepackPiece> pieces) override {
    meddle_();
    if (!repacks_) return Backend::Repack(pieces);
    auto made = inner_.Repack(pieces);
    note_(made.ok() ? "repacked" : "not repacked", made.ok() ? made->name : "");
    return made;
  }
  std::string Describe() const override { return inner_.Describe(); }

 private:
  Backend& inner_;
  const std::function<void()> meddle_;
  const Note note_;
  const bool repacks_;
};

// Somebody with a key of his own, who opens the repository again and again.
class Actor {
 public:
  Actor(World& world, std::string name, KeyMaterial key)
      : world_(world), name_(std::move(name)), key_(std::move(key)) {}
  virtual ~Actor() = default;
  virtual void Step() = 0;
  virtual void Finish() = 0;
  std::mutex mutex;  // held while it acts

 protected:
  uint64_t Random(uint64_t below);
  // True when the repository is open, or could be opened. `cached` bytes of what was read are kept.
  bool IsOpen(uint64_t cached = 64 << 20);
  // The next operations of this actor go on like this: perhaps not for long.
  void MaybeDoom() {
    if (Random(4) == 0) fault_->StopAfter(Random(40), Random(2) == 0);
  }
  void Heal() { fault_->Heal(); }
  // Whether a failure is one that may be; `what` it was that failed.
  void Excuse(const Status& status, const std::string& what);

  World& world_;
  const std::string name_;
  const KeyMaterial key_;
  std::unique_ptr<FaultBackend> fault_;
  std::unique_ptr<Repository> repo_;
};

class World {
 public:
  // Every other store repacks.
  explicit World(uint64_t seed)
      : repacks_(seed % 2 == 0), random_(seed), store_(0, &clock_), test_(store_, Small()) {}

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
  void Meddle(const Actor& self) {
    if (!meddling_ || Random(150) != 0) return;
    constexpr int kDeepest = 2;
    if (++depth_ <= kDeepest) {
      Actor& other = *actors_[Random(actors_.size())];
      std::unique_lock acts(other.mutex, std::try_to_lock);
      SetHeldUp(self, true);
      // On a thread of its own: no lock of this one is any business of the other.
      if (acts.owns_lock() && !IsHeldUp(other)) std::thread([&other] { other.Step(); }).join();
      SetHeldUp(self, false);
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
  // With the master key and without any meddling.
  Result<std::unique_ptr<Repository>> OpenForJudge();
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

  const bool repacks_;
  JumpingClock clock_;
  std::mt19937_64 random_;
  std::mutex random_mutex_;
  MemoryBackend store_;
  TestRepository test_;
  NullLogger log_;
  Expectations expected_;

 private:
  // An actor whose operation waits for what another does. Its uploads go on between its steps: to
  // make it act as part of that would have it wait for itself.
  void SetHeldUp(const Actor& actor, bool is) {
    std::scoped_lock lock(held_up_mutex_);
    if (is) {
      held_up_.insert(&actor);
    } else {
      held_up_.erase(held_up_.find(&actor));
    }
  }
  bool IsHeldUp(const Actor& actor) {
    std::scoped_lock lock(held_up_mutex_);
    return held_up_.contains(&actor);
  }

  std::vector<std::unique_ptr<Actor>> actors_;
  std::mutex held_up_mutex_;
  std::multiset<const Actor*> held_up_;
  std::atomic<int> depth_ = 0;
  std::mutex trace_mutex_;
  std::vector<std::string> trace_;
  std::atomic<bool> meddling_ = true;
};

inline uint64_t Actor::Random(uint64_t below) { return world_.Random(below); }

inline void Actor::Excuse(const Status& status, const std::string& what) {
  if (status.ok() || status.Is(Code::kUnavailable) || status.Is(Code::kBusy)) return;
  ADD_FAILURE() << name_ << ": " << what << ": " << CodeName(status.code()) << ": "
                << status.message();
}

// Reads every file of a snapshot. Corrupt where anything is not as it must be.
Status ReadSnapshot(Repository& repo, const Snapshot& snapshot,
                    const std::optional<Files>& expected);

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "backends/decorators/mirror_state.h"
#include "backends/decorators/mirror_sync.h"
#include "backends/decorators/nearer_store.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/thread_pool.h"
#include "engine/repo/backend.h"

namespace bkfs {

struct MirrorOptions {
  std::string directory;  // of this pair's own, for what must not be forgotten (MirrorState)
  std::string url;        // of the mirror, for messages
  // Opens the mirror: once at the beginning, when it may ask on the terminal, and again by the
  // catching-up thread until it works.
  std::function<Result<std::unique_ptr<Backend>>(bool may_ask)> open;
  bool must_be_there = false;  // to make a repository: a mirror that is away is a failure
  bool reads_primary = false;  // only: it is the primary that is looked at
  int64_t first_pause_ns = 1'000'000'000;      // before the mirror is tried again
  int64_t longest_pause_ns = 300'000'000'000;  // the pauses double until then
  size_t threads = 4;                          // that put to the mirror beside the primary
};

// Two stores, of which each has every object. The first, the primary, decides: whether an object is
// there, what the lists say, how large and old objects are, what is locked; and everything that is
// not named by its content is read from it alone, because a mirror that is behind would give old
// answers about keys, removals and what maintenance has condemned. Leases are the primary's only.
//
// Packs, index segments and snapshots are read from the nearer of the two (NearerStore), and from
// the other when that one fails, has not got the object, or has it cut. Whole objects are hashed on
// the way, and one that does not hash to its name is read from the other. Ranges are not verified
// here: the engine does that, says which object is damaged, and `bkfs check --read-data --repair`
// puts it right from the other store. (To go round it at once, the reader would have to tell its
// store that the bytes were bad.)
//
// What the primary has stored is stored, whatever the mirror says: a mirror that fails is behind
// from then on, which is logged once and noted durably (MirrorState) before the operation returns.
// Nothing waits for it until a thread of this object, in growing pauses, has reached it and copied
// what it lacks (CatchUp); then the note goes.
//
// Packs and index segments go to both at once, all else to the primary first, so that the mirror
// has no record of what is not on the primary. An object whose putting failed on the primary may be
// on the mirror; it is removed there when that is caught up.
//
// Needs no retries below it: those belong around it, or one store's failure would make the other
// wait. The log outlives it.
class MirrorBackend final : public Backend {
 public:
  // kInvalid when the mirror holds another repository (its bkfs.repo has other bytes), or for what
  // `open` says is kInvalid. With a mirror that is away it opens, with a warning.
  static Result<std::unique_ptr<MirrorBackend>> Open(std::unique_ptr<Backend> primary,
                                                     MirrorOptions options, Logger& log);
  ~MirrorBackend() override;

  Result<Bytes> Get(const std::string& name) override;
  Status ReadAt(const std::string& name, uint64_t offset, MutableByteView out) override;
  bool IsNear(const std::string& name, uint64_t offset, uint64_t length) override;
  Status Put(const std::string& name, std::span<const ByteView> parts) override;
  Result<uint64_t> Size(const std::string& name) override { return primary_->Size(name); }
  Result<int64_t> ModifiedAt(const std::string& name) override {
    return primary_->ModifiedAt(name);
  }
  Status List(const std::string& prefix,
              const std::function<Status(const std::string& name, uint64_t size)>& visit) override {
    return primary_->List(prefix, visit);
  }
  Status Remove(const std::string& name) override;
  Status RemoveAll(const std::vector<std::string>& names) override;
  Result<StoreSpace> Space() override { return primary_->Space(); }
  Result<RepackedObject> Repack(std::span<const RepackPiece> pieces) override;
  Result<int64_t> LockedUntil(const std::string& name) override {
    return primary_->LockedUntil(name);
  }
  // On the mirror too, as far as it can.
  Status Lock(const std::string& name, int64_t until_ns) override;
  int64_t LockSpan() const override { return primary_->LockSpan(); }
  std::string Describe() const override { return primary_->Describe(); }

  // Catches up at once if the mirror is behind by what any process on this machine has noted, and
  // waits for it. The failure that keeps it from that; kInterrupted by the thread's watches.
  Status CatchUpNow() BKFS_EXCLUDES(mutex_);
  bool IsBehind() const BKFS_EXCLUDES(mutex_);
  // See mirror_sync.h. kUnavailable while the mirror has not been reached.
  Result<MirrorComparison> Compare(const CompareOptions& options);
  Result<MirrorMended> Mend(const MirrorComparison& found, const std::vector<std::string>& damaged);

 private:
  enum class Mode { kInStep, kAway, kCatchingUp };
  class BesidePut;

  MirrorBackend(std::unique_ptr<Backend> primary, MirrorOptions options, Logger& log);
  // Opens the mirror unless it is open, and makes sure that it belongs to the primary.
  Status Reach(bool may_ask);
  Status CheckHeader(Backend& mirror, bool& is_whole);
  // Where changes go besides; null while it is behind and nobody has reached it again.
  Backend* Taking() const BKFS_EXCLUDES(mutex_);
  // For the rest of a change: it has not reached the mirror.
  void Missed(const Status& why) BKFS_EXCLUDES(mutex_);
  void WarnOfAbsence(const Status& why) BKFS_EXCLUDES(mutex_);
  void Begun(const Status& noted);
  void NoteRemovals(const std::vector<std::string>& names) BKFS_EXCLUDES(mutex_);
  void Resolved(size_t count) BKFS_EXCLUDES(mutex_);
  Status PutBoth(const std::string& name, std::span<const ByteView> parts, Backend* mirror,
                 Status& mirrored);
  Status Mirrored(Backend& mirror, const std::string& name, std::span<const ByteView> parts);
  // On the mirror, after the primary.
  void RemoveMirrored(const std::vector<std::string>& names) BKFS_EXCLUDES(mutex_);
  template <typename T, typename Operation>
  T Read(const std::string& name, uint64_t offset, uint64_t length, const Operation& operation);

  void Run();  // the catching-up thread
  bool WaitForWork(int64_t pause_ns) BKFS_EXCLUDES(mutex_);
  Status CatchUpOnce();
  void Finished(const CatchUpResult& result, uint64_t unresolved) BKFS_EXCLUDES(mutex_);

  const std::unique_ptr<Backend> primary_;
  const MirrorOptions options_;
  Logger& log_;
  const SystemClock clock_;
  NearerStore nearer_;
  std::unique_ptr<MirrorState> state_;
  std::unique_ptr<Backend> opened_;         // set once, by Reach
  std::atomic<Backend*> mirror_ = nullptr;  // the same, once it belongs to the primary
  std::atomic<bool> closing_ = false;
  std::atomic<bool> told_ = false;  // that nothing can be noted

  mutable Mutex mutex_;  // held while MirrorState notes something, whose lock comes after
  CondVar changed_;
  Mode mode_ BKFS_GUARDED_BY(mutex_) = Mode::kInStep;
  bool warned_ BKFS_GUARDED_BY(mutex_) = false;      // that it is behind
  uint64_t unresolved_ BKFS_GUARDED_BY(mutex_) = 0;  // removals that may be due on the mirror
  uint64_t wanted_ BKFS_GUARDED_BY(mutex_) = 0;      // calls of CatchUpNow
  uint64_t tried_ BKFS_GUARDED_BY(mutex_) = 0;       // wanted_ at the last try's beginning
  Status last_try_ BKFS_GUARDED_BY(mutex_);

  std::unique_ptr<ThreadPool> pool_;
  std::thread thread_;
};

}  // namespace bkfs

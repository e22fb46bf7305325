// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/mutex.h"
#include "engine/repo/lease_holder.h"
#include "engine/repo/repository.h"

namespace bkfs {

// Keeps snapshots from losing data while they are read (doc/maintenance.md, R1 to R3): counts the
// users of each, has a lease pin the roots of those that have any, and before the first use makes
// sure that the snapshot still counts once its root is pinned.
//
// The lease is one of its own, or a writer's that pins Roots() besides what it pins for itself.
// Where the store takes no lease everything is let through: what is forgotten meanwhile may go
// while it is read. Thread-safe.
class ReaderLease {
 public:
  struct Options {
    int64_t ttl_ns = 3600LL * 1'000'000'000;
    std::string host;
    std::string program;
  };
  // `ahead`: how many of the newest snapshots are pinned along with one that is asked for, until
  // the lease is renewed. For who asks for one after the other. `repo` outlives it.
  explicit ReaderLease(Repository& repo, size_t ahead = 0) : repo_(repo), ahead_(ahead) {}

  // Takes a lease of its own. Where the store, or the key, takes none there is a line in the log at
  // level info and no error. Once at most.
  Status Begin(const Options& options) BKFS_EXCLUDES(mutex_);
  // From now on somebody else's lease pins, whose Heed includes Roots(). It is told off with null,
  // when nobody is in Acquire, before it goes.
  void RelyOn(LeaseHolder* lease) BKFS_EXCLUDES(mutex_);
  bool held() BKFS_EXCLUDES(mutex_);

  // Until Release, called once for each of them, nothing below the roots of these snapshots is
  // deleted. kStale, naming it: one has been forgotten, and none is acquired. False: all may be
  // read but are not pinned, since there is no lease, or the store takes no state now.
  Result<bool> Acquire(const std::vector<SnapshotId>& snapshots) BKFS_EXCLUDES(mutex_, pin_mutex_);
  void Release(const SnapshotId& snapshot) BKFS_EXCLUDES(mutex_);

  // What a lease state is to pin. Called while that is made: a snapshot without users is pinned no
  // longer, and is looked at again before its next use.
  std::vector<BlobId> Roots() BKFS_EXCLUDES(mutex_);

 private:
  enum class Standing {
    kUnknown,
    kPinned,      // by every state since the snapshot was last seen to count
    kLetThrough,  // could not be pinned when it was first used
  };
  struct Use {
    uint64_t users = 0;
    bool prepared = false;      // the root is known
    BlobId root;                // zero: nothing is below it, or it cannot be told
    bool to_be_pinned = false;  // by the next state, also without users
    bool in_state = false;      // Roots has told of it
    Standing standing = Standing::kUnknown;
  };

  // What these snapshots can be said to be, together.
  Standing StandingOf(const std::vector<SnapshotId>& snapshots) BKFS_REQUIRES(mutex_);
  Status Pin(const std::vector<SnapshotId>& snapshots) BKFS_EXCLUDES(mutex_, pin_mutex_);
  Result<bool> PrepareFrom(const SnapshotList& list, const std::vector<SnapshotId>& snapshots);
  Status Prepare(const std::vector<SnapshotId>& snapshots) BKFS_REQUIRES(pin_mutex_)
      BKFS_EXCLUDES(mutex_);
  Status PutState() BKFS_REQUIRES(pin_mutex_) BKFS_EXCLUDES(mutex_);
  Status Confirm(const std::vector<SnapshotId>& snapshots) BKFS_REQUIRES(pin_mutex_)
      BKFS_EXCLUDES(mutex_);
  BlobId RootOf(const Snapshot& snapshot);
  void LetThrough(const std::vector<SnapshotId>& snapshots, const Status& why)
      BKFS_EXCLUDES(mutex_);

  Repository& repo_;
  const size_t ahead_;
  // Lock order: pin_mutex_, the lease's own, mutex_. pin_mutex_ is held over store calls on
  // purpose: who waits for it finds that its snapshot has been pinned along.
  Mutex pin_mutex_;
  Mutex mutex_;  // a leaf
  LeaseHolder* lease_ BKFS_GUARDED_BY(mutex_) = nullptr;
  std::map<SnapshotId, Use> uses_ BKFS_GUARDED_BY(mutex_);
  bool told_ BKFS_GUARDED_BY(mutex_) = false;  // the log, that nothing can be pinned
  std::unique_ptr<LeaseHolder> own_;           // last: its thread calls Roots
};

// A snapshot that is in use for as long as this lives. Move-only.
class SnapshotHold {
 public:
  // `lease` may be null: nothing is held. kStale: the snapshot has been forgotten.
  static Result<SnapshotHold> Take(ReaderLease* lease, const SnapshotId& snapshot);
  SnapshotHold(SnapshotHold&& other) noexcept
      : lease_(std::exchange(other.lease_, nullptr)), snapshot_(other.snapshot_) {}
  SnapshotHold& operator=(SnapshotHold&&) = delete;
  ~SnapshotHold() {
    if (lease_ != nullptr) lease_->Release(snapshot_);
  }
  // The user stays; Release is called by hand.
  void Keep() { lease_ = nullptr; }

 private:
  SnapshotHold(ReaderLease* lease, const SnapshotId& snapshot)
      : lease_(lease), snapshot_(snapshot) {}
  ReaderLease* lease_;
  SnapshotId snapshot_;
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/mutex.h"
#include "engine/format/lease.h"
#include "engine/repo/maintenance_log.h"

namespace bkfs {

class Repository;

// What must not be deleted although no snapshot that counts needs it (doc/maintenance.md, W3).
struct LeasePins {
  std::vector<PackId> packs;
  std::vector<BlobId> roots;  // directories, with everything below them
  bool uncommitted = false;   // something stored is in no snapshot yet
};

// A lease of this process: put, renewed by a thread of its own, removed when it ends. Thread-safe.
class LeaseHolder {
 public:
  struct Options {
    LeaseKind kind = LeaseKind::kReader;
    int64_t ttl_ns = 3600LL * 1'000'000'000;
    int64_t renew_ns = 600LL * 1'000'000'000;  // or a sixth of the time to live, if that is less
    bool resumable = false;
    std::string host;
    std::string program;
  };
  // Heeds what the log says: once it has returned, nothing new relies on a condemned pack, and the
  // pins cover all that did before. Called from Start, Renew and the renewing thread, one at a
  // time.
  using Heed = std::function<Result<LeasePins>(const std::shared_ptr<const CondemnedPacks>&)>;

  // Puts a new lease. kDenied, kReadOnly where the store takes no objects. Until Start nothing is
  // deleted that the log has not doomed already. `repo` outlives it.
  static Result<std::unique_ptr<LeaseHolder>> Begin(Repository& repo, Options options);
  // Takes up a lease that an earlier process left, with its pins as `held`. kNotFound when it has
  // been ended meanwhile. The caller knows that that process is gone.
  static Result<std::unique_ptr<LeaseHolder>> Resume(Repository& repo, Options options,
                                                     const LeaseId& id, LeaseState& held);
  // Ends the lease, unless Leave was called.
  ~LeaseHolder();

  // The log, then the index, and for who may put segments the packs that no segment lists (W1).
  // What was read is not read again by Start or a renewal until the log has gone on.
  Result<std::shared_ptr<const CondemnedPacks>> ReadLogAndIndex() BKFS_EXCLUDES(renew_mutex_);
  // Does that, calls `heed`, puts the state, and begins renewing.
  Status Start(Heed heed) BKFS_EXCLUDES(renew_mutex_);
  // One renewal now: what is not pinned any more may go. A reader whose lease has been ended gets a
  // new one; others find out by themselves.
  Status Renew() BKFS_EXCLUDES(renew_mutex_);
  // When the last state was put, by the store's clock.
  Result<int64_t> RenewedAt() BKFS_EXCLUDES(renew_mutex_);
  // Asks the store whether somebody has ended the lease.
  Result<bool> HasEnded();
  // Instead of a lease that has ended: puts a new one, with a new id; Start is to be called again.
  Status BeginAnew() BKFS_EXCLUDES(renew_mutex_);
  // The lease stays when this object goes: another process will resume it.
  void Leave() BKFS_EXCLUDES(renew_mutex_);
  LeaseId id() const BKFS_EXCLUDES(id_mutex_);

 private:
  LeaseHolder(Repository& repo, Options options);
  Status PutLease() BKFS_REQUIRES(renew_mutex_);
  Status PutState(LeaseState state) BKFS_REQUIRES(renew_mutex_);
  Result<std::shared_ptr<const CondemnedPacks>> ReadLocked() BKFS_REQUIRES(renew_mutex_);
  Status RenewLocked() BKFS_REQUIRES(renew_mutex_);
  // Puts the lease again, with a new id, where it has been removed, and a state.
  Status RestoreLease() BKFS_REQUIRES(renew_mutex_);
  void RemoveObjects() BKFS_REQUIRES(renew_mutex_);
  void Loop();
  bool IsStopping() BKFS_EXCLUDES(stop_mutex_);
  void StopThread();

  Repository& repo_;
  const Options options_;
  // Lock order: renew_mutex_, then the others. It is held over store calls on purpose: one renewal
  // at a time.
  Mutex renew_mutex_;
  Heed heed_ BKFS_GUARDED_BY(renew_mutex_);
  LeaseState state_ BKFS_GUARDED_BY(renew_mutex_);  // last one put; number 0: none
  // The last log entry that was read, under this lease, before the index was.
  std::optional<uint64_t> read_ BKFS_GUARDED_BY(renew_mutex_);
  bool leave_ BKFS_GUARDED_BY(renew_mutex_) = false;
  mutable Mutex id_mutex_;
  LeaseId id_ BKFS_GUARDED_BY(id_mutex_);
  Mutex stop_mutex_;
  CondVar stop_signal_;
  bool stopping_ BKFS_GUARDED_BY(stop_mutex_) = false;
  std::thread renewer_;
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <thread>
#include <vector>

#include "engine/base/mutex.h"
#include "engine/repo/repository.h"
#include "fs/catalog.h"
#include "fs/refused_log.h"

namespace bkfs {

// Tells the kernel that what it keeps is no longer so. Called from threads that serve no request,
// without locks held, since the kernel may first have to finish requests that this process is
// working on.
class KernelNotifier {
 public:
  virtual ~KernelNotifier() = default;
  virtual void DirectoryChanged(Ino dir) = 0;
  virtual void NameGone(Ino dir, const std::string& name) = 0;
};

// Keeps the catalog of snapshots up to date: looks every two seconds (every thirty if the store is
// far), and when somebody asks and the last look is older than two. Thread-safe.
class CatalogKeeper {
 public:
  explicit CatalogKeeper(Repository& repo) : repo_(repo), refused_(repo) {}
  ~CatalogKeeper();
  CatalogKeeper(const CatalogKeeper&) = delete;
  CatalogKeeper& operator=(const CatalogKeeper&) = delete;

  // Starts looking. `notifier` may be null and outlives the thread.
  void Start(KernelNotifier* notifier) BKFS_EXCLUDES(mutex_);
  void Stop() BKFS_EXCLUDES(mutex_);

  // Not older than two seconds. kDenied when the key cannot read the log of snapshots. While the
  // store cannot be listed, or does not answer for five seconds, the last known one.
  Result<CatalogPtr> Get() BKFS_EXCLUDES(mutex_);
  // After looking just now.
  Result<CatalogPtr> GetNew() BKFS_EXCLUDES(mutex_);
  // The last known one, without asking the store; empty before the first look.
  CatalogPtr Peek() BKFS_EXCLUDES(mutex_);
  // What the store holds that is passed over.
  RefusedLog& refused() { return refused_; }
  // A snapshot was made here: the next Get looks again.
  void MarkStale() BKFS_EXCLUDES(mutex_);

 private:
  void Run(KernelNotifier* notifier);
  bool IsStopping() BKFS_EXCLUDES(mutex_);
  // Ends when the thread's watches say so, also while it waits for another thread's look.
  Status Refresh() BKFS_EXCLUDES(mutex_, refresh_mutex_);
  Status RefreshLocked(int64_t asked_ns) BKFS_REQUIRES(refresh_mutex_) BKFS_EXCLUDES(mutex_);
  void Adopt(const SnapshotList& list) BKFS_REQUIRES(refresh_mutex_) BKFS_EXCLUDES(mutex_);
  bool IsFresh() BKFS_EXCLUDES(mutex_);
  void Notify(KernelNotifier& notifier) BKFS_EXCLUDES(mutex_);

  Repository& repo_;
  RefusedLog refused_;
  // Lock order: refresh_mutex_ before mutex_. refresh_mutex_ is held over store calls on purpose:
  // one look at a time, and those who wait for it want its result.
  Mutex refresh_mutex_;
  CatalogNumbers numbers_ BKFS_GUARDED_BY(refresh_mutex_);
  std::string last_error_ BKFS_GUARDED_BY(refresh_mutex_);
  Mutex mutex_;
  CondVar wake_;
  CatalogPtr current_ BKFS_GUARDED_BY(mutex_);
  CatalogPtr notified_ BKFS_GUARDED_BY(mutex_);  // what the kernel has been told of
  int64_t looked_ns_ BKFS_GUARDED_BY(mutex_) = 0;
  uint64_t changes_ BKFS_GUARDED_BY(mutex_) = 1;       // that are known to have happened
  uint64_t seen_changes_ BKFS_GUARDED_BY(mutex_) = 0;  // before the look that current_ comes from
  bool stopping_ BKFS_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace bkfs

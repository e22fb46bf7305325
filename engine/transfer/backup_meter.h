// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/base/clock.h"
#include "engine/base/mutex.h"
#include "engine/transfer/backup.h"

namespace bkfs {

// Counts what a backup does, tells its observer, and knows whether it must end. Thread-safe; the
// observer is called without the lock.
class BackupMeter {
 public:
  BackupMeter(BackupObserver& observer, Clock& clock) : observer_(observer), clock_(clock) {}

  template <typename Change>
  void Count(const Change& change) BKFS_EXCLUDES(mutex_) {
    BackupCounts now;
    {
      MutexLock lock(mutex_);
      change(counts_);
      const int64_t time = clock_.MonotonicNanos();
      if (time < next_tell_) return;
      next_tell_ = time + kTellEvery;
      now = counts_;
    }
    observer_.Progress(now);
  }
  // A source file that is not in the snapshot as it should be.
  void Failed(const std::string& path, const Status& why) BKFS_EXCLUDES(mutex_) {
    observer_.SourceFailed(path, why);
    Count([](BackupCounts& counts) { ++counts.failures; });
  }
  // Ends the backup with this error, unless another one came before; OK changes nothing.
  void Stop(const Status& why) BKFS_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (stop_.ok()) stop_ = why;
  }
  // The reason to end, if there is one.
  Status Stopped() BKFS_EXCLUDES(mutex_) {
    if (observer_.Cancelled()) return {Code::kInterrupted, "interrupted; no snapshot was made"};
    MutexLock lock(mutex_);
    return stop_;
  }
  // Tells the observer the last state.
  BackupCounts Finish() BKFS_EXCLUDES(mutex_) {
    BackupCounts now;
    {
      MutexLock lock(mutex_);
      now = counts_;
    }
    observer_.Progress(now);
    return now;
  }

 private:
  static constexpr int64_t kTellEvery = 50'000'000;  // ns

  BackupObserver& observer_;
  Clock& clock_;
  Mutex mutex_;  // a leaf
  BackupCounts counts_ BKFS_GUARDED_BY(mutex_);
  int64_t next_tell_ BKFS_GUARDED_BY(mutex_) = 0;
  Status stop_ BKFS_GUARDED_BY(mutex_);
};

}  // namespace bkfs

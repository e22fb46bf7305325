// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>
#include <string>

#include "engine/base/mutex.h"
#include "engine/repo/repository.h"

namespace bkfs {

// Tells of objects in the store that pass for a snapshot, a key or a decision of maintenance, and
// are none: somebody with access to the store makes such. Each is a line in the log once, and
// stands in /incoming/.status for as long as it is there. Thread-safe.
class RefusedLog {
 public:
  explicit RefusedLog(Repository& repo) : repo_(repo) {}

  // What listing the snapshots has shown.
  void Adopt(const SnapshotList& list) BKFS_EXCLUDES(mutex_, look_mutex_);
  // Looks at what maintenance has decided, or seems to have; not when the last look was less than a
  // minute ago.
  void Look() BKFS_EXCLUDES(mutex_, look_mutex_);
  // A line for each object there is now; empty when all is well. Where the store does not answer
  // soon, those that were found before.
  std::string Text() BKFS_EXCLUDES(mutex_, look_mutex_);

 private:
  using Found = std::map<std::string, std::string>;  // object -> why
  void LookNow() BKFS_REQUIRES(look_mutex_) BKFS_EXCLUDES(mutex_);
  void LookSoon() BKFS_EXCLUDES(mutex_, look_mutex_);
  void Tell(const Found& found) BKFS_REQUIRES(mutex_);

  Repository& repo_;
  Mutex look_mutex_;  // one look at a time; held over store calls on purpose; before mutex_
  Mutex mutex_;       // a leaf
  Found of_snapshots_ BKFS_GUARDED_BY(mutex_);
  Found of_maintenance_ BKFS_GUARDED_BY(mutex_);
  int64_t looked_ns_ BKFS_GUARDED_BY(mutex_) = 0;
  std::set<std::string> told_ BKFS_GUARDED_BY(mutex_);
};

}  // namespace bkfs

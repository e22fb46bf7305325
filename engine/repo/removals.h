// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "engine/base/mutex.h"
#include "engine/format/maintenance.h"
#include "engine/repo/backend.h"
#include "engine/repo/key_directory.h"
#include "engine/repo/maintainer_signature.h"

namespace bkfs {

class ObjectReader;

// removed/ (doc/format.md section 13): which snapshots are no more. What was read is kept.
// Thread-safe.
class Removals {
 public:
  // References must outlive it.
  Removals(Backend& store, KeyDirectory& keys, const RepoHeader& header)
      : store_(store), keys_(keys), header_(header) {}

  // Reads what is new. Objects that do not verify are passed over and are among refused().
  Status Refresh() BKFS_EXCLUDES(mutex_);
  // As of the last Refresh.
  bool IsRemoved(const SnapshotId& id) BKFS_EXCLUDES(mutex_);
  // False: the lease has been ended, and its closure does not name the snapshot.
  bool CountsUnder(const LeaseId& lease, const SnapshotId& id) BKFS_EXCLUDES(mutex_);
  bool IsClosed(const LeaseId& lease) BKFS_EXCLUDES(mutex_);
  std::vector<RefusedObject> refused() BKFS_EXCLUDES(mutex_);

 private:
  Status Load(ObjectReader& objects, const std::string& name) BKFS_EXCLUDES(mutex_);

  Backend& store_;
  KeyDirectory& keys_;
  const RepoHeader& header_;
  Mutex mutex_;                                          // a leaf
  std::set<std::string> known_ BKFS_GUARDED_BY(mutex_);  // names of what has been read
  std::unordered_set<SnapshotId, IdHash> removed_ BKFS_GUARDED_BY(mutex_);
  std::unordered_map<LeaseId, std::vector<SnapshotId>, IdHash> closures_ BKFS_GUARDED_BY(mutex_);
  std::vector<RefusedObject> refused_ BKFS_GUARDED_BY(mutex_);
};

}  // namespace bkfs

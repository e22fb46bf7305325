// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "engine/base/mutex.h"
#include "engine/format/maintenance.h"
#include "engine/repo/backend.h"
#include "engine/repo/key_directory.h"
#include "engine/repo/maintainer_signature.h"

namespace bkfs {

// What the maintenance log says up to its last entry. Immutable.
struct CondemnedPacks {
  uint64_t last = 0;                                       // number of the last entry; 0: none
  uint64_t base = 1;                                       // entries below it have been dropped
  std::unordered_map<PackId, uint64_t, IdHash> condemned;  // by which entry
  std::unordered_map<PackId, uint64_t, IdHash> doomed;

  // Nothing new may rely on this pack.
  bool Contains(const PackId& id) const { return condemned.contains(id) || doomed.contains(id); }
};

// condemned/ (doc/format.md section 12, doc/maintenance.md). Entries never change, so those read
// once are kept. Thread-safe.
class MaintenanceLog {
 public:
  // References must outlive it.
  MaintenanceLog(Backend& store, KeyDirectory& keys, const RepoHeader& header);

  // Reads entries that are new. An entry that does not verify is passed over and is among
  // refused().
  Status Refresh() BKFS_EXCLUDES(mutex_);
  // As of the last Refresh; never null.
  std::shared_ptr<const CondemnedPacks> Current() BKFS_EXCLUDES(mutex_);
  std::vector<RefusedObject> refused() BKFS_EXCLUDES(mutex_);
  // kCorrupt when an entry is missing between others: then nothing may be decided.
  Status CheckComplete() BKFS_EXCLUDES(mutex_);
  // The number of that entry; 0: none is missing.
  uint64_t missing() BKFS_EXCLUDES(mutex_);

  // Puts `entry` behind entry `last`, which is what led to it (number, nonce and signer are filled
  // in). False when somebody else had put one there: everything is to be looked at again.
  Result<bool> Append(LogEntry entry, const SigningKey& key, uint64_t last) BKFS_EXCLUDES(mutex_);
  // Removes the objects of entries that are no longer in force.
  Status RemoveDropped() BKFS_EXCLUDES(mutex_);

 private:
  struct Listing {
    std::map<uint64_t, std::shared_ptr<const LogEntry>> entries;
    std::vector<RefusedObject> refused;
    bool gone = false;  // an entry was dropped while it was read
  };
  Result<Listing> ReadAll() BKFS_EXCLUDES(mutex_);
  Result<std::shared_ptr<const LogEntry>> Load(ObjectReader& objects, const std::string& name,
                                               uint64_t number) BKFS_EXCLUDES(mutex_);

  Backend& store_;
  KeyDirectory& keys_;
  const RepoHeader& header_;
  Mutex mutex_;  // a leaf
  std::map<uint64_t, std::shared_ptr<const LogEntry>> entries_ BKFS_GUARDED_BY(mutex_);
  std::vector<RefusedObject> refused_ BKFS_GUARDED_BY(mutex_);
  std::shared_ptr<const CondemnedPacks> current_ BKFS_GUARDED_BY(mutex_);
  uint64_t missing_ BKFS_GUARDED_BY(mutex_) = 0;  // number of an entry that should be there
};

}  // namespace bkfs

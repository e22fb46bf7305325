// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "engine/repo/reader_lease.h"

namespace bkfs {

// Takes a lease for a command that reads what is stored for longer than a moment. `repo` is the one
// that `lease` is for; a store that takes no lease is none the worse for it.
Status BeginReading(ReaderLease& lease, const std::string& program);

// Something in a snapshot that a user named.
struct SnapshotEntry {
  std::shared_ptr<const Snapshot> snapshot;  // shared with the repository's list
  Entry entry;
};
// `lease` (null: the look is short) keeps the snapshot from now on. kDenied when the key cannot
// read directories; kNotFound; kStale when the snapshot is forgotten just now.
Result<SnapshotEntry> FindSnapshotEntry(Repository& repo, ReaderLease* lease,
                                        const std::string& snapshot, const std::string& path);

}  // namespace bkfs

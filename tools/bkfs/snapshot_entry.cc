// SPDX-License-Identifier: Apache-2.0
#include "tools/bkfs/snapshot_entry.h"

#include "tools/host.h"

namespace bkfs {

Status BeginReading(ReaderLease& lease, const std::string& program) {
  ReaderLease::Options options;
  options.host = HostName();
  options.program = program;
  return lease.Begin(options);
}

Result<SnapshotEntry> FindSnapshotEntry(Repository& repo, ReaderLease* lease,
                                        const std::string& snapshot, const std::string& path) {
  if (!repo.has_index()) {
    return Status(Code::kDenied, "a LogOnly key lists snapshots, not their contents");
  }
  SnapshotEntry found;
  BKFS_ASSIGN(found.snapshot, repo.snapshots().Resolve(snapshot));
  if (lease != nullptr) BKFS_TRY(lease->Acquire({found.snapshot->id}).status());
  BKFS_ASSIGN(Entry root, repo.snapshots().Root(*found.snapshot));
  auto entry = repo.trees().Resolve(root, path);
  if (!entry.ok()) {
    return entry.status().WithContext(path.empty() ? snapshot : snapshot + ":" + path);
  }
  found.entry = *std::move(entry);
  return found;
}

}  // namespace bkfs

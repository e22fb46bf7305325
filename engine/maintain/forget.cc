// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/forget.h"

#include <algorithm>

#include "engine/format/maintenance.h"

namespace bkfs {

namespace {
using Warn = std::function<void(const std::string&)>;

// Those of `ids` that the store still keeps locked, which are taken out of `ids`.
Result<std::vector<SnapshotId>> TakeLocked(Repository& repo, std::vector<SnapshotId>& ids,
                                           const Warn& warn) {
  std::vector<SnapshotId> locked;
  if (repo.store().LockSpan() == 0) return locked;
  for (const auto& id : ids) {
    auto until = repo.store().LockedUntil(SnapshotName(id));
    if (until.code() == Code::kNotFound) continue;
    BKFS_TRY(until.status());
    if (*until <= repo.clock().WallNanos()) continue;
    locked.push_back(id);
    if (warn) {
      warn("snapshot " + id.hex() + " is locked in the store until " + FormatRfc3339(*until) +
           ": it stays until then");
    }
  }
  std::erase_if(ids, [&](const SnapshotId& id) {
    return std::binary_search(locked.begin(), locked.end(), id);
  });
  return locked;
}
}  // namespace

Result<std::vector<SnapshotId>> ForgetSnapshots(Repository& repo, std::vector<SnapshotId> ids,
                                                const Warn& warn) {
  BKFS_TRY(repo.CheckMayMaintain());
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  BKFS_ASSIGN(std::vector<SnapshotId> locked, TakeLocked(repo, ids, warn));
  for (size_t at = 0; at < ids.size(); at += kMostSnapshotsInRemoval) {
    const size_t end = std::min(ids.size(), at + kMostSnapshotsInRemoval);
    Removal removal;
    removal.signer = repo.key().id();
    removal.time_ns = repo.clock().WallNanos();
    removal.snapshots.assign(ids.begin() + static_cast<ptrdiff_t>(at),
                             ids.begin() + static_cast<ptrdiff_t>(end));
    const Bytes object = EncodeRemoval(removal, repo.header().repo, repo.key().signing);
    Status put = repo.store().PutOne(RemovalName(RemovalIdOf(object)), object);
    if (!put.Is(Code::kExists)) BKFS_TRY(put);  // the name is the hash: the same removal
  }
  std::vector<std::string> names;
  for (const auto& id : ids) names.push_back(SnapshotName(id));
  Status removed = repo.store().RemoveAll(names);
  if (!removed.ok() && warn) {
    warn("records of forgotten snapshots stay in the store, and do not count: " +
         removed.message());
  }
  return locked;
}

}  // namespace bkfs

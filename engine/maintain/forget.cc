// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/forget.h"

#include <algorithm>

#include "engine/format/maintenance.h"

namespace bkfs {

Status ForgetSnapshots(Repository& repo, std::vector<SnapshotId> ids,
                       const std::function<void(const std::string&)>& warn) {
  BKFS_TRY(repo.CheckMayMaintain());
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
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
  for (const auto& id : ids) {
    Status removed = repo.store().Remove(SnapshotName(id));
    if (!removed.ok() && !removed.Is(Code::kNotFound) && warn) {
      warn(SnapshotName(id) + " stays in the store, and does not count: " + removed.message());
    }
  }
  return {};
}

}  // namespace bkfs

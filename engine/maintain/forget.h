// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/repo/repository.h"

namespace bkfs {

// Removes snapshots: puts signed removals (doc/format.md section 13), then deletes the records they
// name. From the first moment on they do not exist for anybody; what they alone used is freed by
// prune. kDenied: the key is no Master or Maintain key, or is revoked. A record that cannot be
// deleted stays and does not count; that is no error, `warn` (may be empty) is told. Snapshots that
// the store keeps locked (Backend::LockedUntil) are not forgotten before that is over; `warn` is
// told of each, and they are what is returned.
Result<std::vector<SnapshotId>> ForgetSnapshots(
    Repository& repo, std::vector<SnapshotId> ids,
    const std::function<void(const std::string&)>& warn = {});

}  // namespace bkfs

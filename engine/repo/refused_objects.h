// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "engine/base/ids.h"
#include "engine/repo/key_directory.h"

namespace bkfs {

class Repository;

// Whether an object is a fence of this lease that counts. A verdict (IsVerdict) where it is none;
// other codes: the store said no.
Status CheckFence(KeyDirectory& keys, const RepoHeader& header, const LeaseId& lease,
                  ByteView object);

// What passes for a decision of maintenance and is none, by a look at the store just now: removals,
// closures, entries of the log, fences. Each object once, by name.
Result<std::vector<RefusedObject>> FindRefusedMaintenance(Repository& repo);

}  // namespace bkfs

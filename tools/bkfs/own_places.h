// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "tools/bkfs/cli.h"

namespace bkfs {

// Folders of this machine that are bkfs's own: the repository, the caches, and where repositories
// are mounted. A backup would grow by what it holds each time if it went into them, and a restore
// must not remove them.
Result<std::vector<std::string>> OwnPlaces(const Context& context);

// The mount points of bkfs in the text of /proc/self/mountinfo.
std::vector<std::string> MountPointsIn(std::string_view mountinfo);

}  // namespace bkfs

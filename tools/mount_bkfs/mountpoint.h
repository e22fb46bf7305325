// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "engine/base/status.h"

namespace bkfs {

// The mountpoint as an absolute path without links. kInvalid when it is missing or no directory,
// kBusy when a bkfs mount is there already, or what a dead one left.
Result<std::string> CheckMountpoint(const std::string& path);

// kInvalid when the mountpoint is one of these places, or above or below one: the daemon would have
// to ask itself for its own files. Places need not exist. `mountpoint` is as CheckMountpoint gave
// it.
Status CheckApart(const std::string& mountpoint, const std::vector<std::string>& places);

}  // namespace bkfs

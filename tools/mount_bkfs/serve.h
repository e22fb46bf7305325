// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tools/mount_bkfs/daemon.h"
#include "tools/mount_bkfs/options.h"

namespace bkfs {

// Mounts and serves until somebody unmounts or sends SIGTERM; then makes the last snapshots and
// stores everything. Tells `parent` how mounting went. The result is the process's exit code.
int ServeMount(const MountOptions& options, const std::string& mountpoint, const Environment& env,
               ParentLine parent);

}  // namespace bkfs

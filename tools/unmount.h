// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "engine/base/status.h"

namespace bkfs {

enum class UnmountHow { kNormal, kForce, kLazy };

// Unmounts the bkfs mount at `path` as root or as the user who mounted it. The kernel lets go of a
// mount before its daemon has stored what is left; a normal unmount returns when that is done and
// the daemon is gone. The others, and one that finds the same mount at a further place (a bind
// mount), do not wait. While it waits it asks `interrupted`; kInterrupted then, and the daemon goes
// on. When that takes more than a moment, `say` is told now and then what is waited for.
// kUnavailable when it is unmounted and the daemon has gone without storing all: the rest is kept
// for the next mount. kInvalid when no bkfs is mounted there, kBusy when something is open in it.
Status UnmountBkfs(const std::string& path, UnmountHow how,
                   const std::function<bool()>& interrupted,
                   const std::function<void(const std::string&)>& say);

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/base/status.h"

namespace bkfs {

// What the programs exit with; documented in their man pages.
enum ExitCode : int {
  kExitDone = 0,
  kExitFailed = 1,
  kExitUsage = 2,           // a wrong option, argument or configuration; nothing was changed
  kExitSourcesSkipped = 3,  // done, but some source files could not be read (they were named)
  kExitNoRepository = 10,   // there is no repository at that place
  kExitWrongKey = 12,       // the key does not fit, or has been tampered with
  kExitDamaged = 13,        // damage was found in the repository
  kExitInterrupted = 130,
};

// The one place that turns a failure into an exit code.
ExitCode ExitCodeOf(const Status& status);

}  // namespace bkfs

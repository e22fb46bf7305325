// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/base/status.h"

namespace bkfs {

// The errno that tells the kernel about a failure. The one place that decides it.
int ErrnoOf(Code code);

}  // namespace bkfs

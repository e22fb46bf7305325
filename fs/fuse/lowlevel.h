// SPDX-License-Identifier: Apache-2.0
#pragma once

// One place that says which libfuse interface this is written for.
#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 14)
#include <fuse_lowlevel.h>

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/status.h"

namespace bkfs {

int64_t MonotonicNow();

// Until the descriptor has one of poll(2)'s `events` (or an error, which whoever uses it next
// gets). Tells the thread's watches that it waits, and ends with what they say. kUnavailable,
// beginning with `what`, past `until_ns` on the monotonic clock.
Status AwaitReady(int fd, short events, int64_t until_ns, const std::string& what);

}  // namespace bkfs

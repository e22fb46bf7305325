// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/fd.h"

namespace bkfs {

// A TCP connection, non-blocking, that notices by itself when its peer is gone. Tries the host's
// addresses one after the other. kUnavailable, naming host and port, when the name cannot be
// resolved, nobody answers, or it is later than `until_ns` on the monotonic clock. Watched.
Result<UniqueFd> Dial(const std::string& host, uint16_t port, int64_t until_ns);

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "backends/sftp/wait.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>

#include "engine/base/clock.h"
#include "engine/base/transfer.h"

namespace bkfs {

namespace {
constexpr int64_t kLookNs = 100'000'000;  // often enough for what watches want to be told
}  // namespace

int64_t MonotonicNow() { return SystemClock().MonotonicNanos(); }

Status AwaitReady(int fd, short events, int64_t until_ns, const std::string& what) {
  for (;;) {
    BKFS_TRY(TellWaiting());
    const int64_t left = std::max<int64_t>(until_ns - MonotonicNow(), 0);
    pollfd waited{.fd = fd, .events = events, .revents = 0};
    const int ready = ::poll(&waited, 1, static_cast<int>(std::min(left, kLookNs) / 1'000'000));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return Status::FromErrno(errno, what);
    if (left == 0) return {Code::kUnavailable, what + ": no answer for too long"};
  }
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>

#include "fs/fuse/lowlevel.h"

namespace bkfs {

// libfuse 3.14 cannot say HANDLE_KILLPRIV_V2 to the kernel: "this filesystem takes setuid, setgid
// and capabilities away by itself". Without it the kernel asks for security.capability before every
// write(2). So the session's INIT exchange is watched: where the kernel offers that feature, the
// answer accepts it. Newer versions of libfuse do so themselves.
class InitPatch {
 public:
  // After fuse_session_mount, before the loop. Does nothing where it is not needed.
  static void Install(fuse_session* session);

  // The two halves, pure but for the state between them; public for tests.
  void SawRequest(const void* data, size_t size);
  // May change what the iovecs point at.
  void BeforeAnswer(const iovec* parts, int count);

 private:
  enum class State { kWaiting, kOffered, kOver };
  std::atomic<State> state_{State::kWaiting};
  uint64_t unique_ = 0;  // of the INIT request; written before kOffered
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>

#include "engine/base/thread_pool.h"
#include "fs/filesystem.h"
#include "fs/fuse/lowlevel.h"
#include "fs/fuse/reply.h"

namespace bkfs {

// What operations reach through a request.
struct FuseDaemon {
  FuseDaemon(FileSystem& filesystem, bool allow_other_users)
      : fs(filesystem), log(filesystem.log()), allow_other(allow_other_users) {}
  FileSystem& fs;
  Logger& log;
  const bool allow_other;
  // For what may take minutes (making a snapshot), so that it does not hold up the rest.
  ThreadPool slow{2, 64};
};

// Runs one operation: whatever it does, the request is answered once.
template <typename Body>
void Serve(fuse_req_t request, Body body) {
  auto& daemon = *static_cast<FuseDaemon*>(fuse_req_userdata(request));
  Reply reply(request, daemon.log);
  try {
    body(daemon, reply);
  } catch (const std::exception& error) {
    Status status(Code::kIo, std::string("unexpected: ") + error.what());
    if (reply.answered() || reply.Failed(status)) return;
  }
}

Caller CallerOf(fuse_req_t request);

// The table for fuse_session_new.
fuse_lowlevel_ops AllOperations();
// The half of it that changes things.
void AddWriteOperations(fuse_lowlevel_ops& ops);

}  // namespace bkfs

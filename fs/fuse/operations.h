// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <exception>
#include <memory>

#include "engine/base/thread_pool.h"
#include "engine/base/transfer.h"
#include "fs/filesystem.h"
#include "fs/fuse/lowlevel.h"
#include "fs/fuse/reply.h"

namespace bkfs {

// What operations reach through a request.
struct FuseDaemon {
  FuseDaemon(FileSystem& filesystem, bool allow_other_users, int64_t wait_limit)
      : fs(filesystem),
        log(filesystem.log()),
        allow_other(allow_other_users),
        wait_limit_ns(wait_limit) {}
  FileSystem& fs;
  Logger& log;
  const bool allow_other;
  const int64_t wait_limit_ns;  // that a request waits for the store, unless it stores
  // Nobody shall wait any more: the mount goes away, and what was written is in the spool.
  std::atomic<bool> ending{false};
  // For what may take minutes (making a snapshot), so that it does not hold up the rest.
  ThreadPool slow{2, 64};
};

// Whether a request's caller got a signal, and a second ago: many signals do not end a program, and
// it would have to do with EINTR from a file. Or the daemon ends.
class Interruption {
 public:
  Interruption(const Reply& reply, const std::atomic<bool>& ending)
      : reply_(reply), ending_(ending) {}
  bool operator()();

 private:
  static constexpr int64_t kGraceNs = 1'000'000'000;
  const Reply& reply_;
  const std::atomic<bool>& ending_;
  int64_t seen_ns_ = 0;
};

// Runs one operation: whatever it does, the request is answered once. It waits for the store no
// longer than `limit_ns`, and not when a signal has come.
template <typename Body>
void ServeWithin(fuse_req_t request, FuseDaemon& daemon, int64_t limit_ns, Body body) {
  Reply reply(request, daemon.log);
  WaitLimit waiting(limit_ns, Interruption(reply, daemon.ending));
  const WatchScope scope(waiting);
  try {
    body(daemon, reply);
  } catch (const std::exception& error) {
    Status status(Code::kIo, std::string("unexpected: ") + error.what());
    if (reply.answered() || reply.Failed(status)) return;
  }
}

template <typename Body>
void Serve(fuse_req_t request, Body body) {
  auto& daemon = *static_cast<FuseDaemon*>(fuse_req_userdata(request));
  ServeWithin(request, daemon, daemon.wait_limit_ns, body);
}
// The same for what hands bytes over to be stored: on a slow line that takes as long as it takes.
template <typename Body>
void ServeStoring(fuse_req_t request, Body body) {
  auto& daemon = *static_cast<FuseDaemon*>(fuse_req_userdata(request));
  ServeWithin(request, daemon, WaitLimit::kForever, body);
}

// Runs a task on the daemon's slow threads that answers `reply` at its end; a signal to who waits
// ends what it waits for, not more.
template <typename Task>
void ServeLater(FuseDaemon& daemon, Reply& reply, const char* what, Task task) {
  auto later = std::make_shared<Reply>(std::move(reply));  // shared: a task must be copyable
  daemon.slow.Submit([&daemon, later, what, task] {
    WaitLimit waiting(WaitLimit::kForever, Interruption(*later, daemon.ending));
    const WatchScope scope(waiting);
    try {
      task(*later);
    } catch (const std::exception& error) {
      daemon.log.Error(std::string(what) + " failed: " + error.what());
    }
  });
}

Caller CallerOf(fuse_req_t request);

// The table for fuse_session_new.
fuse_lowlevel_ops AllOperations();
// The half of it that changes things.
void AddWriteOperations(fuse_lowlevel_ops& ops);

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>

#include "engine/base/mutex.h"
#include "engine/base/status.h"

namespace bkfs {

// What is to know, slow down or end what a thread moves to and from a store: a limit of bandwidth,
// of time, a signal. Whoever moves bytes, or waits for others that do, tells with the functions
// below; who called it has said with a WatchScope what it wants to be told.
class TransferWatch {
 public:
  virtual ~TransferWatch() = default;
  // `bytes` are about to be sent (have been received). May sleep. A failure ends the transfer, and
  // is what the operation returns.
  virtual Status Sending(uint64_t /*bytes*/) { return {}; }
  virtual Status Received(uint64_t /*bytes*/) { return {}; }
  // Nothing moves at the moment.
  virtual Status Waiting() { return {}; }
  // The thread sleeps on purpose, as another watch or a plan of its own wants it.
  virtual Status Sleeping() { return Waiting(); }
};

// From its construction to its end, what this thread moves is told to `watch` too. Scopes nest, the
// innermost is told first; they end in the reverse order, on the thread that made them.
class WatchScope {
 public:
  explicit WatchScope(TransferWatch& watch);
  ~WatchScope();
  WatchScope(const WatchScope&) = delete;
  WatchScope& operator=(const WatchScope&) = delete;

 private:
  friend struct WatchChain;
  TransferWatch& watch_;
  WatchScope* const outer_;
};

// For who moves bytes: at most kTransferPiece at a time for Sending and Received, and Waiting at
// least four times a second while nothing moves. The first failure of a watch is returned: give up
// at once.
constexpr size_t kTransferPiece = 256 << 10;
Status TellSending(uint64_t bytes);
Status TellReceived(uint64_t bytes);
Status TellWaiting();
// Sleeps, and tells that it does.
Status SleepWatched(int64_t nanos);
// Takes a mutex that others may hold while they wait for a store. False when a watch ends the
// waiting, with what it says in `why`.
bool LockWatched(Mutex& mutex, Status& why) BKFS_TSA(try_acquire_capability(true, mutex));
// Tells of many bytes that came at once, piece by piece.
Status TellReceivedAll(uint64_t bytes);

// Ends what a thread waits for: kUnavailable after `limit_ns` on the monotonic clock, kInterrupted
// when `interrupted` (may be empty; called about every 100 ms, on the waiting thread) says so.
class WaitLimit final : public TransferWatch {
 public:
  static constexpr int64_t kForever = std::numeric_limits<int64_t>::max();
  WaitLimit(int64_t limit_ns, std::function<bool()> interrupted);
  Status Sending(uint64_t) override { return Waiting(); }
  Status Received(uint64_t) override { return Waiting(); }
  Status Waiting() override;

 private:
  const int64_t limit_ns_;
  const int64_t until_ns_;
  const std::function<bool()> interrupted_;
};

}  // namespace bkfs

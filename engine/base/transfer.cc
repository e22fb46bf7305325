// SPDX-License-Identifier: Apache-2.0
#include "engine/base/transfer.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>

namespace bkfs {

namespace {
constexpr int64_t kLookNs = 100'000'000;

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

thread_local WatchScope* innermost = nullptr;
}  // namespace

struct WatchChain {
  template <typename Tell>
  static Status Each(const Tell& tell) {
    for (WatchScope* scope = innermost; scope != nullptr; scope = scope->outer_) {
      BKFS_TRY(tell(scope->watch_));
    }
    return {};
  }
};

WatchScope::WatchScope(TransferWatch& watch) : watch_(watch), outer_(innermost) {
  innermost = this;
}

WatchScope::~WatchScope() {
  BKFS_CHECK(innermost == this);
  innermost = outer_;
}

Status TellSending(uint64_t bytes) {
  return WatchChain::Each([bytes](TransferWatch& watch) { return watch.Sending(bytes); });
}

Status TellReceived(uint64_t bytes) {
  return WatchChain::Each([bytes](TransferWatch& watch) { return watch.Received(bytes); });
}

Status TellReceivedAll(uint64_t bytes) {
  for (uint64_t told = 0; told < bytes; told += kTransferPiece) {
    BKFS_TRY(TellReceived(std::min<uint64_t>(bytes - told, kTransferPiece)));
  }
  return {};
}

Status TellWaiting() {
  return WatchChain::Each([](TransferWatch& watch) { return watch.Waiting(); });
}

Status SleepWatched(int64_t nanos) {
  const int64_t until = NowNs() + nanos;
  for (;;) {
    BKFS_TRY(WatchChain::Each([](TransferWatch& watch) { return watch.Sleeping(); }));
    const int64_t left = until - NowNs();
    if (left <= 0) return {};
    std::this_thread::sleep_for(std::chrono::nanoseconds(std::min(left, kLookNs)));
  }
}

bool LockWatched(Mutex& mutex, Status& why) {
  constexpr auto kPoll = std::chrono::milliseconds(5);
  while (!mutex.TryLock()) {
    why = TellWaiting();
    if (!why.ok()) return false;
    std::this_thread::sleep_for(kPoll);
  }
  return true;
}

WaitLimit::WaitLimit(int64_t limit_ns, std::function<bool()> interrupted)
    : limit_ns_(limit_ns),
      until_ns_(NowNs() > kForever - limit_ns ? kForever : NowNs() + limit_ns),
      interrupted_(std::move(interrupted)) {}

Status WaitLimit::Waiting() {
  if (interrupted_ && interrupted_()) return {Code::kInterrupted, "interrupted"};
  if (NowNs() < until_ns_) return {};
  return {Code::kUnavailable,
          "the store has not answered for " + std::to_string(limit_ns_ / 1'000'000'000) + " s"};
}

}  // namespace bkfs

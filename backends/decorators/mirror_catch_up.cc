// SPDX-License-Identifier: Apache-2.0
// The part of MirrorBackend that brings the mirror up to date again.
#include <algorithm>

#include "backends/decorators/mirror_backend.h"
#include "backends/decorators/stop_watch.h"
#include "engine/base/transfer.h"

namespace bkfs {

namespace {
constexpr int64_t kLookNs = 100'000'000;
constexpr int kTries = 3;
constexpr int64_t kTryPauseNs = 1'000'000'000;

std::string Count(uint64_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

// There are no retries below a mirror.
template <typename Operation>
auto Patiently(const Operation& operation) {
  for (int attempt = 1;; ++attempt) {
    auto outcome = operation();
    if (outcome.code() != Code::kUnavailable || attempt == kTries) return outcome;
    Status ended = SleepWatched(kTryPauseNs);
    if (!ended.ok()) return decltype(outcome)(std::move(ended));
  }
}
}  // namespace

// True: to be tried now. False: closing.
bool MirrorBackend::WaitForWork(int64_t pause_ns) {
  MutexLock lock(mutex_);
  while (!closing_ && mode_ == Mode::kInStep && wanted_ == tried_) changed_.Wait(mutex_);
  const int64_t until = clock_.MonotonicNanos() + pause_ns;
  while (!closing_ && wanted_ == tried_) {
    const int64_t left = until - clock_.MonotonicNanos();
    if (left <= 0) break;
    changed_.WaitFor(mutex_, left);
  }
  return !closing_;
}

void MirrorBackend::Run() {
  StopWatch closing(closing_, closing_);
  WatchScope scope(closing);
  int64_t pause = options_.first_pause_ns;
  while (WaitForWork(pause)) {
    uint64_t wanted = 0;
    {
      MutexLock lock(mutex_);
      wanted = wanted_;
    }
    Status done = CatchUpOnce();
    pause = done.ok() ? options_.first_pause_ns : std::min(pause * 2, options_.longest_pause_ns);
    const bool refused = done.Is(Code::kInvalid);
    if (refused) {
      log_.Error("the mirror is left alone: " + done.message());
      pause = options_.longest_pause_ns;
    }
    MutexLock lock(mutex_);
    if (!done.ok()) mode_ = Mode::kAway;
    tried_ = wanted;
    last_try_ = std::move(done);
    changed_.NotifyAll();
  }
}

Status MirrorBackend::CatchUpOnce() {
  BKFS_TRY(Reach(false));
  uint64_t unresolved = 0;
  {
    // From here on changes go to both, so that what is listed below is all that was missed.
    MutexLock lock(mutex_);
    unresolved = unresolved_;
    mode_ = Mode::kCatchingUp;
  }
  BKFS_ASSIGN(const auto removals, state_->Removals());
  BKFS_ASSIGN(const CatchUpResult result,
              CatchUp(*primary_, *mirror_.load(), removals, [] { return TellWaiting(); }));
  Finished(result, unresolved);
  return {};
}

void MirrorBackend::Finished(const CatchUpResult& result, uint64_t unresolved) {
  for (const auto& name : result.left) {
    log_.Warning("not copied to the mirror: " + name + " does not hash to its name");
  }
  MutexLock lock(mutex_);
  // More was missed meanwhile, and some of it perhaps after the listing: once more.
  if (mode_ != Mode::kCatchingUp) return;
  mode_ = Mode::kInStep;
  unresolved_ = unresolved_ - std::min(unresolved_, unresolved) + result.kept;
  if (unresolved_ == 0) state_->Finish();
  if (warned_ || result.copied + result.removed > 0) {
    log_.Info("the mirror " + options_.url + " is caught up: " + Count(result.copied, "object") +
              " copied, " + Count(result.removed, "object") + " removed");
  }
  warned_ = false;
}

Status MirrorBackend::CatchUpNow() {
  BKFS_ASSIGN(const bool noted, state_->IsBehind());
  MutexLock lock(mutex_);
  if (noted && mode_ == Mode::kInStep) mode_ = Mode::kAway;
  if (mode_ == Mode::kInStep) return {};
  const uint64_t mine = ++wanted_;
  changed_.NotifyAll();
  for (;;) {
    if (tried_ >= mine) {
      if (!last_try_.ok()) return last_try_;
      return mode_ == Mode::kInStep ? OkStatus()
                                    : Status(Code::kBusy, "the mirror is still being caught up");
    }
    if (!changed_.WaitFor(mutex_, kLookNs)) BKFS_TRY(TellWaiting());
  }
}

Result<MirrorComparison> MirrorBackend::Compare(const CompareOptions& options) {
  Backend* const mirror = mirror_.load();
  if (mirror == nullptr) {
    return Status(Code::kUnavailable, "the mirror " + options_.url + " cannot be reached");
  }
  return Patiently([&] { return CompareStores(*primary_, *mirror, options); });
}

Result<MirrorMended> MirrorBackend::Mend(const MirrorComparison& found,
                                         const std::vector<std::string>& damaged) {
  Backend* const mirror = mirror_.load();
  if (mirror == nullptr) {
    return Status(Code::kUnavailable, "the mirror " + options_.url + " cannot be reached");
  }
  return Patiently([&]() -> Result<MirrorMended> {
    BKFS_ASSIGN(MirrorMended out, MendDifferences(*primary_, *mirror, found));
    BKFS_TRY(MendPrimary(*primary_, *mirror, damaged, out));
    return out;
  });
}

}  // namespace bkfs

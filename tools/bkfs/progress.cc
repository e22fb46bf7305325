// SPDX-License-Identifier: Apache-2.0
#include "tools/bkfs/progress.h"

#include <unistd.h>

#include <iostream>

#include "tools/bkfs/output.h"

namespace bkfs {

namespace {
constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kTerminalEvery = kSecond / 10;
constexpr int64_t kLinesEvery = 10 * kSecond;
}  // namespace

ProgressLine::ProgressLine(Clock& clock, bool quiet)
    : clock_(clock),
      quiet_(quiet),
      terminal_(::isatty(STDERR_FILENO) == 1),
      start_(clock.MonotonicNanos()) {
  MutexLock lock(mutex_);
  next_ = start_ + (terminal_ ? 5 * kTerminalEvery : kLinesEvery);
}

ProgressLine::~ProgressLine() {
  MutexLock lock(mutex_);
  Clear();
}

void ProgressLine::Clear() {
  if (shown_ > 0) std::cerr << "\r" << std::string(shown_, ' ') << "\r" << std::flush;
  shown_ = 0;
}

void ProgressLine::Update(const std::string& what, uint64_t done, uint64_t total) {
  if (quiet_) return;
  MutexLock lock(mutex_);
  const int64_t now = clock_.MonotonicNanos();
  if (now < next_) return;
  next_ = now + (terminal_ ? kTerminalEvery : kLinesEvery);
  const double seconds = static_cast<double>(now - start_) / kSecond;
  const double rate = static_cast<double>(done) / seconds;
  std::string line = what + ", " + HumanSize(static_cast<uint64_t>(rate)) + "/s";
  if (total > done && rate > 0) {
    const auto left = static_cast<int64_t>(static_cast<double>(total - done) / rate);
    line += ", " + std::to_string(done * 100 / total) + "%, about " + std::to_string(left / 60) +
            "m" + std::to_string(left % 60) + "s left";
  }
  if (!terminal_) {
    std::cerr << line << "\n";
    return;
  }
  Clear();
  std::cerr << line << std::flush;
  shown_ = line.size();
}

void ProgressLine::Say(const std::string& message) {
  MutexLock lock(mutex_);
  Clear();
  std::cerr << message << "\n";
}

}  // namespace bkfs

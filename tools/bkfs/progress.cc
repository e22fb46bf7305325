// SPDX-License-Identifier: Apache-2.0
#include "tools/bkfs/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
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
  ClearLine();
}

void ProgressLine::ClearLine() {
  if (shown_ > 0) std::cerr << "\r" << std::string(shown_, ' ') << "\r" << std::flush;
  shown_ = 0;
}

bool ProgressLine::IsDue() {
  const int64_t now = clock_.MonotonicNanos();
  if (quiet_ || now < next_) return false;
  next_ = now + (terminal_ ? kTerminalEvery : kLinesEvery);
  return true;
}

void ProgressLine::Show(std::string line) {
  if (!terminal_) {
    std::cerr << line << "\n";
    return;
  }
  ClearLine();
  // A line that wraps could not be written over.
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1) {
    line.resize(std::min<size_t>(line.size(), size.ws_col - 1));
  }
  std::cerr << line << std::flush;
  shown_ = line.size();
}

void ProgressLine::Update(const std::string& what, uint64_t done, uint64_t total) {
  MutexLock lock(mutex_);
  if (!IsDue()) return;
  const double seconds = static_cast<double>(clock_.MonotonicNanos() - start_) / kSecond;
  const double rate = static_cast<double>(done) / seconds;
  std::string line = what + ", " + HumanSize(static_cast<uint64_t>(rate)) + "/s";
  if (total > done && rate > 0) {
    const auto left = static_cast<int64_t>(static_cast<double>(total - done) / rate);
    line += ", " + std::to_string(done * 100 / total) + "%, about " + std::to_string(left / 60) +
            "m" + std::to_string(left % 60) + "s left";
  }
  Show(std::move(line));
}

void ProgressLine::Count(const std::string& what, uint64_t done, uint64_t total) {
  MutexLock lock(mutex_);
  if (!IsDue()) return;
  std::string line = what + " " + std::to_string(done) + "/" + std::to_string(total);
  if (total > 0) line += ", " + std::to_string(done * 100 / total) + "%";
  Show(std::move(line));
}

void ProgressLine::Say(const std::string& message) {
  MutexLock lock(mutex_);
  ClearLine();
  std::cerr << message << "\n";
}

void ProgressLine::Clear() {
  MutexLock lock(mutex_);
  ClearLine();
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/base/process.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "engine/base/bytes.h"
#include "engine/base/fd.h"

namespace bkfs {

namespace {
constexpr uint64_t kMaxProcFile = 4096;

// proc(5): field 22 of /proc/<pid>/stat; the second field may hold spaces and parentheses.
uint64_t StartTicks(uint64_t pid) {
  auto stat = ReadWholeFile("/proc/" + std::to_string(pid) + "/stat", kMaxProcFile);
  if (!stat.ok()) return 0;
  std::string text(AsText(*stat));
  size_t at = text.rfind(')');
  if (at == std::string::npos) return 0;
  constexpr int kFieldsBefore = 20;  // from the ')' to the start time
  for (int i = 0; i < kFieldsBefore; ++i) {
    at = text.find(' ', at + 1);
    if (at == std::string::npos) return 0;
  }
  uint64_t ticks = 0;
  for (size_t i = at + 1; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i) {
    ticks = ticks * 10 + static_cast<uint64_t>(text[i] - '0');
  }
  return ticks;
}

bool TakeHex(const std::string& path, std::array<uint8_t, 16>& out) {
  auto text = ReadWholeFile(path, kMaxProcFile);
  if (!text.ok()) return false;
  std::string digits;
  for (uint8_t c : *text) {
    if (c != '-' && c != '\n') digits += static_cast<char>(c);
  }
  auto raw = ParseHex(digits);
  if (!raw.ok() || raw->size() != out.size()) return false;
  std::copy(raw->begin(), raw->end(), out.begin());
  return true;
}
}  // namespace

ProcessIdentity ThisProcess() {
  ProcessIdentity self;
  self.pid = static_cast<uint64_t>(::getpid());
  self.started = StartTicks(self.pid);
  if (!TakeHex("/proc/sys/kernel/random/boot_id", self.boot)) self.boot.fill(0);
  return self;
}

bool IsRunning(uint64_t pid, uint64_t started) {
  if (pid == 0 || started == 0) return true;
  if (::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH) return false;
  const uint64_t ticks = StartTicks(pid);
  return ticks == 0 || ticks == started;
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/base/process.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "engine/base/bytes.h"
#include "engine/base/fd.h"

namespace bkfs {

namespace {
constexpr uint64_t kMaxProcFile = 4096;

struct ProcStat {
  char state = 0;
  uint64_t ticks = 0;  // when it began; 0: not known
};

// proc(5): fields 3 and 22 of /proc/<pid>/stat; the second field may hold spaces and parentheses.
ProcStat StatOf(uint64_t pid) {
  ProcStat out;
  auto stat = ReadWholeFile("/proc/" + std::to_string(pid) + "/stat", kMaxProcFile);
  if (!stat.ok()) return out;
  const std::string text(AsText(*stat));
  size_t at = text.rfind(')');
  if (at == std::string::npos || at + 2 >= text.size()) return out;
  out.state = text[at + 2];
  constexpr int kFieldsBefore = 20;  // from the ')' to the start time
  for (int i = 0; i < kFieldsBefore; ++i) {
    at = text.find(' ', at + 1);
    if (at == std::string::npos) return out;
  }
  for (size_t i = at + 1; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i) {
    out.ticks = out.ticks * 10 + static_cast<uint64_t>(text[i] - '0');
  }
  return out;
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
  self.started = StatOf(self.pid).ticks;
  if (!TakeHex("/proc/sys/kernel/random/boot_id", self.boot)) {
    self.boot.fill(0);
    return self;
  }
  // Containers share the boot and not the numbers.
  struct stat space {};
  if (::stat("/proc/self/ns/pid", &space) == 0) {
    for (size_t i = 0; i < 8; ++i) {
      self.boot[8 + i] ^= static_cast<uint8_t>(static_cast<uint64_t>(space.st_ino) >> (8 * i));
    }
  }
  return self;
}

bool IsRunning(uint64_t pid, uint64_t started) {
  if (pid == 0 || started == 0) return true;
  if (::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH) return false;
  const ProcStat stat = StatOf(pid);
  // A dead one that nobody has waited for keeps its number.
  if (stat.state == 'Z' || stat.state == 'X') return false;
  return stat.ticks == 0 || stat.ticks == started;
}

}  // namespace bkfs

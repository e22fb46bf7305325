// SPDX-License-Identifier: Apache-2.0
#include "tools/mount_bkfs/daemon.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>

#include "tools/exit_codes.h"

namespace bkfs {

namespace {
// What the child says: one byte of exit code, then the message. Nothing at all: it died.
int WaitForChild(int fd) {
  std::string said;
  char buffer[1024];
  for (;;) {
    ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    said.append(buffer, static_cast<size_t>(n));
  }
  if (said.empty()) {
    std::fprintf(stderr, "mount.bkfs: the daemon ended without a word\n");
    return kExitFailed;
  }
  if (said[0] != kExitDone) std::fprintf(stderr, "mount.bkfs: %s\n", said.c_str() + 1);
  return static_cast<uint8_t>(said[0]);
}
}  // namespace

void ParentLine::Ready() {
  if (!in_background()) return;
  // Not sooner: at an automount point the kernel lets nobody through but the process group of who
  // mounts, and whoever else comes near waits for that mount.
  ::setsid();
  (void)!::chdir("/");
  const uint8_t done = kExitDone;
  (void)WriteAll(fd_.get(), {&done, 1}, "pipe").ok();
  fd_.Reset();
  int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return;
  for (int fd = 0; fd < 3; ++fd) ::dup2(null, fd);
  if (null > 2) ::close(null);
}

void ParentLine::Failed(const Status& status) {
  if (!in_background()) {
    std::fprintf(stderr, "mount.bkfs: %s\n", status.message().c_str());
    return;
  }
  std::string text(1, static_cast<char>(ExitCodeOf(status)));
  text += status.message();
  (void)WriteAll(fd_.get(), AsBytes(text), "pipe").ok();
  fd_.Reset();
}

Result<ParentLine> ForkDaemon(int& exit_code) {
  exit_code = -1;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return Status::FromErrno(errno, "pipe");
  UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  std::fflush(nullptr);
  pid_t child = ::fork();
  if (child < 0) return Status::FromErrno(errno, "fork");
  if (child == 0) {
    ::signal(SIGPIPE, SIG_IGN);  // the parent may have been killed
    return ParentLine(std::move(writer));
  }
  writer.Reset();
  exit_code = WaitForChild(reader.get());
  return ParentLine();
}

}  // namespace bkfs

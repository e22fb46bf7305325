// SPDX-License-Identifier: Apache-2.0
// commit, umount: what talks to a mount's daemon.
#include <poll.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <iostream>

#include "engine/base/fd.h"
#include "fs/control.h"
#include "tools/bkfs/cli.h"

namespace bkfs {

namespace {

Result<int> Commit(Context& context) {
  BKFS_ASSIGN(SnapshotId id, CommitThroughMount(context.args.positional()[0]));
  std::cout << id.hex() << "\n";
  return int{kExitDone};
}

// umount(2) as root, fusermount3 for others.
Status Unmount(const std::string& path) {
  if (::geteuid() == 0) {
    if (::umount2(path.c_str(), UMOUNT_NOFOLLOW) == 0) return {};
    if (errno == EBUSY) {
      return {Code::kBusy, path + " is in use: close what is open there, and leave the directory"};
    }
    return Status::FromErrno(errno, "umount " + path);
  }
  const pid_t child = ::fork();
  if (child < 0) return Status::FromErrno(errno, "fork");
  if (child == 0) {
    ::execlp("fusermount3", "fusermount3", "-u", "--", path.c_str(), nullptr);
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return {Code::kBusy, path + " could not be unmounted (is something open there?)"};
}

Result<int> Umount(Context& context) {
  const std::string& path = context.args.positional()[0];
  BKFS_ASSIGN(MountIdentity mount, AskMount(path));
  // Opened before it can end: its number may be another's afterwards.
  const UniqueFd daemon(static_cast<int>(::syscall(SYS_pidfd_open, mount.pid, 0)));
  if (!daemon.valid()) {
    return Status::FromErrno(errno, "process " + std::to_string(mount.pid) + " of the mount");
  }
  BKFS_TRY(Unmount(path));
  // The kernel lets go at once; the daemon still stores what is left, and then ends.
  pollfd end{daemon.get(), POLLIN, 0};
  while (::poll(&end, 1, 200) <= 0) {
    if (Interrupted()) {
      return Status(Code::kInterrupted, "interrupted; process " + std::to_string(mount.pid) +
                                            " still stores what is left");
    }
  }
  return int{kExitDone};
}

}  // namespace

std::vector<Command> MountCommands() {
  return {
      {"commit",
       "DIR",
       "makes a snapshot of a series in a mount's /incoming now",
       {},
       1,
       1,
       Commit},
      {"umount", "DIR", "unmounts, and returns when everything is stored", {}, 1, 1, Umount},
  };
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "tools/unmount.h"

#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <fstream>
#include <sstream>

#include "engine/base/fd.h"
#include "fs/control.h"
#include "tools/ending.h"

namespace bkfs {

namespace {
constexpr int kLookMs = 100;
// In looks.
constexpr int kFirstWord = 30;
constexpr int kNextWord = 300;

Status Busy(const std::string& path) {
  return {Code::kBusy, path + " is in use: close what is open there, and leave the directory"};
}

// fusermount3 is the way for those who may not call umount2 themselves.
Status UnmountAsUser(const std::string& path, bool lazy) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return Status::FromErrno(errno, "pipe");
  UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return Status::FromErrno(errno, "fork");
  if (child == 0) {
    ::dup2(writer.get(), STDERR_FILENO);
    ::execlp("fusermount3", "fusermount3", lazy ? "-uz" : "-u", "--", path.c_str(), nullptr);
    ::_exit(127);
  }
  writer.Reset();
  std::string said;
  char buffer[512];
  ssize_t n = 0;
  while ((n = ::read(reader.get(), buffer, sizeof buffer)) > 0 || (n < 0 && errno == EINTR)) {
    if (n > 0) said.append(buffer, static_cast<size_t>(n));
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
    return {Code::kUnavailable, "fusermount3 cannot be run (package fuse3)"};
  }
  if (said.find("busy") != std::string::npos) return Busy(path);
  said = said.substr(0, said.find('\n'));
  return {Code::kDenied, said.empty() ? "fusermount3 cannot unmount " + path : said};
}

Status Unmount(const std::string& path, UnmountHow how) {
  if (::geteuid() != 0) return UnmountAsUser(path, how == UnmountHow::kLazy);
  int flags = UMOUNT_NOFOLLOW;
  if (how == UnmountHow::kForce) flags |= MNT_FORCE;
  if (how == UnmountHow::kLazy) flags |= MNT_DETACH;
  if (::umount2(path.c_str(), flags) == 0) return {};
  if (errno == EBUSY) return Busy(path);
  if (errno == EINVAL) return {Code::kInvalid, path + " is not a mount point"};
  return Status::FromErrno(errno, "umount " + path);
}

// A handle on the daemon, which its number alone is not: numbers are given again, and in another
// PID namespace this one is somebody else's.
UniqueFd HoldDaemon(int32_t pid) {
  // glibc 2.36's own pidfd_open cannot be called from C++.
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  std::ifstream comm("/proc/" + std::to_string(pid) + "/comm");
  std::string name;
  std::getline(comm, name);
  if (name != "mount.bkfs") fd.Reset();
  return fd;
}

bool MountedElsewhere(dev_t device) {
  const std::string wanted = std::to_string(major(device)) + ":" + std::to_string(minor(device));
  std::ifstream table("/proc/self/mountinfo");
  std::string line;
  while (std::getline(table, line)) {
    std::istringstream words(line);
    std::string id;
    std::string parent;
    std::string number;
    if (words >> id >> parent >> number && number == wanted) return true;
  }
  return false;
}
}  // namespace

Status UnmountBkfs(const std::string& path, UnmountHow how,
                   const std::function<bool()>& interrupted,
                   const std::function<void(const std::string&)>& say) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) {
    // What a killed daemon leaves behind; there is nobody to wait for.
    if (errno == ENOTCONN) return Unmount(path, how);
    return {Code::kInvalid, Status::FromErrno(errno, path).message()};
  }
  BKFS_ASSIGN(MountIdentity mount, AskMount(path));
  UniqueFd daemon = HoldDaemon(mount.pid);
  const std::string place = AskPlace(path);
  BKFS_TRY(Unmount(path, how));
  if (!daemon.valid() || how != UnmountHow::kNormal || MountedElsewhere(st.st_dev)) return {};
  const EndingNotes notes(place);
  pollfd gone{daemon.get(), POLLIN, 0};
  for (int waited = 1; ::poll(&gone, 1, kLookMs) <= 0; ++waited) {
    if (interrupted()) {
      return {Code::kInterrupted,
              "interrupted; process " + std::to_string(mount.pid) + " still stores what is left"};
    }
    if (place.empty() || (waited != kFirstWord && waited % kNextWord != 0)) continue;
    if (const std::string text = notes.Text(); !text.empty()) say(text);
  }
  const std::string unfinished = place.empty() ? std::string() : notes.Unfinished();
  return unfinished.empty() ? OkStatus() : Status(Code::kUnavailable, path + ": " + unfinished);
}

}  // namespace bkfs

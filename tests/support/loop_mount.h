// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "engine/base/fd.h"
#include "tests/support/scratch.h"

namespace bkfs {

inline bool IsRoot() { return ::geteuid() == 0; }

// The exit status of a shell command; zero is success.
inline int Shell(const std::string& command) {
  return std::system(command.c_str());  // NOLINT(concurrency-mt-unsafe,cert-env33-c)
}

// A small filesystem of its own in a file, mounted while this object lives: for disks that are
// full, read-only, or lose their power. Needs root.
class LoopMount {
 public:
  // `mkfs`: the command and its options, e.g. "mkfs.ext4 -q -F"; `size` as truncate(1) takes it.
  LoopMount(const std::string& mkfs, const std::string& size) : path_(scratch_.path() + "/mnt") {
    BKFS_CHECK(::mkdir(path_.c_str(), 0755) == 0);
    mounted_ = Shell("truncate -s " + size + " " + Image() + " && " + mkfs + " " + Image() +
                     " >/dev/null") == 0 &&
               Mount();
  }
  LoopMount(const LoopMount&) = delete;
  LoopMount& operator=(const LoopMount&) = delete;
  ~LoopMount() {
    if (mounted_ && ::umount2(path_.c_str(), 0) != 0) ::umount2(path_.c_str(), MNT_DETACH);
  }

  bool mounted() const { return mounted_; }
  const std::string& path() const { return path_; }

  // Loses what was not synced, and mounts what is left. No file may be open on it.
  bool CutPower() {
    mounted_ =
        Shell("xfs_io -x -c shutdown " + path_) == 0 && ::umount2(path_.c_str(), 0) == 0 && Mount();
    return mounted_;
  }

 private:
  std::string Image() const { return scratch_.path() + "/image"; }
  bool Mount() { return Shell("mount -o loop " + Image() + " " + path_) == 0; }

  ScratchFolder scratch_;
  const std::string path_;
  bool mounted_ = false;
};

}  // namespace bkfs

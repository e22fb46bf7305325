// SPDX-License-Identifier: Apache-2.0
// commit, umount: what talks to a mount's daemon.
#include <iostream>

#include "fs/control.h"
#include "tools/bkfs/cli.h"
#include "tools/unmount.h"

namespace bkfs {

namespace {

Result<int> Commit(Context& context) {
  BKFS_ASSIGN(SnapshotId id, CommitThroughMount(context.args.positional()[0]));
  std::cout << id.hex() << "\n";
  return int{kExitDone};
}

Result<int> Umount(Context& context) {
  BKFS_TRY(
      UnmountBkfs(context.args.positional()[0], UnmountHow::kNormal, Interrupted,
                  [](const std::string& text) { std::cerr << "bkfs: " << text << std::endl; }));
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

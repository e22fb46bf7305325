// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "engine/base/ids.h"
#include "engine/format/tree.h"
#include "fs/types.h"

namespace bkfs {

// Inode numbers below /snapshots. They are hashes, so they are the same after every mount:
//   directories   of the snapshot and the path: a directory has one place in the tree;
//   other entries of the path without the snapshot, and everything stat(2), the xattrs and the
//                 contents say: a file that did not change is one node in all snapshots, and the
//                 kernel shares its cached pages;
//   hard links    of the snapshot and the link group.
// Pure functions.

using PathKey = std::array<uint8_t, 16>;

// What the children of a directory need for their numbers.
struct DirKeys {
  SnapshotId snapshot;
  PathKey with_snapshot{};
  PathKey without_snapshot{};
};

struct HashedIno {
  Ino ino = 0;
  uint64_t check = 0;  // tells two things of the same number apart
};

DirKeys RootKeys(const SnapshotId& snapshot);
DirKeys ChildKeys(const DirKeys& parent, std::string_view name);
HashedIno InoOfDirectory(const DirKeys& keys);
HashedIno InoOfEntry(const DirKeys& parent, const Entry& entry);  // anything but a directory

}  // namespace bkfs

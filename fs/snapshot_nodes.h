// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <unordered_map>

#include "engine/base/mutex.h"
#include "fs/snapshot_ino.h"

namespace bkfs {

// The inodes below /snapshots that the kernel holds. Each says where its entry is (leaf blob of its
// directory and index there), not what it is, so that a million of them cost about 100 MB and pin
// no directory in memory. Thread-safe.
class SnapshotNodes {
 public:
  struct Place {
    BlobId leaf;         // of a snapshot's root: its id, padded
    uint32_t index = 0;  // in the leaf
    bool is_root = false;
    bool has_xattrs = false;
    static Place OfRoot(const SnapshotId& snapshot);
    SnapshotId snapshot() const;
  };
  // What a directory knows besides.
  struct Directory {
    DirKeys keys;
    BlobId blob;  // its own contents; zero: empty
    Ino parent = 0;
  };

  // The number of this thing, with one lookup more. `directory` is null for everything else.
  Ino Acquire(const HashedIno& hashed, const Place& place, const Directory* directory)
      BKFS_EXCLUDES(mutex_);
  void Forget(Ino ino, uint64_t lookups) BKFS_EXCLUDES(mutex_);
  std::optional<Place> Find(Ino ino) BKFS_EXCLUDES(mutex_);
  std::optional<Directory> FindDirectory(Ino ino) BKFS_EXCLUDES(mutex_);
  size_t size() BKFS_EXCLUDES(mutex_);

 private:
  struct Node {
    BlobId leaf;
    uint64_t check = 0;
    uint64_t lookups = 0;
    uint32_t index = 0;
    bool is_root = false;
    bool has_xattrs = false;
  };

  Mutex mutex_;  // a leaf: nothing is called while it is held
  std::unordered_map<Ino, Node> nodes_ BKFS_GUARDED_BY(mutex_);
  std::unordered_map<Ino, Directory> directories_ BKFS_GUARDED_BY(mutex_);
};

}  // namespace bkfs

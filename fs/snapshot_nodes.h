// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <unordered_map>
#include <vector>

#include "engine/base/mutex.h"
#include "fs/snapshot_ino.h"

namespace bkfs {

// The inodes below /snapshots that the kernel holds. Each says where its entry is (leaf blob of its
// directory and index there), not what it is, so that a million of them cost about 100 MB and pin
// no directory in memory. A file that is in many snapshots unchanged is one inode, and its entry is
// in each: the place is in the one that it was last looked up in, unless it is open, when the place
// stays. Thread-safe.
class SnapshotNodes {
 public:
  struct Place {
    SnapshotId snapshot;  // that the leaf is of
    BlobId leaf;          // zero: the snapshot's root itself
    uint32_t index = 0;   // in the leaf
    bool has_xattrs = false;
    bool is_root() const { return leaf.is_zero(); }
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
  // The same, and the place stays until Close has been called as often.
  std::optional<Place> Open(Ino ino) BKFS_EXCLUDES(mutex_);
  void Close(Ino ino) BKFS_EXCLUDES(mutex_);
  std::optional<Directory> FindDirectory(Ino ino) BKFS_EXCLUDES(mutex_);
  size_t size() BKFS_EXCLUDES(mutex_);

 private:
  struct Node {
    BlobId leaf;
    uint64_t check = 0;
    uint64_t lookups = 0;
    uint32_t index = 0;
    uint32_t snapshot = 0;  // its number here
    uint32_t opens = 0;
    bool has_xattrs = false;
  };
  void Put(const Place& place, Node& node) BKFS_REQUIRES(mutex_);
  Place PlaceOf(const Node& node) const BKFS_REQUIRES(mutex_);

  Mutex mutex_;  // a leaf: nothing is called while it is held
  std::unordered_map<Ino, Node> nodes_ BKFS_GUARDED_BY(mutex_);
  std::unordered_map<Ino, Directory> directories_ BKFS_GUARDED_BY(mutex_);
  // Numbers of the snapshots that anything was looked up in; few, and never given again.
  std::vector<SnapshotId> snapshots_ BKFS_GUARDED_BY(mutex_);
  std::unordered_map<SnapshotId, uint32_t, IdHash> numbers_ BKFS_GUARDED_BY(mutex_);
};

}  // namespace bkfs

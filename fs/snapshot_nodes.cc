// SPDX-License-Identifier: Apache-2.0
#include "fs/snapshot_nodes.h"

#include <algorithm>

namespace bkfs {

SnapshotNodes::Place SnapshotNodes::Place::OfRoot(const SnapshotId& snapshot) {
  Place place;
  place.is_root = true;
  std::copy(snapshot.bytes.begin(), snapshot.bytes.end(), place.leaf.bytes.begin());
  return place;
}

SnapshotId SnapshotNodes::Place::snapshot() const {
  SnapshotId id;
  std::copy_n(leaf.bytes.begin(), id.bytes.size(), id.bytes.begin());
  return id;
}

Ino SnapshotNodes::Acquire(const HashedIno& hashed, const Place& place,
                           const Directory* directory) {
  MutexLock lock(mutex_);
  Ino ino = hashed.ino;
  for (;;) {
    if (NumberOf(ino) == 0) ++ino;  // 0 is /snapshots itself
    auto [at, is_new] = nodes_.try_emplace(ino);
    Node& node = at->second;
    if (!is_new && node.check != hashed.check) {  // two things with one number: the next is tried
      ino = MakeIno(ViewTag::kSnapshots, NumberOf(ino) + 1);
      continue;
    }
    if (is_new) {
      node = {place.leaf, hashed.check, 0, place.index, place.is_root, place.has_xattrs};
      if (directory != nullptr) directories_.emplace(ino, *directory);
    }
    ++node.lookups;
    return ino;
  }
}

void SnapshotNodes::Forget(Ino ino, uint64_t lookups) {
  MutexLock lock(mutex_);
  auto found = nodes_.find(ino);
  if (found == nodes_.end()) return;
  found->second.lookups -= std::min(lookups, found->second.lookups);
  if (found->second.lookups > 0) return;
  nodes_.erase(found);
  directories_.erase(ino);
}

std::optional<SnapshotNodes::Place> SnapshotNodes::Find(Ino ino) {
  MutexLock lock(mutex_);
  auto found = nodes_.find(ino);
  if (found == nodes_.end()) return std::nullopt;
  const Node& node = found->second;
  return Place{node.leaf, node.index, node.is_root, node.has_xattrs};
}

std::optional<SnapshotNodes::Directory> SnapshotNodes::FindDirectory(Ino ino) {
  MutexLock lock(mutex_);
  auto found = directories_.find(ino);
  if (found == directories_.end()) return std::nullopt;
  return found->second;
}

size_t SnapshotNodes::size() {
  MutexLock lock(mutex_);
  return nodes_.size();
}

}  // namespace bkfs

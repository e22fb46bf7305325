// SPDX-License-Identifier: Apache-2.0
#include "fs/snapshot_nodes.h"

#include <algorithm>

namespace bkfs {

void SnapshotNodes::Put(const Place& place, Node& node) {
  auto [number, is_new] =
      numbers_.try_emplace(place.snapshot, static_cast<uint32_t>(snapshots_.size()));
  if (is_new) snapshots_.push_back(place.snapshot);
  node.snapshot = number->second;
  node.leaf = place.leaf;
  node.index = place.index;
  node.has_xattrs = place.has_xattrs;
}

SnapshotNodes::Place SnapshotNodes::PlaceOf(const Node& node) const {
  return {snapshots_[node.snapshot], node.leaf, node.index, node.has_xattrs};
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
    if (node.opens == 0) Put(place, node);
    if (is_new) {
      node.check = hashed.check;
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
  return PlaceOf(found->second);
}

std::optional<SnapshotNodes::Place> SnapshotNodes::Open(Ino ino) {
  MutexLock lock(mutex_);
  auto found = nodes_.find(ino);
  if (found == nodes_.end()) return std::nullopt;
  ++found->second.opens;
  return PlaceOf(found->second);
}

void SnapshotNodes::Close(Ino ino) {
  MutexLock lock(mutex_);
  auto found = nodes_.find(ino);
  if (found != nodes_.end() && found->second.opens > 0) --found->second.opens;
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

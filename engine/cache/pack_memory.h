// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <list>
#include <optional>
#include <unordered_map>

#include "engine/base/mutex.h"
#include "engine/cache/index_cache.h"

namespace bkfs {

// The packs last asked for, opened; the ones unused for longest go when they hold more than `limit`
// bytes. Thread-safe; its lock is a leaf.
class PackMemory {
 public:
  explicit PackMemory(size_t limit) : limit_(limit) {}

  std::optional<CachedPack> Find(uint32_t number) BKFS_EXCLUDES(mutex_);
  void Keep(uint32_t number, const CachedPack& pack) BKFS_EXCLUDES(mutex_);
  void Drop(uint32_t number) BKFS_EXCLUDES(mutex_);
  void Clear() BKFS_EXCLUDES(mutex_);

 private:
  struct Entry {
    uint32_t number;
    size_t bytes;
    CachedPack pack;
  };
  using Position = std::list<Entry>::iterator;

  void Erase(Position position) BKFS_REQUIRES(mutex_);

  const size_t limit_;
  Mutex mutex_;
  std::list<Entry> entries_ BKFS_GUARDED_BY(mutex_);  // last used first
  std::unordered_map<uint32_t, Position> by_number_ BKFS_GUARDED_BY(mutex_);
  size_t bytes_ BKFS_GUARDED_BY(mutex_) = 0;
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <list>
#include <unordered_map>

#include "engine/base/mutex.h"
#include "engine/cache/index_cache.h"
#include "engine/repo/epochs.h"

namespace bkfs {

// Opened data keys of packs, kept in one locked region (opening a slot costs about 100 us).
// Least recently used first out. Thread-safe.
class PackKeys {
 public:
  explicit PackKeys(Epochs& epochs);  // must outlive it

  // The data key of a slot; kDenied when this keyfile lacks the secret, kCorrupt when the slot does
  // not open.
  Result<Secret> Open(uint32_t pack_number, const CachedPack& pack, uint32_t slot)
      BKFS_EXCLUDES(mutex_);

 private:
  static constexpr size_t kCapacity = 1024;
  Epochs& epochs_;
  Mutex mutex_;
  Secret region_ BKFS_GUARDED_BY(mutex_);
  std::list<std::pair<uint64_t, size_t>> order_ BKFS_GUARDED_BY(mutex_);  // id, place
  std::unordered_map<uint64_t, std::list<std::pair<uint64_t, size_t>>::iterator> map_
      BKFS_GUARDED_BY(mutex_);
};

}  // namespace bkfs

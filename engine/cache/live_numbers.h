// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/mutex.h"

namespace bkfs {

// Which pack numbers stand for a pack: one bit for each ever given out (a bit for 32 MiB of
// repository), so that rows of removed packs are recognised without a lookup. Thread-safe; its lock
// is a leaf.
class LiveNumbers {
 public:
  bool Live(uint32_t number) const BKFS_EXCLUDES(mutex_);
  // True for a number that stands for nothing and never will again. Numbers from the settled limit
  // on may just be on their way in.
  bool Dead(uint32_t number) const BKFS_EXCLUDES(mutex_);
  void Add(uint32_t number) BKFS_EXCLUDES(mutex_);
  void Remove(uint32_t number) BKFS_EXCLUDES(mutex_);
  // All numbers below are given out, and either added or given up.
  void SettleBelow(uint32_t limit) BKFS_EXCLUDES(mutex_);
  uint64_t Count() const BKFS_EXCLUDES(mutex_);
  void Clear() BKFS_EXCLUDES(mutex_);

 private:
  bool Bit(uint32_t number) const BKFS_REQUIRES_SHARED(mutex_);

  mutable SharedMutex mutex_;
  std::vector<uint64_t> bits_ BKFS_GUARDED_BY(mutex_);
  uint64_t count_ BKFS_GUARDED_BY(mutex_) = 0;
  uint32_t settled_ BKFS_GUARDED_BY(mutex_) = 0;
};

}  // namespace bkfs

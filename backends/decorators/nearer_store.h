// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "engine/base/mutex.h"
#include "engine/base/status.h"

namespace bkfs {

// Which of two stores to read from first: the one that is near, else the one that has answered
// faster of late; one that is not to be had is left alone for a while. Thread-safe. Times are of
// the monotonic clock.
class NearerStore {
 public:
  enum Side : uint8_t { kPrimary = 0, kMirror = 1 };

  Side Choose(bool primary_is_near, bool mirror_is_near, int64_t now_ns) BKFS_EXCLUDES(mutex_);
  void Served(Side side, uint64_t bytes, int64_t nanos) BKFS_EXCLUDES(mutex_);
  // True when it is the first failure for a while, and worth telling.
  bool Failed(Side side, int64_t now_ns) BKFS_EXCLUDES(mutex_);

 private:
  struct Record {
    int64_t cost_ns = 0;  // moving average, of a small read; 0: not known
    int64_t avoid_until_ns = 0;
    int64_t avoid_ns = 0;  // how long at the next failure
  };

  Mutex mutex_;  // a leaf
  std::array<Record, 2> records_ BKFS_GUARDED_BY(mutex_);
  uint32_t asked_ BKFS_GUARDED_BY(mutex_) = 0;
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <unordered_map>
#include <unordered_set>

#include "engine/base/bytes.h"
#include "engine/base/mutex.h"
#include "engine/base/status.h"

namespace bkfs {

// A decoded frame. Immutable but for the record of which of its blobs have been verified.
class DecodedFrame {
 public:
  explicit DecodedFrame(Bytes plain) : plain_(std::move(plain)) {}
  ByteView plain() const { return plain_; }
  bool IsVerified(uint32_t blob_offset) const BKFS_EXCLUDES(mutex_);
  void SetVerified(uint32_t blob_offset) const BKFS_EXCLUDES(mutex_);

 private:
  const Bytes plain_;
  mutable Mutex mutex_;
  mutable std::unordered_set<uint32_t> verified_ BKFS_GUARDED_BY(mutex_);
};
// Shared by the cache and by every reader that still copies out of it.
using FramePtr = std::shared_ptr<const DecodedFrame>;

struct FrameKey {
  uint32_t pack = 0;
  uint32_t offset = 0;
  uint8_t kind =
      0;  // of the pack, as the reader wants it: a frame never answers for the other kind
  bool operator==(const FrameKey&) const = default;
};

// Decoded frames, least recently used first out, bounded in bytes. Concurrent requests for one
// frame load it once; who waits for another's loading does so as long as its watches let it
// (engine/base/transfer.h). Thread-safe; the lock is not held while loading.
class FrameCache {
 public:
  explicit FrameCache(uint64_t limit_bytes) : limit_(limit_bytes) {}
  Result<FramePtr> GetOrLoad(const FrameKey& key, const std::function<Result<FramePtr>()>& load)
      BKFS_EXCLUDES(mutex_);
  bool Contains(const FrameKey& key) BKFS_EXCLUDES(mutex_);
  void Erase(const FrameKey& key) BKFS_EXCLUDES(mutex_);
  uint64_t bytes() BKFS_EXCLUDES(mutex_);

 private:
  struct KeyHash {
    size_t operator()(const FrameKey& k) const {
      return (uint64_t{k.pack} << 32 | k.offset) * 0x9E3779B97F4A7C15ULL >> 7;
    }
  };
  struct Slot {
    FrameKey key;
    FramePtr frame;  // null while it is being loaded
  };
  void Evict() BKFS_REQUIRES(mutex_);

  const uint64_t limit_;
  Mutex mutex_;
  CondVar loaded_;
  uint64_t bytes_ BKFS_GUARDED_BY(mutex_) = 0;
  std::list<Slot> order_ BKFS_GUARDED_BY(mutex_);  // most recent first
  std::unordered_map<FrameKey, std::list<Slot>::iterator, KeyHash> map_ BKFS_GUARDED_BY(mutex_);
};

}  // namespace bkfs

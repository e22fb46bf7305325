// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/frame_cache.h"

#include "engine/base/transfer.h"

namespace bkfs {

namespace {
constexpr int64_t kLookNs = 100'000'000;
}  // namespace

bool DecodedFrame::IsVerified(uint32_t blob_offset) const {
  MutexLock lock(mutex_);
  return verified_.contains(blob_offset);
}

void DecodedFrame::SetVerified(uint32_t blob_offset) const {
  MutexLock lock(mutex_);
  verified_.insert(blob_offset);
}

Result<FramePtr> FrameCache::GetOrLoad(const FrameKey& key,
                                       const std::function<Result<FramePtr>()>& load) {
  {
    MutexLock lock(mutex_);
    for (;;) {
      auto found = map_.find(key);
      if (found == map_.end()) break;
      if (found->second->frame) {
        order_.splice(order_.begin(), order_, found->second);
        return found->second->frame;
      }
      loaded_.WaitFor(mutex_, kLookNs);
      BKFS_TRY(TellWaiting());
    }
    order_.push_front({key, nullptr});
    map_[key] = order_.begin();
  }
  Result<FramePtr> frame = load();
  MutexLock lock(mutex_);
  auto found = map_.find(key);
  if (found != map_.end() && !found->second->frame) {
    if (frame.ok()) {
      found->second->frame = *frame;
      bytes_ += (*frame)->plain().size();
      order_.splice(order_.begin(), order_, found->second);
    } else {
      order_.erase(found->second);
      map_.erase(found);
    }
  }
  Evict();
  loaded_.NotifyAll();
  return frame;
}

bool FrameCache::Contains(const FrameKey& key) {
  MutexLock lock(mutex_);
  return map_.contains(key);
}

void FrameCache::Erase(const FrameKey& key) {
  MutexLock lock(mutex_);
  auto found = map_.find(key);
  if (found == map_.end() || !found->second->frame) return;
  bytes_ -= found->second->frame->plain().size();
  order_.erase(found->second);
  map_.erase(found);
}

uint64_t FrameCache::bytes() {
  MutexLock lock(mutex_);
  return bytes_;
}

void FrameCache::Evict() {
  auto it = order_.end();
  while (bytes_ > limit_ && it != order_.begin()) {
    --it;
    if (!it->frame) continue;  // being loaded: its loader finds it by key
    bytes_ -= it->frame->plain().size();
    map_.erase(it->key);
    it = order_.erase(it);
  }
}

}  // namespace bkfs

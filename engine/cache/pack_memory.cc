// SPDX-License-Identifier: Apache-2.0
#include "engine/cache/pack_memory.h"

namespace bkfs {

namespace {
// What the containers and the allocator add to an entry and to a box, roughly.
constexpr size_t kEntryOverhead = 128;
constexpr size_t kBoxOverhead = 32;

size_t BytesOf(const CachedPack& pack) {
  size_t bytes = sizeof(CachedPack) + kEntryOverhead;
  for (const PackSlot& slot : pack.slots) bytes += sizeof slot + slot.box.size() + kBoxOverhead;
  return bytes;
}
}  // namespace

std::optional<CachedPack> PackMemory::Find(uint32_t number) {
  MutexLock lock(mutex_);
  auto it = by_number_.find(number);
  if (it == by_number_.end()) return std::nullopt;
  entries_.splice(entries_.begin(), entries_, it->second);
  return it->second->pack;
}

void PackMemory::Erase(Position position) {
  bytes_ -= position->bytes;
  by_number_.erase(position->number);
  entries_.erase(position);
}

void PackMemory::Keep(uint32_t number, const CachedPack& pack) {
  const size_t bytes = BytesOf(pack);
  MutexLock lock(mutex_);
  if (by_number_.contains(number)) return;
  entries_.push_front({number, bytes, pack});
  by_number_.emplace(number, entries_.begin());
  bytes_ += bytes;
  while (bytes_ > limit_) Erase(std::prev(entries_.end()));
}

void PackMemory::Drop(uint32_t number) {
  MutexLock lock(mutex_);
  auto it = by_number_.find(number);
  if (it != by_number_.end()) Erase(it->second);
}

void PackMemory::Clear() {
  MutexLock lock(mutex_);
  entries_.clear();
  by_number_.clear();
  bytes_ = 0;
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/pack_keys.h"

#include <algorithm>

namespace bkfs {

namespace {
constexpr size_t kKeySize = 32;
}

PackKeys::PackKeys(Epochs& epochs) : epochs_(epochs), region_(kCapacity * kKeySize) {}

Result<Secret> PackKeys::Open(uint32_t pack_number, const CachedPack& pack, uint32_t slot) {
  const uint64_t id = uint64_t{pack_number} << 32 | slot;
  {
    MutexLock lock(mutex_);
    auto found = map_.find(id);
    if (found != map_.end()) {
      order_.splice(order_.begin(), order_, found->second);
      return Secret::CopyOf(region_.view().subspan(found->second->second * kKeySize, kKeySize));
    }
  }
  if (slot >= pack.slots.size()) return Status(Code::kCorrupt, "frame names a missing key slot");
  const PackSlot& sealed = pack.slots[slot];
  auto secrets = epochs_.Secrets(sealed.epoch);
  if (!secrets.ok()) return secrets.status();
  const bool contents = pack.kind == PackKind::kContents;
  const BoxKey& box = contents ? (*secrets)->content : (*secrets)->tree;
  if (box.empty()) {
    return Status(Code::kDenied,
                  std::string("this key cannot open ") + (contents ? "contents" : "directories"));
  }
  auto key = box.Open(sealed.box);
  if (!key.ok()) {
    return Status(Code::kCorrupt, "the key slot of pack " + pack.id.hex() + " does not open");
  }
  if (key->size() != kKeySize) return Status(Code::kCorrupt, "data key has the wrong length");
  MutexLock lock(mutex_);
  if (!map_.contains(id)) {
    size_t place = map_.size();
    if (place >= kCapacity) {
      place = order_.back().second;
      map_.erase(order_.back().first);
      order_.pop_back();
    }
    std::copy(key->view().begin(), key->view().end(),
              region_.mutable_view().begin() + static_cast<ptrdiff_t>(place * kKeySize));
    order_.push_front({id, place});
    map_[id] = order_.begin();
  }
  return key;
}

}  // namespace bkfs

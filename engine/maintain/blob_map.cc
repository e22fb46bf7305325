// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/blob_map.h"

namespace bkfs {

Result<BlobMap> BlobMap::Begin(IndexCache& index, PackTable& packs, const ReadableBlobs& readable) {
  BlobMap map(index);
  uint64_t bits = 0;
  BKFS_TRY(index.ForEachPack([&](uint32_t number, const CachedPack& pack) {
    auto found = packs.find(pack.id);
    if (found == packs.end() || found->second.unusable) return Status();
    PackState& state = found->second;
    state.kind = pack.kind;
    state.blobs = pack.blobs;
    state.first_bit = bits;
    bits += pack.blobs;
    if (map.by_number_.size() <= number) map.by_number_.resize(number + 1);
    map.by_number_[number] = &state;
    return Status();
  }));
  map.met_.resize((bits + 63) / 64);
  map.sound_.resize((bits + 63) / 64);
  for (const auto& [id, blobs] : readable) {
    auto found = packs.find(id);
    if (found == packs.end()) continue;
    if (map.lost_.empty()) map.lost_.resize((bits + 63) / 64);
    for (size_t i = 0; i < found->second.blobs; ++i) {
      if (i >= blobs.size() || !blobs[i]) SetBit(map.lost_, found->second.first_bit + i);
    }
  }
  return map;
}

bool BlobMap::SetBit(std::vector<uint64_t>& bits, uint64_t bit) {
  const uint64_t mask = uint64_t{1} << (bit % 64);
  if ((bits[bit / 64] & mask) != 0) return false;
  bits[bit / 64] |= mask;
  return true;
}

Result<BlobMap::Found> BlobMap::Find(PackKind kind, const BlobId& id) {
  BKFS_ASSIGN(auto copies, index_->FindAll(id));
  Found best;
  for (const auto& copy : copies) {
    Found found;
    found.presence = Presence::kDamaged;
    PackState* pack = copy.pack < by_number_.size() ? by_number_[copy.pack] : nullptr;
    if (pack && pack->kind == kind && copy.ordinal < pack->blobs) {
      found.pack = pack;
      found.bit = pack->first_bit + copy.ordinal;
      const bool lost = !lost_.empty() && (lost_[found.bit / 64] >> (found.bit % 64) & 1) != 0;
      if (!lost) found.presence = pack->indexed ? Presence::kGood : Presence::kUnindexed;
    }
    if (found.presence < best.presence) best = found;
  }
  return best;
}

}  // namespace bkfs

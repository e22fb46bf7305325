// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "engine/cache/index_cache.h"

namespace bkfs {

// A pack of the store as a check sees it.
struct PackState {
  uint64_t size = 0;
  std::array<uint8_t, 16> footer{};  // first half of H(footer body), as an index segment has it
  uint64_t first_bit = 0;            // of its blobs in a BlobMap
  uint32_t blobs = 0;                // 0: the index cache does not know it
  PackKind kind = PackKind::kContents;
  bool indexed = false;   // in a segment that can be read
  bool unusable = false;  // nothing in it can be relied upon
  bool needed = false;    // found to hold the only copy of a blob that is referred to
};
using PackTable = std::unordered_map<PackId, PackState, IdHash>;
// Blobs, by ordinal, that can be read of packs that are damaged.
using ReadableBlobs = std::unordered_map<PackId, std::vector<bool>, IdHash>;

// Where blobs are, judged by what the store was seen to hold, and what a walk has met: two bits a
// blob. Not thread-safe; it is of use until packs are removed from the index cache.
class BlobMap {
 public:
  // `packs` outlives it and is told which blobs it has; packs that are not in it do not count.
  static Result<BlobMap> Begin(IndexCache& index, PackTable& packs, const ReadableBlobs& readable);

  enum class Presence : uint8_t {
    kGood,
    kUnindexed,  // only in packs that no index segment lists: others cannot find it
    kDamaged,    // only where it cannot be read, or in packs that are missing
    kNowhere,
  };
  struct Found {
    Presence presence = Presence::kNowhere;
    uint64_t bit = 0;           // not for kDamaged and kNowhere
    PackState* pack = nullptr;  // not for kDamaged and kNowhere
  };
  Result<Found> Find(PackKind kind, const BlobId& id);

  // True the first time.
  bool Meet(uint64_t bit) { return SetBit(met_, bit); }
  // For directories: everything below them is there.
  bool IsSound(uint64_t bit) const { return (sound_[bit / 64] >> (bit % 64) & 1) != 0; }
  void SetSound(uint64_t bit) { SetBit(sound_, bit); }

 private:
  explicit BlobMap(IndexCache& index) : index_(&index) {}
  static bool SetBit(std::vector<uint64_t>& bits, uint64_t bit);

  IndexCache* index_;
  std::vector<PackState*> by_number_;  // of the index cache
  std::vector<uint64_t> met_;
  std::vector<uint64_t> sound_;
  std::vector<uint64_t> lost_;  // blobs that cannot be read; empty: there are none
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/codec/chunker.h"

#include <algorithm>
#include <bit>

#include "engine/crypto/hash.h"

namespace bkfs {

namespace {
constexpr uint32_t kSmallestMin = 4 << 10;
constexpr uint32_t kLargestMax = 8 << 20;
constexpr int kNormalisation = 2;  // bits that the masks differ from log2(average)

uint64_t TopBits(int count) { return ~uint64_t{0} << (64 - count); }

// The position after the first byte in [from, to) where fp & mask = 0, or zero. `fp` goes on from
// call to call. Two bytes a step: fp after the second is computed from fp before the first, so that
// the chain from step to step is one multiply-add while the loads and both tests run beside it.
size_t FindCut(const uint64_t* gear, const uint8_t* data, size_t from, size_t to, uint64_t mask,
               uint64_t& fp_io) {
  uint64_t fp = fp_io;
  // The mask is the top bits of the word, so "all masked bits zero" is one comparison.
  const uint64_t limit = ~mask;
  size_t i = from;
  for (; i + 2 <= to; i += 2) {
    uint64_t first = gear[data[i]];
    uint64_t both = 2 * first + gear[data[i + 1]];
    uint64_t after_first = 2 * fp + first;
    fp = 4 * fp + both;
    if (after_first <= limit) return i + 1;
    if (fp <= limit) return i + 2;
  }
  if (i < to) {
    fp = 2 * fp + gear[data[i]];
    if (fp <= limit) return i + 1;
  }
  fp_io = fp;
  return 0;
}
}  // namespace

Status CheckChunkSizes(const ChunkSizes& sizes) {
  bool good = std::has_single_bit(sizes.min) && std::has_single_bit(sizes.average) &&
              std::has_single_bit(sizes.max) && sizes.min >= kSmallestMin &&
              sizes.min < sizes.average && sizes.average < sizes.max && sizes.max <= kLargestMax;
  if (good) return {};
  return {Code::kInvalid,
          "chunk sizes must be powers of two with 4 KiB <= min < average < max <= 8 MiB"};
}

Chunker::Chunker(ByteView chunker_key, const ChunkSizes& sizes) : sizes_(sizes) {
  BKFS_CHECK(CheckChunkSizes(sizes).ok());
  static_assert(std::endian::native == std::endian::little);
  KeyedHashExtended(chunker_key, AsBytes("bkfs gear v1"),
                    {reinterpret_cast<uint8_t*>(gear_.data()), sizeof gear_});
  int bits = std::countr_zero(sizes.average);
  mask_small_ = TopBits(bits + kNormalisation);
  mask_large_ = TopBits(bits - kNormalisation);
}

size_t Chunker::Cut(ByteView data) const {
  size_t end = std::min<size_t>(data.size(), sizes_.max);
  if (end <= sizes_.min) return end;
  size_t normal = std::min<size_t>(end, sizes_.average);
  uint64_t fp = 0;
  size_t cut = FindCut(gear_.data(), data.data(), sizes_.min, normal, mask_small_, fp);
  if (cut == 0) cut = FindCut(gear_.data(), data.data(), normal, end, mask_large_, fp);
  return cut == 0 ? end : cut;
}

}  // namespace bkfs

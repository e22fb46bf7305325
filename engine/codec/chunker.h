// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "engine/base/bytes.h"

namespace bkfs {

struct ChunkSizes {
  uint32_t min = 16 << 10;
  uint32_t average = 64 << 10;
  uint32_t max = 256 << 10;
};
// Powers of two, 4 KiB <= min < average < max <= 8 MiB; kInvalid otherwise.
Status CheckChunkSizes(const ChunkSizes& sizes);

// Content-defined cutting: FastCDC with normalised chunking (Xia et al., USENIX ATC 2016) over a
// gear table keyed by the repository's chunker key. Stateless between pieces: a cut depends on the
// bytes since the piece's beginning only. Immutable, thread-safe.
class Chunker {
 public:
  Chunker(ByteView chunker_key, const ChunkSizes& sizes);

  // Length of the first piece of `data`; zero only for empty data. The answer is final if data
  // holds at least sizes().max bytes, or if no byte follows data in the file.
  size_t Cut(ByteView data) const;
  const ChunkSizes& sizes() const { return sizes_; }

 private:
  std::array<uint64_t, 256> gear_;
  ChunkSizes sizes_;
  uint64_t mask_small_;
  uint64_t mask_large_;
};

}  // namespace bkfs

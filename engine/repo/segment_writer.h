// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "engine/format/pack.h"
#include "engine/repo/repository.h"

namespace bkfs {

// How much goes into one index segment; a pack is in one whatever its size.
struct SegmentLimits {
  size_t packs = 512;
  uint64_t footers = 32ULL << 20;  // bytes
};

// Lists packs in the index, of the store and of this machine, in segments that are put as they fill
// up: memory is that of two segments, however many packs there are. Not thread-safe.
class SegmentWriter {
 public:
  // `as_of`: the last entry of the maintenance log that had been read before the packs were looked
  // at, or made. `repo` outlives it.
  SegmentWriter(Repository& repo, uint64_t as_of, const SegmentLimits& limits = {});

  // The pack is in the store. It is listed when Finish has returned, or before.
  Status Add(IndexedPack pack);
  // `old`, whose packs have been added or are not to be listed any more, is removed as soon as
  // segments that were put say the same.
  void Replace(const IndexId& old) { segment_.replaces.push_back(old); }
  Status Finish();

 private:
  Status Put();

  Repository& repo_;
  const SegmentLimits limits_;
  IndexSegment segment_;
  uint64_t footers_ = 0;  // bytes in it
};

}  // namespace bkfs

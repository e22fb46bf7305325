// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "engine/maintain/frame_opener.h"

namespace bkfs {

// What can be read of a pack's bytes.
struct FrameVerdict {
  std::vector<bool> frames;  // which of the footer's frames are as they were sealed
  std::vector<bool> blobs;   // which of its blobs, by ordinal, can be read
  uint64_t plain_bytes = 0;  // of the frames
  Status why;                // the first problem; OK: none
  size_t good_frames() const;
};

// Looks at packs frame by frame: opens, decompresses, hashes, as far as the key can. Not
// thread-safe.
class FrameExaminer {
 public:
  explicit FrameExaminer(Repository& repo);
  // Whether the key opens frames of that kind. Otherwise a frame is good when all of it is there.
  bool CanJudge(PackKind kind) const;
  // `object`: the pack's bytes, as many as there are. Errors are the store's or the key's.
  Result<FrameVerdict> Examine(const PackId& id, const PackFooter& footer, ByteView object);

 private:
  Result<Bytes> OpenPlain(const CachedPack& pack, const PackFrame& frame, ByteView object,
                          bool& opens);

  Repository& repo_;
  FrameOpener opener_;
  uint32_t number_ = 0;  // of this examiner: what opener_ tells packs apart by
};

// What readable index segments say of these packs. kCorrupt never: a damaged segment says nothing.
Result<std::unordered_map<PackId, IndexedPack, IdHash>> FindIndexedFooters(
    Repository& repo, const std::set<PackId>& packs);

}  // namespace bkfs

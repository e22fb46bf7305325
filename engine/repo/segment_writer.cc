// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/segment_writer.h"

namespace bkfs {

SegmentWriter::SegmentWriter(Repository& repo, uint64_t as_of, const SegmentLimits& limits)
    : repo_(repo), limits_(limits) {
  segment_.as_of = as_of;
}

Status SegmentWriter::Add(IndexedPack pack) {
  const uint64_t more = pack.footer.body.size();
  if (segment_.packs.size() >= limits_.packs || footers_ + more > limits_.footers) {
    BKFS_TRY(Put());
  }
  footers_ += more;
  segment_.packs.push_back(std::move(pack));
  return {};
}

Status SegmentWriter::Finish() { return Put(); }

// The old ones go last: until here they say the same.
Status SegmentWriter::Put() {
  if (!segment_.packs.empty()) BKFS_TRY(repo_.PutSegment(segment_));
  segment_.packs.clear();
  footers_ = 0;
  for (const auto& old : segment_.replaces) {
    Status removed = repo_.store().Remove(IndexName(old));
    if (!removed.Is(Code::kNotFound)) BKFS_TRY(removed);
    BKFS_TRY(repo_.index().UnmarkSegment(old));
  }
  segment_.replaces.clear();
  return {};
}

}  // namespace bkfs

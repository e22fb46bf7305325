// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/frame_examiner.h"

#include <algorithm>

#include "engine/crypto/hash.h"

namespace bkfs {

namespace {
bool IsDamage(const Status& status) {
  return status.Is(Code::kCorrupt) || status.Is(Code::kUnsupported);
}
}  // namespace

size_t FrameVerdict::good_frames() const {
  return static_cast<size_t>(std::count(frames.begin(), frames.end(), true));
}

FrameExaminer::FrameExaminer(Repository& repo) : repo_(repo), opener_(repo) {}

bool FrameExaminer::CanJudge(PackKind kind) const {
  return repo_.has_index() && repo_.blobs().CanRead(kind);
}

Result<Bytes> FrameExaminer::OpenPlain(const CachedPack& pack, const PackFrame& frame,
                                       ByteView object, bool& opens) {
  BKFS_ASSIGN(Bytes inner,
              opener_.Unseal(pack, number_, frame, object.subspan(frame.offset, frame.length)));
  opens = true;
  return opener_.Decode(frame, inner);
}

Result<FrameVerdict> FrameExaminer::Examine(const PackId& id, const PackFooter& footer,
                                            ByteView object) {
  ++number_;
  const CachedPack pack{id, footer.kind, object.size(), footer.signer, footer.slots};
  const bool judge = CanJudge(footer.kind);
  FrameVerdict verdict;
  verdict.frames.assign(footer.frames.size(), false);
  verdict.blobs.assign(footer.blobs.size(), false);
  auto problem = [&](const Status& why, const PackFrame& frame) {
    if (verdict.why.ok()) {
      verdict.why = why.WithContext("frame at " + std::to_string(frame.offset));
    }
  };
  size_t blob = 0;  // they are listed by frame
  for (uint32_t i = 0; i < footer.frames.size(); ++i) {
    const PackFrame& frame = footer.frames[i];
    Result<Bytes> plain = Bytes();
    bool opens = false;
    if (uint64_t{frame.offset} + frame.length > object.size()) {
      plain = Status(Code::kCorrupt, "the pack is too short for this frame");
    } else if (judge) {
      plain = OpenPlain(pack, frame, object, opens);
      if (!plain.ok() && !IsDamage(plain.status())) return plain.status();
    }
    if (!plain.ok()) problem(plain.status(), frame);
    verdict.frames[i] = judge ? opens : plain.ok();
    if (plain.ok()) verdict.plain_bytes += plain->size();
    for (; blob < footer.blobs.size() && footer.blobs[blob].frame == i; ++blob) {
      const PackBlob& at = footer.blobs[blob];
      if (!plain.ok()) continue;
      const Status good = judge ? opener_.CheckBlob(pack.kind, at, *plain) : OkStatus();
      verdict.blobs[blob] = good.ok();
      if (!good.ok()) problem(good, frame);
    }
  }
  return verdict;
}

Result<std::unordered_map<PackId, IndexedPack, IdHash>> FindIndexedFooters(
    Repository& repo, const std::set<PackId>& packs) {
  std::unordered_map<PackId, IndexedPack, IdHash> out;
  if (packs.empty()) return out;
  std::vector<IndexId> segments;
  BKFS_TRY(repo.store().List("index/", [&](const std::string& name, uint64_t) {
    auto id = ParseIndexName(name);
    if (id.ok()) segments.push_back(*id);
    return Status();
  }));
  for (const auto& id : segments) {
    auto object = repo.store().Get(IndexName(id));
    if (object.code() == Code::kNotFound || IsDamage(object.status())) continue;
    if (!object.ok()) return object.status();
    if (HashBytes(*object) != id.bytes) continue;
    auto segment = DecodeIndexSegment(*object, repo.key().index_key.view(), repo.header().repo);
    if (!segment.ok()) continue;
    for (auto& pack : segment->packs) {
      if (packs.contains(pack.id)) out.emplace(pack.id, std::move(pack));
    }
  }
  return out;
}

}  // namespace bkfs

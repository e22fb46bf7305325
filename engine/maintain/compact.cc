// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/compact.h"

#include <algorithm>
#include <array>

#include "engine/crypto/hash.h"
#include "engine/maintain/frame_opener.h"
#include "engine/maintain/pack_builder.h"
#include "engine/repo/segment_writer.h"

namespace bkfs {

namespace {
constexpr int kRounds = 10;  // as often may somebody else be quicker
constexpr uint64_t kFewSegments = 4;

class CompactRun {
 public:
  CompactRun(Maintainer& maintainer, const CompactOptions& options)
      : maintainer_(maintainer), repo_(maintainer.repo()), options_(options), opener_(repo_) {}
  Result<CompactReport> Run();

 private:
  uint64_t Unused(const PackUse& pack) {
    return UnusedBytes(pack, repo_.blobs().CanRead(pack.kind));
  }
  std::vector<PackUse> Choose(const RepositoryView& view);
  Status Empty(const RepositoryView& view, const PackUse& pack, PackBuilder& out);
  Result<PackFooter> ReadSource(const PackUse& pack, bool whole, Bytes& object);
  Status MoveFrame(const CachedPack& pack, uint32_t number, const PackFrame& frame, ByteView object,
                   const std::vector<PackBlob>& used, bool whole, PackBuilder& out);
  Status EmptyAll(const RepositoryView& view, const std::vector<PackUse>& chosen, PackBuilder& out,
                  SegmentWriter& index, std::vector<PackId>& emptied);
  void Skip(const PackId& pack, const Status& why);
  Status RewriteFrame(const CachedPack& pack, uint32_t number, const PackFrame& frame,
                      ByteView sealed, const std::vector<PackBlob>& used, PackBuilder& out);
  Status List(PackBuilder& out, SegmentWriter& index);
  Result<bool> IsSmall(const IndexId& segment);
  Status MergeSegments();

  Maintainer& maintainer_;
  Repository& repo_;
  const CompactOptions& options_;
  FrameOpener opener_;
  CompactReport report_;
};

// Emptiest first; small ones only if there are several to be put together.
std::vector<PackUse> CompactRun::Choose(const RepositoryView& view) {
  std::vector<PackUse> chosen;
  std::array<std::vector<PackUse>, 2> small;
  uint64_t total = 0;
  for (const auto& pack : view.marks->packs()) {
    if (pack.missing) continue;
    total += pack.size;
    if (pack.used_blobs == 0) continue;  // prune's
    const auto unused = static_cast<double>(Unused(pack));
    if (!pack.condemned) report_.unused_before += Unused(pack);
    const bool empty =
        unused > 0 && unused * 100 >= options_.threshold * static_cast<double>(pack.size);
    const bool is_small =
        static_cast<double>(pack.size) < options_.small * static_cast<double>(options_.pack_target);
    if (pack.condemned || empty) {
      chosen.push_back(pack);
    } else if (is_small) {
      small[pack.kind == PackKind::kContents ? 0 : 1].push_back(pack);
    }
  }
  std::sort(chosen.begin(), chosen.end(), [this](const PackUse& a, const PackUse& b) {
    if (a.condemned != b.condemned) return a.condemned;
    return Unused(a) > Unused(b);
  });
  if (options_.max_unused >= 0) {
    // Only as many as it takes.
    const double most = static_cast<double>(total) * options_.max_unused / 100;
    auto left = static_cast<double>(report_.unused_before);
    size_t count = 0;
    while (count < chosen.size() && (chosen[count].condemned || left > most)) {
      if (!chosen[count].condemned) left -= static_cast<double>(Unused(chosen[count]));
      ++count;
    }
    chosen.resize(count);
  } else {
    for (auto& packs : small) {
      if (packs.size() > 1) chosen.insert(chosen.end(), packs.begin(), packs.end());
    }
  }
  uint64_t bytes = 0;
  size_t count = 0;
  while (count < chosen.size() && bytes + chosen[count].size <= options_.max_bytes) {
    bytes += chosen[count++].size;
  }
  if (count == 0 && !chosen.empty()) count = 1;  // a limit below one pack: that one
  chosen.resize(count);
  return chosen;
}

Status CompactRun::RewriteFrame(const CachedPack& pack, uint32_t number, const PackFrame& frame,
                                ByteView sealed, const std::vector<PackBlob>& used,
                                PackBuilder& out) {
  BKFS_ASSIGN(Bytes inner, opener_.Unseal(pack, number, frame, sealed));
  BKFS_ASSIGN(Bytes plain, opener_.Decode(frame, inner));
  for (const auto& blob : used) {
    BKFS_TRY(opener_.CheckBlob(pack.kind, blob, plain));
    BKFS_TRY(out.AddBlob(blob.id, ByteView(plain).subspan(blob.offset, blob.length)));
  }
  ++report_.frames_rewritten;
  return {};
}

// `object` is empty where the store copies frames.
Status CompactRun::MoveFrame(const CachedPack& pack, uint32_t number, const PackFrame& frame,
                             ByteView object, const std::vector<PackBlob>& used, bool whole,
                             PackBuilder& out) {
  // What this key made itself may be put together with others anew.
  if (!whole && repo_.blobs().CanRead(pack.kind)) {
    Bytes fetched;
    if (object.empty()) {
      fetched.resize(frame.length);
      BKFS_TRY(repo_.store().ReadAt(PackName(pack.id), frame.offset, fetched));
      report_.bytes_read += fetched.size();
    }
    const ByteView sealed =
        object.empty() ? ByteView(fetched) : object.subspan(frame.offset, frame.length);
    Status rewritten = RewriteFrame(pack, number, frame, sealed, used, out);
    if (!rewritten.Is(Code::kCorrupt) && !rewritten.Is(Code::kDenied)) return rewritten;
    repo_.log().Warning(PackName(pack.id) + ": a frame is moved as it is: " + rewritten.message());
  }
  ++report_.frames_moved;
  const PackSlot& slot = pack.slots[frame.slot];
  if (object.empty()) return out.MoveFrameOf(pack.id, frame, slot, used);
  return out.MoveFrame(object.subspan(frame.offset, frame.length), frame.plain, slot, used);
}

// The pack's footer, and, where it is to be read whole, all of it, verified.
Result<PackFooter> CompactRun::ReadSource(const PackUse& pack, bool whole, Bytes& object) {
  SignedFooter signed_footer;
  if (whole) {
    BKFS_ASSIGN(object, repo_.store().Get(PackName(pack.id)));
    report_.bytes_read += object.size();
    if (HashBytes(object) != pack.id.bytes) {
      return Status(Code::kCorrupt, "its bytes do not hash to its name");
    }
    BKFS_ASSIGN(uint32_t length,
                DecodePackTrailer(ByteView(object).last(std::min(object.size(), kPackTrailer))));
    if (length > object.size()) return Status(Code::kCorrupt, "its footer is cut");
    BKFS_ASSIGN(signed_footer, DecodePackEnd(ByteView(object).last(length),
                                             repo_.key().index_key.view(), repo_.header().repo));
  } else {
    BKFS_ASSIGN(signed_footer, repo_.FetchFooter(pack.id, pack.size));
  }
  PackFooter footer;
  BKFS_TRY(repo_.AcceptFooter(pack.id, pack.size, signed_footer, footer));
  if (!whole && !footer.frames.empty()) {
    const PackFrame& last = footer.frames.back();
    report_.bytes_read += pack.size - last.offset - last.length + kPackTrailer;
  }
  return footer;
}

// Adds what is used of a pack to `out`. A pack that is damaged stays as it is: copied, its damage
// would get a good name.
Status CompactRun::Empty(const RepositoryView& view, const PackUse& pack, PackBuilder& out) {
  Bytes object;
  BKFS_ASSIGN(PackFooter footer, ReadSource(pack, !out.store_copies(), object));
  BKFS_ASSIGN(auto number, repo_.index().FindPack(pack.id));
  const CachedPack cached{pack.id,      footer.kind, pack.size,  footer.signer,
                          footer.slots, pack.blobs,  pack.plain, pack.frames_plain};
  size_t at = 0;
  for (uint32_t i = 0; i < footer.frames.size(); ++i) {
    std::vector<PackBlob> used;
    uint64_t bytes = 0;
    for (; at < footer.blobs.size() && footer.blobs[at].frame == i; ++at) {
      if (!view.marks->IsUsed(pack, static_cast<uint32_t>(at))) continue;
      used.push_back(footer.blobs[at]);
      bytes += footer.blobs[at].length;
    }
    if (used.empty()) continue;
    // A frame that was moved before may hold what is no blob any more.
    const bool whole = bytes == footer.frames[i].plain;
    BKFS_TRY(MoveFrame(cached, number.value_or(0), footer.frames[i], object, used, whole, out));
  }
  return {};
}

// What has been built so far is listed as segments fill up, not kept until all is built.
Status CompactRun::List(PackBuilder& out, SegmentWriter& index) {
  report_.packs_written += out.stored().size();
  for (auto& pack : out.stored()) BKFS_TRY(index.Add(std::move(pack)));
  out.stored().clear();
  return {};
}

void CompactRun::Skip(const PackId& pack, const Status& why) {
  if (why.Is(Code::kNotFound)) return;  // deleted by somebody else
  ++report_.packs_skipped;
  repo_.log().Warning(PackName(pack) + " is left as it is: " + why.message() +
                      " ('bkfs check' tells more)");
}

// Empties the packs of one kind, and puts them into `emptied` if they are to be condemned.
Status CompactRun::EmptyAll(const RepositoryView& view, const std::vector<PackUse>& chosen,
                            PackBuilder& out, SegmentWriter& index, std::vector<PackId>& emptied) {
  std::vector<PackUse> done;
  for (size_t i = 0; i < chosen.size(); ++i) {
    maintainer_.Tell("compacting", i, chosen.size());
    Status status = Empty(view, chosen[i], out);
    if (out.lost().contains(chosen[i].id)) continue;  // told below
    if (status.Is(Code::kCorrupt) || status.Is(Code::kNotFound)) {
      Skip(chosen[i].id, status);
      continue;
    }
    BKFS_TRY(status);
    BKFS_TRY(List(out, index));
    done.push_back(chosen[i]);
  }
  BKFS_TRY(out.Finish());
  BKFS_TRY(List(out, index));
  for (const auto& [id, why] : out.lost()) Skip(id, why);
  for (const auto& pack : done) {
    if (out.lost().contains(pack.id)) continue;
    ++report_.packs_emptied;
    if (!pack.condemned) emptied.push_back(pack.id);
  }
  report_.frames_moved -= out.frames_lost();
  report_.bytes_read += out.traffic().read;
  report_.bytes_written += out.traffic().sent;
  report_.bytes_copied += out.traffic().copied;
  return {};
}

// Whether a segment is less than half full.
Result<bool> CompactRun::IsSmall(const IndexId& segment) {
  BKFS_ASSIGN(auto packs, repo_.index().SegmentPacks(segment));
  uint64_t footers = 0;
  for (const auto& id : packs) {
    BKFS_ASSIGN(auto number, repo_.index().FindPack(id));
    if (!number) continue;
    auto pack = repo_.index().Pack(*number);
    if (pack.code() == Code::kNotFound) continue;  // deleted just now
    if (!pack.ok()) return pack.status();
    footers += pack->blobs * kBlobInFooter;
  }
  return packs.size() * 2 < options_.segments.packs && footers * 2 < options_.segments.footers;
}

// Full ones are left alone: what a run costs must not grow with the index.
Status CompactRun::MergeSegments() {
  BKFS_ASSIGN(auto segments, repo_.index().Segments());
  report_.segments_before = segments.size();
  std::vector<IndexId> small;
  for (const auto& id : segments) {
    BKFS_ASSIGN(bool is_small, IsSmall(id));
    if (is_small) small.push_back(id);
  }
  if (small.size() > kFewSegments) {
    BKFS_TRY(maintainer_.RewriteSegments(small, {}, options_.segments));
  }
  BKFS_ASSIGN(segments, repo_.index().Segments());
  report_.segments_after = segments.size();
  return {};
}

Result<CompactReport> CompactRun::Run() {
  for (int round = 0; round < kRounds; ++round) {
    BKFS_ASSIGN(RepositoryView view, maintainer_.Look());
    report_ = CompactReport();
    const std::vector<PackUse> chosen = Choose(view);
    if (options_.run.dry_run) {
      report_.packs_emptied = chosen.size();
      for (const auto& pack : chosen) report_.bytes_read += pack.size;
      return report_;
    }
    std::vector<PackId> emptied;
    SegmentWriter index(repo_, view.log->last, options_.segments);
    PackBuilder::Options building;
    building.pack_target = options_.pack_target;
    building.level = options_.level;
    for (PackKind kind : {PackKind::kContents, PackKind::kTrees}) {
      if (kind == PackKind::kTrees) building.frame_plain /= 2;
      std::vector<PackUse> packs;
      std::copy_if(chosen.begin(), chosen.end(), std::back_inserter(packs),
                   [kind](const PackUse& pack) { return pack.kind == kind; });
      PackBuilder out(repo_, kind, building);
      BKFS_TRY(EmptyAll(view, packs, out, index, emptied));
      building.store_copies = out.store_copies();
    }
    // The new packs are in the index before the old ones are condemned.
    BKFS_TRY(index.Finish());
    if (!emptied.empty()) {
      BKFS_ASSIGN(bool decided, maintainer_.Decide(view, std::move(emptied), {}));
      // Somebody condemned or doomed meanwhile; what was copied is found by the next look, and what
      // is too much by the next prune.
      if (!decided) continue;
    }
    BKFS_TRY(MergeSegments());
    return report_;
  }
  return Status(Code::kBusy, "others prune or compact this repository at the same time");
}
}  // namespace

Result<CompactReport> Compact(Repository& repo, const CompactOptions& options,
                              const MaintenanceProgress& progress) {
  BKFS_ASSIGN(auto maintainer, Maintainer::Begin(repo, options.run, progress));
  return CompactRun(*maintainer, options).Run();
}

}  // namespace bkfs

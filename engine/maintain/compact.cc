// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/compact.h"

#include <algorithm>
#include <array>

#include "engine/crypto/hash.h"
#include "engine/maintain/pack_builder.h"
#include "engine/repo/pack_keys.h"
#include "engine/repo/segment_writer.h"

namespace bkfs {

namespace {
constexpr int kRounds = 10;  // as often may somebody else be quicker
constexpr uint64_t kFewSegments = 4;

class CompactRun {
 public:
  CompactRun(Maintainer& maintainer, const CompactOptions& options)
      : maintainer_(maintainer),
        repo_(maintainer.repo()),
        options_(options),
        keys_(repo_.epochs()),
        tree_id_key_(TreeIdKey(repo_.key().id_key.view())) {}
  Result<CompactReport> Run();

 private:
  uint64_t Unused(const PackUse& pack) {
    return UnusedBytes(pack, repo_.blobs().CanRead(pack.kind));
  }
  std::vector<PackUse> Choose(const RepositoryView& view);
  Status Empty(const RepositoryView& view, const PackUse& pack, PackBuilder& out);
  Status MoveFrame(const CachedPack& pack, uint32_t number, const PackFrame& frame, ByteView object,
                   const std::vector<PackBlob>& used, bool whole, PackBuilder& out);
  Status RewriteFrame(const CachedPack& pack, uint32_t number, const PackFrame& frame,
                      ByteView sealed, const std::vector<PackBlob>& used, PackBuilder& out);
  Status List(PackBuilder& out, SegmentWriter& index);
  Result<bool> IsSmall(const IndexId& segment);
  Status MergeSegments();

  Maintainer& maintainer_;
  Repository& repo_;
  const CompactOptions& options_;
  PackKeys keys_;
  const Secret tree_id_key_;
  FrameCodec codec_;
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
  BKFS_ASSIGN(Secret key, keys_.Open(number, pack, frame.slot));
  BKFS_ASSIGN(Bytes inner, OpenFrame(pack.slots[frame.slot].cipher, key.view(), repo_.header().repo,
                                     static_cast<uint8_t>(pack.kind), sealed));
  BKFS_ASSIGN(Bytes plain, codec_.Decode(inner, frame.plain));
  ByteView id_key =
      pack.kind == PackKind::kContents ? repo_.key().id_key.view() : tree_id_key_.view();
  for (const auto& blob : used) {
    ByteView data = ByteView(plain).subspan(blob.offset, blob.length);
    // A writer that stored other bytes than it said must not be vouched for.
    if (KeyedHash(id_key, data) != blob.id.bytes) {
      return {Code::kCorrupt, "blob " + blob.id.hex() + " does not hash to its id"};
    }
    BKFS_TRY(out.AddBlob(blob.id, data));
  }
  ++report_.frames_rewritten;
  return {};
}

Status CompactRun::MoveFrame(const CachedPack& pack, uint32_t number, const PackFrame& frame,
                             ByteView object, const std::vector<PackBlob>& used, bool whole,
                             PackBuilder& out) {
  ByteView sealed = object.subspan(frame.offset, frame.length);
  // What this key made itself may be put together with others anew.
  if (!whole && repo_.blobs().CanRead(pack.kind)) {
    Status rewritten = RewriteFrame(pack, number, frame, sealed, used, out);
    if (!rewritten.Is(Code::kCorrupt) && !rewritten.Is(Code::kDenied)) return rewritten;
    repo_.log().Warning(PackName(pack.id) + ": a frame is moved as it is: " + rewritten.message());
  }
  ++report_.frames_moved;
  return out.MoveFrame(sealed, frame.plain, pack.slots[frame.slot], used);
}

// Adds what is used of a pack to `out`. A pack that is damaged stays as it is: copied, its damage
// would get a good name.
Status CompactRun::Empty(const RepositoryView& view, const PackUse& pack, PackBuilder& out) {
  BKFS_ASSIGN(Bytes object, repo_.store().Get(PackName(pack.id)));
  if (HashBytes(object) != pack.id.bytes) {
    return {Code::kCorrupt, "its bytes do not hash to its name"};
  }
  BKFS_ASSIGN(uint32_t length,
              DecodePackTrailer(ByteView(object).last(std::min(object.size(), kPackTrailer))));
  if (length > object.size()) return {Code::kCorrupt, "its footer is cut"};
  BKFS_ASSIGN(SignedFooter signed_footer,
              DecodePackEnd(ByteView(object).last(length), repo_.key().index_key.view(),
                            repo_.header().repo));
  PackFooter footer;
  BKFS_TRY(repo_.AcceptFooter(pack.id, object.size(), signed_footer, footer));
  BKFS_ASSIGN(auto number, repo_.index().FindPack(pack.id));
  const CachedPack cached{pack.id,      footer.kind, object.size(), footer.signer,
                          footer.slots, pack.blobs,  pack.plain,    pack.frames_plain};
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
  ++report_.packs_emptied;
  report_.bytes_read += object.size();
  return {};
}

// What has been built so far is listed as segments fill up, not kept until all is built.
Status CompactRun::List(PackBuilder& out, SegmentWriter& index) {
  for (auto& pack : out.stored()) {
    ++report_.packs_written;
    report_.bytes_written += pack.size;
    BKFS_TRY(index.Add(std::move(pack)));
  }
  out.stored().clear();
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
      return std::move(report_);
    }
    std::vector<PackId> emptied;
    SegmentWriter index(repo_, view.log->last, options_.segments);
    PackBuilder::Options building;
    building.pack_target = options_.pack_target;
    building.level = options_.level;
    for (PackKind kind : {PackKind::kContents, PackKind::kTrees}) {
      if (kind == PackKind::kTrees) building.frame_plain /= 2;
      PackBuilder out(repo_, kind, building);
      for (size_t i = 0; i < chosen.size(); ++i) {
        if (chosen[i].kind != kind) continue;
        maintainer_.Tell("compacting", i, chosen.size());
        Status status = Empty(view, chosen[i], out);
        if (status.Is(Code::kCorrupt)) {
          ++report_.packs_skipped;
          repo_.log().Warning(PackName(chosen[i].id) + " is left as it is: " + status.message() +
                              " ('bkfs check' tells more)");
          continue;
        }
        if (status.Is(Code::kNotFound)) continue;  // deleted by somebody else
        BKFS_TRY(status);
        BKFS_TRY(List(out, index));
        if (!chosen[i].condemned) emptied.push_back(chosen[i].id);
      }
      BKFS_TRY(out.Finish());
      BKFS_TRY(List(out, index));
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
    return std::move(report_);
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

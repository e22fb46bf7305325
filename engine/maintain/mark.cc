// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/mark.h"

namespace bkfs {

uint64_t UnusedBytes(const PackUse& pack, bool opens) {
  const uint64_t all = opens ? pack.frames_plain : pack.plain;
  if (all == 0 || pack.used_plain >= all) return 0;
  return static_cast<uint64_t>(static_cast<double>(pack.size) *
                               static_cast<double>(all - pack.used_plain) /
                               static_cast<double>(all));
}

Result<UsageMarks> UsageMarks::Begin(Repository& repo,
                                     const std::unordered_map<PackId, uint64_t, IdHash>& store,
                                     const CondemnedPacks& condemned) {
  UsageMarks marks(repo);
  uint64_t bits = 0;
  BKFS_TRY(repo.index().ForEachPack([&](uint32_t number, const CachedPack& pack) {
    PackUse use;
    use.id = pack.id;
    use.kind = pack.kind;
    use.signer = pack.signer;
    use.size = pack.size;
    use.plain = pack.plain;
    use.frames_plain = pack.frames_plain;
    use.blobs = pack.blobs;
    use.first_bit = bits;
    bits += pack.blobs;
    use.condemned = condemned.condemned.contains(pack.id);
    auto found = store.find(pack.id);
    use.missing =
        found == store.end() || found->second != pack.size || condemned.doomed.contains(pack.id);
    if (marks.by_number_.size() <= number) marks.by_number_.resize(number + 1);
    marks.packs_.push_back(use);
    marks.by_number_[number] = static_cast<uint32_t>(marks.packs_.size());
    marks.by_id_[pack.id] = static_cast<uint32_t>(marks.packs_.size() - 1);
    return Status();
  }));
  marks.bits_.resize((bits + 63) / 64);
  return marks;
}

const PackUse* UsageMarks::Find(const PackId& id) const {
  auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &packs_[found->second];
}

bool UsageMarks::IsUsed(const PackUse& pack, uint32_t ordinal) const {
  const uint64_t bit = pack.first_bit + ordinal;
  return (bits_[bit / 64] >> (bit % 64) & 1) != 0;
}

// One copy counts: the newest that is not condemned, else the newest. Whoever else looks at the
// same log, store and index chooses the same; that nobody acts on another choice, the log sees to.
Result<UsageMarks::Mark> UsageMarks::MarkBlob(PackKind kind, const BlobId& id) {
  BKFS_ASSIGN(auto copies, repo_->index().FindAll(id));
  PackUse* chosen = nullptr;
  const BlobLocation* place = nullptr;
  for (const auto& copy : copies) {
    // A pack that came while this goes on is not looked at: it is somebody's new one.
    if (copy.pack >= by_number_.size() || by_number_[copy.pack] == 0) continue;
    PackUse& pack = packs_[by_number_[copy.pack] - 1];
    if (pack.missing || pack.kind != kind || copy.ordinal >= pack.blobs) continue;
    if (chosen && (!chosen->condemned || pack.condemned)) continue;
    chosen = &pack;
    place = &copy;
  }
  if (!chosen) return Mark::kMissing;
  const uint64_t bit = chosen->first_bit + place->ordinal;
  const uint64_t mask = uint64_t{1} << (bit % 64);
  if ((bits_[bit / 64] & mask) != 0) return Mark::kKnown;
  bits_[bit / 64] |= mask;
  ++chosen->used_blobs;
  chosen->used_plain += place->length;
  return Mark::kNew;
}

Status UsageMarks::MarkExtents(const std::vector<Extent>& extents) {
  for (const auto& extent : extents) {
    if (extent.is_hole() || recent_.Contains(extent.blob)) continue;
    BKFS_ASSIGN(Mark mark, MarkBlob(PackKind::kContents, extent.blob));
    if (mark == Mark::kMissing) {
      ++missing_;
    } else {
      recent_.Add(extent.blob);
    }
  }
  return {};
}

Status UsageMarks::MarkLists(std::vector<ListRef> lists) {
  while (!lists.empty()) {
    const BlobId id = lists.back().blob;
    lists.pop_back();
    BKFS_ASSIGN(Mark mark, MarkBlob(PackKind::kTrees, id));
    if (mark == Mark::kKnown) continue;
    BKFS_ASSIGN(auto list, repo_->trees().LoadList(id));
    BKFS_TRY(MarkExtents(list->extents));
    lists.insert(lists.end(), list->lists.begin(), list->lists.end());
  }
  return {};
}

Status UsageMarks::MarkDirectory(const BlobId& id, std::vector<BlobId>& below) {
  BKFS_ASSIGN(Mark mark, MarkBlob(PackKind::kTrees, id));
  if (mark == Mark::kKnown) return {};
  BKFS_ASSIGN(DirectoryPtr view, repo_->trees().Load(id));
  ++directories_;
  for (size_t i = 0; i < view->children(); ++i) below.push_back(view->child(i).blob);
  for (size_t i = 0; i < view->entries(); ++i) {
    const Entry entry = view->entry(i);
    if (entry.is_directory()) {
      if (!entry.directory.is_zero()) below.push_back(entry.directory);
      continue;
    }
    BKFS_TRY(MarkExtents(entry.extents));
    BKFS_TRY(MarkLists(entry.lists));
  }
  return {};
}

Status UsageMarks::MarkBelow(const BlobId& directory, bool pass_over) {
  if (directory.is_zero()) return {};
  std::vector<BlobId> below{directory};
  while (!below.empty()) {
    const BlobId id = below.back();
    below.pop_back();
    Status marked = MarkDirectory(id, below);
    if (pass_over && (marked.Is(Code::kCorrupt) || marked.Is(Code::kNotFound))) continue;
    BKFS_TRY(marked);
  }
  return {};
}

Status UsageMarks::MarkTree(const BlobId& directory) { return MarkBelow(directory, false); }

Status UsageMarks::MarkPinned(const BlobId& directory) {
  const uint64_t missing = missing_;
  Status marked = MarkBelow(directory, true);
  missing_ = missing;  // no snapshot lacks it
  return marked;
}

}  // namespace bkfs

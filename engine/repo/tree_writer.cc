// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/tree_writer.h"

#include <utility>

#include "engine/crypto/hash.h"

namespace bkfs {

namespace {
// The cut rules of doc/format.md section 8.
constexpr size_t kLeastPiece = 8 << 10;
constexpr size_t kMostPiece = 256 << 10;
constexpr uint32_t kEntryCut = 128;
constexpr size_t kLeastChildren = 16;
constexpr size_t kMostChildren = 4096;
constexpr uint32_t kChildCut = 64;
constexpr size_t kInlineExtents = 64;
constexpr size_t kLeastExtents = 64;
constexpr size_t kMostExtents = 4096;
constexpr uint32_t kExtentCut = 512;
constexpr size_t kInlineLists = 4096;

uint32_t FirstWord(const BlobId& id) { return Load<uint32_t>(id.bytes.data()); }
}  // namespace

DirectoryWriter::DirectoryWriter(BlobWriter& blobs, ByteView chunker_key, LocalTrees* local)
    : blobs_(blobs), chunker_key_(chunker_key), local_(local) {}

Result<BlobId> DirectoryWriter::Put(Bytes blob) {
  BKFS_ASSIGN(BlobId id, blobs_.Add(PackKind::kTrees, blob));
  if (local_) BKFS_TRY(local_->Put(id, blob));
  return id;
}

Status DirectoryWriter::Add(const Entry& entry) {
  if (count_ > 0 && entry.name <= last_name_) {
    return {Code::kInvalid, "directory entries are not in order"};
  }
  if (encoder_.entries() == 0) piece_first_ = entry.name;
  encoder_.Add(entry);
  last_name_ = entry.name;
  ++count_;
  if (entry.is_directory()) {
    ++totals_.directories;
    totals_ += entry.totals;
  } else {
    ++totals_.files;
    if (entry.kind == EntryKind::kFile) totals_.bytes += entry.size;
    if (entry.link_group != 0) ++totals_.linked;
  }
  const size_t size = encoder_.size();
  if (size < kLeastPiece) return {};
  const Hash256 hash = KeyedHash(chunker_key_, AsBytes(entry.name));
  if (size >= kMostPiece || Load<uint32_t>(hash.data()) % kEntryCut == 0) return CutPiece();
  return {};
}

Status DirectoryWriter::CutPiece() {
  const uint64_t entries = encoder_.entries();
  BKFS_ASSIGN(BlobId id, Put(encoder_.Finish()));
  pieces_.push_back({piece_first_, id, entries});
  return {};
}

Result<DirectoryRef> DirectoryWriter::Finish() {
  DirectoryRef ref;
  ref.count = count_;
  ref.totals = totals_;
  if (encoder_.entries() > 0) BKFS_TRY(CutPiece());
  for (uint8_t level = 1; pieces_.size() > 1; ++level) {
    std::vector<Child> above;
    std::vector<Child> group;
    for (size_t i = 0; i < pieces_.size(); ++i) {
      group.push_back(pieces_[i]);
      const bool last = i + 1 == pieces_.size();
      const bool cut =
          group.size() >= kMostChildren ||
          (group.size() >= kLeastChildren && FirstWord(group.back().blob) % kChildCut == 0);
      if (!last && !cut) continue;
      Child parent{group.front().first_name, {}, 0};
      for (const auto& child : group) parent.entries += child.entries;
      // Totals are of the whole directory in its top blob; those in between leave them empty.
      const bool top = last && above.empty();
      BKFS_ASSIGN(parent.blob,
                  Put(EncodeDirectoryNode(level, group, top ? totals_ : TreeTotals{})));
      above.push_back(std::move(parent));
      group.clear();
    }
    pieces_ = std::move(above);
  }
  if (!pieces_.empty()) ref.blob = pieces_.front().blob;
  return ref;
}

namespace {
// Stores one list blob and returns the reference to it.
Result<ListRef> PutList(const ExtentListBlob& list, BlobWriter& blobs, LocalTrees* local) {
  const Bytes blob = EncodeExtentList(list);
  ListRef ref;
  for (const auto& extent : list.extents) ref.bytes += extent.length;
  for (const auto& below : list.lists) ref.bytes += below.bytes;
  BKFS_ASSIGN(ref.blob, blobs.Add(PackKind::kTrees, blob));
  if (local) BKFS_TRY(local->Put(ref.blob, blob));
  return ref;
}

bool CutsAfter(size_t count, const BlobId& last) {
  return count >= kMostExtents || (count >= kLeastExtents && FirstWord(last) % kExtentCut == 0);
}

// Cuts references by content into list blobs of `level`.
Result<std::vector<ListRef>> PutLists(const std::vector<ListRef>& items, uint8_t level,
                                      BlobWriter& blobs, LocalTrees* local) {
  std::vector<ListRef> refs;
  ExtentListBlob list;
  list.level = level;
  for (size_t i = 0; i < items.size(); ++i) {
    list.lists.push_back(items[i]);
    if (!CutsAfter(list.lists.size(), items[i].blob) && i + 1 < items.size()) continue;
    BKFS_ASSIGN(ListRef ref, PutList(list, blobs, local));
    refs.push_back(ref);
    list.lists.clear();
  }
  return refs;
}
}  // namespace

Status ExtentWriter::Add(const Extent& extent) {
  if (cut_due_) BKFS_TRY(CutPiece());
  piece_.push_back(extent);
  bytes_ += extent.length;
  cut_due_ = CutsAfter(piece_.size(), extent.blob);
  return {};
}

Status ExtentWriter::CutPiece() {
  BKFS_ASSIGN(ListRef ref, PutList({0, std::exchange(piece_, {}), {}}, blobs_, local_));
  pieces_.push_back(ref);
  cut_due_ = false;
  return {};
}

Status ExtentWriter::Finish(Entry& entry) {
  entry.extents.clear();
  entry.lists.clear();
  if (pieces_.empty() && piece_.size() <= kInlineExtents) {
    entry.extents = std::move(piece_);
    return {};
  }
  if (!piece_.empty()) BKFS_TRY(CutPiece());
  entry.lists = std::move(pieces_);
  for (uint8_t level = 1; entry.lists.size() > kInlineLists; ++level) {
    BKFS_ASSIGN(entry.lists, PutLists(entry.lists, level, blobs_, local_));
  }
  return {};
}

Status SetExtents(Entry& entry, const std::vector<Extent>& extents, BlobWriter& blobs,
                  LocalTrees* local) {
  ExtentWriter writer(blobs, local);
  for (const auto& extent : extents) BKFS_TRY(writer.Add(extent));
  return writer.Finish(entry);
}

}  // namespace bkfs

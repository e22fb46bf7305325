// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/tree_writer.h"

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
uint64_t Covered(const Extent& extent) { return extent.length; }
uint64_t Covered(const ListRef& ref) { return ref.bytes; }

// Cuts `items` by content into list blobs of `level`, whose references are returned.
template <typename Item>
Result<std::vector<ListRef>> PutLists(const std::vector<Item>& items, uint8_t level,
                                      BlobWriter& blobs, LocalTrees* local) {
  std::vector<ListRef> refs;
  ExtentListBlob piece;
  ListRef ref;
  size_t count = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    if constexpr (std::is_same_v<Item, Extent>) {
      piece.extents.push_back(items[i]);
    } else {
      piece.lists.push_back(items[i]);
    }
    ref.bytes += Covered(items[i]);
    ++count;
    const bool cut = count >= kMostExtents ||
                     (count >= kLeastExtents && FirstWord(items[i].blob) % kExtentCut == 0);
    if (!cut && i + 1 < items.size()) continue;
    piece.level = level;
    Bytes blob = EncodeExtentList(piece);
    BKFS_ASSIGN(ref.blob, blobs.Add(PackKind::kTrees, blob));
    if (local) BKFS_TRY(local->Put(ref.blob, blob));
    refs.push_back(ref);
    piece = {};
    ref = {};
    count = 0;
  }
  return refs;
}
}  // namespace

Status SetExtents(Entry& entry, const std::vector<Extent>& extents, BlobWriter& blobs,
                  LocalTrees* local) {
  entry.extents.clear();
  entry.lists.clear();
  if (extents.size() <= kInlineExtents) {
    entry.extents = extents;
    return {};
  }
  BKFS_ASSIGN(entry.lists, PutLists(extents, 0, blobs, local));
  for (uint8_t level = 1; entry.lists.size() > kInlineLists; ++level) {
    BKFS_ASSIGN(entry.lists, PutLists(entry.lists, level, blobs, local));
  }
  return {};
}

}  // namespace bkfs

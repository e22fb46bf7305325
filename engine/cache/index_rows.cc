// SPDX-License-Identifier: Apache-2.0
// Finding blobs, packs, segments and notes.
#include "engine/cache/rocks_index_cache.h"

namespace bkfs {

namespace {
constexpr size_t kPageOfPacks = 256;
}

Status RocksIndexCache::FindPlaces(const BlobId& id,
                                   const std::function<bool(const BlobLocation&)>& visit) {
  BKFS_TRY(Ready(false));
  ReaderLock store_lock(store_mutex_);
  BKFS_TRY(CheckOpen());
  const Records& records = *records_;
  auto look = [&](ByteView key, ByteView value) -> Result<bool> {
    auto number = Records::NumberOf(key);
    if (!number || !live_.Live(*number)) return true;
    auto place = records.OpenBlob(key, value);
    if (!place.ok()) return place.status();
    return visit(*place);
  };
  return Checked(rows_->ScanPrefix(Records::BlobPrefix(id), look));
}

Result<std::optional<BlobLocation>> RocksIndexCache::Find(const BlobId& id) {
  std::optional<BlobLocation> found;
  BKFS_TRY(FindPlaces(id, [&](const BlobLocation& place) {
    found = place;
    return false;
  }));
  return found;
}

Result<std::vector<BlobLocation>> RocksIndexCache::FindAll(const BlobId& id) {
  std::vector<BlobLocation> found;
  BKFS_TRY(FindPlaces(id, [&](const BlobLocation& place) {
    found.push_back(place);
    return true;
  }));
  return found;
}

Result<CachedPack> RocksIndexCache::ReadPack(uint32_t number) {
  const Bytes key = Records::PackKey(number);
  BKFS_ASSIGN(std::optional<Bytes> sealed, rows_->Get(key));
  if (!sealed) {
    return Status(Code::kNotFound, "index cache: no pack has number " + std::to_string(number));
  }
  return records_->OpenPack(key, *sealed);
}

Result<CachedPack> RocksIndexCache::Pack(uint32_t number) {
  if (auto pack = packs_.Find(number)) return std::move(*pack);
  BKFS_TRY(Ready(false));
  ReaderLock store_lock(store_mutex_);
  BKFS_TRY(CheckOpen());
  Result<CachedPack> pack = ReadPack(number);
  if (!pack.ok()) return Checked(pack.status());
  packs_.Keep(number, *pack);
  if (!live_.Live(number)) packs_.Drop(number);  // removed while it was read
  return pack;
}

Result<std::optional<uint32_t>> RocksIndexCache::FindPack(const PackId& id) {
  BKFS_TRY(Ready(false));
  ReaderLock store_lock(store_mutex_);
  BKFS_TRY(CheckOpen());
  auto number = NumberOf(id);
  if (!number.ok()) return Checked(number.status());
  return number;
}

Result<std::vector<RocksIndexCache::NumberedPack>> RocksIndexCache::PageOfPacks(uint32_t from) {
  BKFS_TRY(Ready(false));
  ReaderLock store_lock(store_mutex_);
  BKFS_TRY(CheckOpen());
  std::vector<NumberedPack> page;
  const Records& records = *records_;
  Status status =
      rows_->ScanKind(Records::PackKey(from), [&](ByteView key, ByteView value) -> Result<bool> {
        auto pack = records.OpenPack(key, value);
        if (!pack.ok()) return pack.status();
        page.push_back({Records::NumberOf(key).value_or(0), std::move(*pack)});
        return page.size() < kPageOfPacks;
      });
  BKFS_TRY(Checked(std::move(status)));
  return page;
}

Status RocksIndexCache::ForEachPack(
    const std::function<Status(uint32_t, const CachedPack&)>& visit) {
  // A page at a time, so that no lock is held while `visit` runs.
  for (uint32_t from = 0;;) {
    BKFS_ASSIGN(std::vector<NumberedPack> page, PageOfPacks(from));
    for (const NumberedPack& entry : page) BKFS_TRY(visit(entry.number, entry.pack));
    if (page.size() < kPageOfPacks || page.back().number == UINT32_MAX) return {};
    from = page.back().number + 1;
  }
}

Status RocksIndexCache::WriteRow(ByteView key, ByteView value) {
  RowStore::Batch batch;
  batch.Put(key, value);
  return Checked(rows_->Write(batch));
}

Result<std::vector<IndexId>> RocksIndexCache::Segments() {
  BKFS_TRY(Ready(false));
  ReaderLock store_lock(store_mutex_);
  BKFS_TRY(CheckOpen());
  std::vector<IndexId> segments;
  Status status =
      rows_->ScanKind(Records::SegmentsFrom(), [&](ByteView key, ByteView) -> Result<bool> {
        auto id = IndexId::FromBytes(key.subspan(1));
        if (!id.ok()) return Status(Code::kCorrupt, "index cache: a segment's key is damaged");
        segments.push_back(*id);
        return true;
      });
  BKFS_TRY(Checked(std::move(status)));
  return segments;
}

Status RocksIndexCache::MarkSegment(const IndexId& id, const std::vector<PackId>& packs) {
  BKFS_TRY(Ready(true));
  ReaderLock store_lock(store_mutex_);
  BKFS_TRY(CheckOpen());
  const Bytes key = Records::SegmentKey(id);
  return WriteRow(key, records_->SealPackIds(key, packs));
}

Result<std::vector<PackId>> RocksIndexCache::SegmentPacks(const IndexId& id) {
  BKFS_TRY(Ready(false));
  ReaderLock store_lock(store_mutex_);
  BKFS_TRY(CheckOpen());
  const Bytes key = Records::SegmentKey(id);
  auto sealed = rows_->Get(key);
  if (!sealed.ok()) return Checked(sealed.status());
  if (!*sealed) {
    return Status(Code::kNotFound, "index cache: segment " + id.short_hex() + " is not loaded");
  }
  auto packs = records_->OpenPackIds(key, **sealed);
  if (!packs.ok()) return Checked(packs.status());
  return packs;
}

Status RocksIndexCache::UnmarkSegment(const IndexId& id) {
  BKFS_TRY(Ready(true));
  ReaderLock store_lock(store_mutex_);
  BKFS_TRY(CheckOpen());
  RowStore::Batch batch;
  batch.Delete(Records::SegmentKey(id));
  return Checked(rows_->Write(batch));
}

Result<std::optional<Bytes>> RocksIndexCache::GetNote(std::string_view name) {
  BKFS_TRY(Ready(false));
  ReaderLock store_lock(store_mutex_);
  BKFS_TRY(CheckOpen());
  const Bytes key = records_->NoteKey(name);
  auto sealed = rows_->Get(key);
  if (!sealed.ok()) return Checked(sealed.status());
  if (!*sealed) return std::optional<Bytes>();
  auto value = records_->OpenBytes(key, **sealed);
  if (!value.ok()) return Checked(value.status());
  return std::optional<Bytes>(std::move(*value));
}

Status RocksIndexCache::PutNote(std::string_view name, ByteView value) {
  BKFS_TRY(Ready(true));
  ReaderLock store_lock(store_mutex_);
  BKFS_TRY(CheckOpen());
  const Bytes key = records_->NoteKey(name);
  return WriteRow(key, records_->SealBytes(key, value));
}

}  // namespace bkfs

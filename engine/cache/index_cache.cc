// SPDX-License-Identifier: Apache-2.0
// Opening, emptying, and adding and removing packs.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "engine/cache/rocks_index_cache.h"

namespace bkfs {

namespace {
constexpr uint32_t kNumbersAtATime = 256;  // given out after one synced write
constexpr size_t kBatchBytes = 1 << 20;

// OK if a file can be made in the folder: then what failed there is not the system's fault.
Status CheckWritable(const std::string& directory) {
  const std::string probe = directory + "/probe";
  ::unlink(probe.c_str());
  Status status = WriteNewFile(probe, Bytes(4096), 0600);
  ::unlink(probe.c_str());
  return status;
}

// The lock on the folder; held until its file is closed, so also a killed process lets go.
Result<UniqueFd> LockFolder(const std::string& directory) {
  const std::string path = directory + "/lock";
  BKFS_ASSIGN(UniqueFd fd, OpenFile(path, O_RDWR | O_CREAT));
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return Status(Code::kBusy, "index cache " + directory + " is in use by another process");
    }
    if (errno != EINTR) return Status::FromErrno(errno, path);
  }
  return fd;
}
}  // namespace

Status RocksIndexCache::Checked(Status status) const {
  if (status.Is(Code::kCorrupt)) {
    log_.Warning(status.message() + "; the index cache will be emptied when it is next opened");
    (void)OpenFile(DamageMark(), O_WRONLY | O_CREAT);
  }
  return status;
}

Status RocksIndexCache::CheckOpen() const {
  if (!rows_) return {Code::kIo, "index cache " + options_.directory + " could not be reopened"};
  return {};
}

Status RocksIndexCache::Ready(bool to_write) {
  {
    ReaderLock store_lock(store_mutex_);
    if (rows_ && !(to_write && rows_->Failed())) return {};
  }
  WriterLock store_lock(store_mutex_);
  MutexLock write_lock(write_mutex_);
  if (rows_ && !(to_write && rows_->Failed())) return {};  // somebody was faster
  // Opening the rows writes what the log holds into tables.
  BKFS_TRY(CheckRoom(options_.directory, options_.memory_bytes / 4 + (1 << 20), "the index cache"));
  CloseRows();
  Status status = OpenRows();
  if (!status.ok()) CloseRows();
  // The disk filled up again meanwhile: who only reads goes on.
  if (status.Is(Code::kNoSpace) && !OpenRows(status).ok()) CloseRows();
  return Checked(std::move(status));
}

Status RocksIndexCache::Start() {
  WriterLock store_lock(store_mutex_);
  MutexLock write_lock(write_mutex_);
  Status status;
  if (::access(DamageMark().c_str(), F_OK) == 0) {
    status = {Code::kCorrupt, "it was found damaged when it was last used"};
  } else {
    status = OpenRows();
  }
  if (status.ok() || status.Is(Code::kNoSpace)) return status;
  if (!status.Is(Code::kStale) && !status.Is(Code::kCorrupt)) {
    BKFS_TRY(CheckWritable(options_.directory));
  }
  log_.Warning("index cache " + options_.directory + " is emptied: " + status.message());
  return BeginAnew();
}

void RocksIndexCache::CloseRows() {
  rows_.reset();
  records_.reset();
  live_.Clear();
  packs_.Clear();
  next_number_ = 0;
  reserved_below_ = 0;
}

Status RocksIndexCache::BeginAnew() {
  CloseRows();
  BKFS_TRY(RemoveTree(StorePath()));
  BKFS_TRY(RemoveTree(DamageMark()));
  return OpenRows();
}

// kStale: rows of another repository, key or schema.
Status RocksIndexCache::OpenRows(const Status& full) {
  const uint64_t memory = options_.memory_bytes - options_.memory_bytes / 16;
  if (full.ok()) {
    // No dead numbers are known until LoadNumbers is done, so the first compactions drop nothing.
    BKFS_ASSIGN(rows_, RowStore::Open(StorePath(), memory, [this](ByteView key) {
                  auto number = Records::NumberOf(key);
                  return key[0] == Records::kBlob && number && live_.Dead(*number);
                }));
  } else {
    BKFS_ASSIGN(rows_, RowStore::OpenForReading(StorePath(), memory, full));
  }
  BKFS_ASSIGN(std::optional<Bytes> identity, rows_->Get(IdentityKey()));
  std::optional<Bytes> salt;
  if (identity) {
    salt = CheckIdentity(*identity, options_.repo, options_.local_key);
    if (!salt) return {Code::kStale, "it is of another repository, key or version"};
  } else {
    BKFS_ASSIGN(bool empty, rows_->Empty());
    if (!empty) return {Code::kCorrupt, "its identity is missing"};
    salt.emplace(kCacheSalt);
    RandomBytes(*salt);
    RowStore::Batch batch;
    batch.Put(IdentityKey(), EncodeIdentity(options_.repo, options_.local_key, *salt));
    BKFS_TRY(rows_->Write(batch, true));
  }
  records_ = std::make_unique<Records>(options_.local_key, *salt);
  return LoadNumbers();
}

Status RocksIndexCache::LoadNumbers() {
  BKFS_ASSIGN(std::optional<Bytes> counter, rows_->Get(Records::CounterKey()));
  if (counter) {
    BKFS_ASSIGN(reserved_below_, records_->OpenNumber(Records::CounterKey(), *counter));
  }
  next_number_ = reserved_below_;
  const uint32_t below = reserved_below_;
  BKFS_TRY(rows_->ScanKind(Records::PackKey(0), [&](ByteView key, ByteView) -> Result<bool> {
    auto number = Records::NumberOf(key);
    if (!number || *number >= below) {
      return Status(Code::kCorrupt, "a pack has a number that was never given out");
    }
    live_.Add(*number);
    return true;
  }));
  live_.SettleBelow(below);
  return {};
}

Result<uint32_t> RocksIndexCache::NextNumber() {
  if (next_number_ == reserved_below_) {
    if (reserved_below_ > UINT32_MAX - kNumbersAtATime) {
      return Status(Code::kTooLarge, "index cache: no pack numbers are left; delete the cache");
    }
    const uint32_t below = reserved_below_ + kNumbersAtATime;
    RowStore::Batch batch;
    batch.Put(Records::CounterKey(), records_->SealNumber(Records::CounterKey(), below));
    // Synced, because rows that carry these numbers may reach the disk before the log does: after a
    // power cut, no number may be given to a second pack.
    BKFS_TRY(rows_->Write(batch, true));
    reserved_below_ = below;
  }
  return next_number_++;
}

Result<std::optional<uint32_t>> RocksIndexCache::NumberOf(const PackId& id) {
  const Bytes key = records_->PackIdKey(id);
  BKFS_ASSIGN(std::optional<Bytes> sealed, rows_->Get(key));
  if (!sealed) return std::optional<uint32_t>();
  BKFS_ASSIGN(uint32_t number, records_->OpenNumber(key, *sealed));
  if (!live_.Live(number)) return std::optional<uint32_t>();
  return std::optional<uint32_t>(number);
}

// Blob rows go first, the pack's own rows last and together: rows whose pack is not there count for
// nothing, so a crash between two batches leaves no half pack.
Result<uint32_t> RocksIndexCache::Add(const PackId& id, uint64_t size, const PackFooter& footer,
                                      Addition& addition) {
  if (auto it = addition.waiting.find(id); it != addition.waiting.end()) return it->second;
  BKFS_ASSIGN(std::optional<uint32_t> known, NumberOf(id));
  if (known) return *known;
  BKFS_ASSIGN(uint32_t number, NextNumber());
  uint32_t ordinal = 0;
  uint64_t plain = 0;
  for (const PackBlob& blob : footer.blobs) {
    if (blob.frame >= footer.frames.size()) {
      return Status(Code::kCorrupt, "pack " + id.short_hex() + ": a blob without a frame");
    }
    const Bytes key = Records::BlobKey(blob.id, number);
    addition.sealed.clear();
    records_->SealBlob(key, footer.frames[blob.frame], blob, ordinal++, addition.sealed);
    plain += blob.length;
    addition.batch.Put(key, addition.sealed);
    if (addition.batch.bytes() >= kBatchBytes) BKFS_TRY(FinishAdding(addition));
  }
  const Bytes pack_key = Records::PackKey(number);
  const Bytes id_key = records_->PackIdKey(id);
  uint64_t frames_plain = 0;
  for (const PackFrame& frame : footer.frames) frames_plain += frame.plain;
  const CachedPack pack{id,           footer.kind, size,  footer.signer,
                        footer.slots, ordinal,     plain, frames_plain};
  addition.batch.Put(pack_key, records_->SealPack(pack_key, pack));
  addition.batch.Put(id_key, records_->SealNumber(id_key, number));
  addition.waiting.emplace(id, number);
  return number;
}

Status RocksIndexCache::FinishAdding(Addition& addition) {
  BKFS_TRY(rows_->Write(addition.batch));
  for (const auto& [id, number] : addition.waiting) live_.Add(number);
  addition.batch.Clear();
  addition.waiting.clear();
  return {};
}

Result<uint32_t> RocksIndexCache::AddPack(const PackId& id, uint64_t size,
                                          const PackFooter& footer) {
  BKFS_TRY(Ready(true));
  ReaderLock store_lock(store_mutex_);
  BKFS_TRY(CheckOpen());
  MutexLock write_lock(write_mutex_);
  Addition addition;
  Result<uint32_t> number = Add(id, size, footer, addition);
  Status status = number.ok() ? FinishAdding(addition) : number.status();
  live_.SettleBelow(next_number_);  // a number that was given up is dead
  if (!status.ok()) return Checked(status);
  return number;
}

Status RocksIndexCache::AddPacks(const std::vector<NewPack>& packs) {
  BKFS_TRY(Ready(true));
  ReaderLock store_lock(store_mutex_);
  BKFS_TRY(CheckOpen());
  MutexLock write_lock(write_mutex_);
  Addition addition;
  Status status;
  for (const NewPack& pack : packs) {
    status = Add(pack.id, pack.size, pack.footer, addition).status();
    if (!status.ok()) break;
  }
  if (status.ok()) status = FinishAdding(addition);
  live_.SettleBelow(next_number_);
  return Checked(std::move(status));
}

// The rows of its blobs stay until RocksDB next rewrites them; without the pack they count for
// nothing.
Status RocksIndexCache::RemovePack(const PackId& id) {
  BKFS_TRY(Ready(true));
  ReaderLock store_lock(store_mutex_);
  BKFS_TRY(CheckOpen());
  MutexLock write_lock(write_mutex_);
  Result<std::optional<uint32_t>> number = NumberOf(id);
  if (!number.ok()) return Checked(number.status());
  if (!*number) return {};
  RowStore::Batch batch;
  batch.Delete(Records::PackKey(**number));
  batch.Delete(records_->PackIdKey(id));
  BKFS_TRY(Checked(rows_->Write(batch)));
  live_.Remove(**number);
  packs_.Drop(**number);
  return {};
}

Result<IndexCache::Stats> RocksIndexCache::GetStats() {
  Stats stats;
  {
    BKFS_TRY(Ready(false));
    ReaderLock store_lock(store_mutex_);
    BKFS_TRY(CheckOpen());
    stats.packs = live_.Count();
    const uint64_t keys = rows_->EstimateKeys();
    stats.blobs = keys - std::min(keys, 2 * stats.packs + 2);  // identity and counter
  }
  std::error_code error;
  for (std::filesystem::directory_iterator it(StorePath(), error), end; !error && it != end;
       it.increment(error)) {
    std::error_code gone;  // files come and go
    const uint64_t size = it->file_size(gone);
    if (!gone) stats.disk_bytes += size;
  }
  return stats;
}

Status RocksIndexCache::Clear() {
  WriterLock store_lock(store_mutex_);
  MutexLock write_lock(write_mutex_);
  return BeginAnew();
}

Result<std::unique_ptr<IndexCache>> IndexCache::Open(Options options, Logger& log) {
  BKFS_TRY(MakeDirectories(options.directory, 0700));
  BKFS_ASSIGN(UniqueFd lock, LockFolder(options.directory));
  auto cache = std::make_unique<RocksIndexCache>(std::move(options), std::move(lock), log);
  BKFS_TRY(cache->Start());
  return std::unique_ptr<IndexCache>(std::move(cache));
}

}  // namespace bkfs

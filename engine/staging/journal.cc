// SPDX-License-Identifier: Apache-2.0
#include "engine/staging/journal.h"

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include "engine/crypto/aead.h"

namespace bkfs {

namespace {

rocksdb::Slice ToSlice(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
ByteView ToView(const rocksdb::Slice& slice) {
  return {reinterpret_cast<const uint8_t*>(slice.data()), slice.size()};
}

Status FromRocks(const rocksdb::Status& status) {
  if (status.ok()) return {};
  const std::string what = "journal: " + status.ToString();
  if (status.IsNoSpace() || status.subcode() == rocksdb::Status::kNoSpace) {
    return {Code::kNoSpace, what};
  }
  if (status.IsCorruption()) return {Code::kCorrupt, what};
  // A full disk often arrives as a plain I/O error with the system's text in it.
  if (what.find("No space left") != std::string::npos) return {Code::kNoSpace, what};
  return {Code::kIo, what};
}

rocksdb::Options DbOptions(uint64_t memory_bytes) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.write_buffer_size = memory_bytes / 4;
  options.db_write_buffer_size = memory_bytes / 2;
  options.max_open_files = 128;
  options.compression = rocksdb::kNoCompression;  // sealed values do not compress
  options.max_background_jobs = 2;
  options.keep_log_file_num = 1;
  options.max_log_file_size = 1 << 20;
  options.info_log_level = rocksdb::WARN_LEVEL;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(memory_bytes / 2);
  table.cache_index_and_filter_blocks = true;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

}  // namespace

struct Journal::Batch::Rep {
  struct Item {
    enum { kPut, kDelete, kDeleteRange } what;
    Bytes key;
    Bytes value;  // or the end of a range
  };
  std::vector<Item> items;
  size_t bytes = 0;
};

Journal::Batch::Batch() : rep_(std::make_unique<Rep>()) {}
Journal::Batch::~Batch() = default;
Journal::Batch::Batch(Batch&&) noexcept = default;
void Journal::Batch::Put(ByteView key, ByteView value) {
  rep_->items.push_back(
      {Rep::Item::kPut, Bytes(key.begin(), key.end()), Bytes(value.begin(), value.end())});
  rep_->bytes += key.size() + value.size();
}
void Journal::Batch::Delete(ByteView key) {
  rep_->items.push_back({Rep::Item::kDelete, Bytes(key.begin(), key.end()), {}});
  rep_->bytes += key.size();
}
void Journal::Batch::DeleteRange(ByteView begin, ByteView end) {
  rep_->items.push_back(
      {Rep::Item::kDeleteRange, Bytes(begin.begin(), begin.end()), Bytes(end.begin(), end.end())});
}
bool Journal::Batch::empty() const { return rep_->items.empty(); }
size_t Journal::Batch::bytes() const { return rep_->bytes; }

struct Journal::Rep final : public LocalTrees {
  explicit Rep(Secret key) : sealer(std::move(key)) {}
  ~Rep() override {
    for (auto* handle : handles) db->DestroyColumnFamilyHandle(handle);
  }

  Result<std::optional<Bytes>> Load(rocksdb::ColumnFamilyHandle* family, ByteView key) const {
    rocksdb::PinnableSlice raw;
    auto status = db->Get({}, family, ToSlice(key), &raw);
    if (status.IsNotFound()) return std::optional<Bytes>();
    BKFS_TRY(FromRocks(status));
    auto opened = sealer.Open(key, ToView(raw));
    if (!opened.ok()) return opened.status().WithContext("journal");
    return std::optional<Bytes>(std::move(opened).value());
  }
  Status Apply(rocksdb::WriteBatch& batch) {
    auto status = db->Write({}, &batch);
    if (status.ok()) return {};
    // RocksDB stops after a background error; with room again it can go on.
    if (db->Resume().ok()) status = db->Write({}, &batch);
    return FromRocks(status);
  }

  // LocalTrees.
  Result<std::optional<Bytes>> Get(const BlobId& id) override {
    return Load(handles[1], id.view());
  }
  Status Put(const BlobId& id, ByteView blob) override {
    Bytes sealed;
    sealer.Seal(id.view(), blob, sealed);
    rocksdb::WriteBatch batch;
    BKFS_TRY(FromRocks(batch.Put(handles[1], ToSlice(id.view()), ToSlice(sealed))));
    return Apply(batch);
  }

  LocalSealer sealer;
  std::unique_ptr<rocksdb::DB> db;
  std::vector<rocksdb::ColumnFamilyHandle*> handles;  // nodes, trees
};

Journal::Journal(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}
Journal::~Journal() = default;

Result<std::unique_ptr<Journal>> Journal::Open(const std::string& directory, Secret key,
                                               uint64_t memory_bytes, Logger& log) try {
  const rocksdb::Options options = DbOptions(memory_bytes);
  std::vector<rocksdb::ColumnFamilyDescriptor> families{
      {rocksdb::kDefaultColumnFamilyName, options}, {"trees", options}};
  auto rep = std::make_unique<Rep>(std::move(key));
  rocksdb::DB* db = nullptr;
  auto status = rocksdb::DB::Open(options, directory, families, &rep->handles, &db);
  rep->db.reset(db);
  if (!status.ok()) {
    log.Error("journal " + directory + ": " + status.ToString());
    return FromRocks(status).WithContext(directory);
  }
  return std::unique_ptr<Journal>(new Journal(std::move(rep)));
} catch (const std::exception& error) {
  return Status(Code::kIo, "journal " + directory + ": " + error.what());
}

Status Journal::Write(Batch& batch) {
  rocksdb::WriteBatch out;
  Bytes sealed;
  for (const auto& item : batch.rep_->items) {
    rocksdb::Status status;
    if (item.what == Batch::Rep::Item::kPut) {
      sealed.clear();
      rep_->sealer.Seal(item.key, item.value, sealed);
      status = out.Put(rep_->handles[0], ToSlice(item.key), ToSlice(sealed));
    } else if (item.what == Batch::Rep::Item::kDelete) {
      status = out.Delete(rep_->handles[0], ToSlice(item.key));
    } else {
      status = out.DeleteRange(rep_->handles[0], ToSlice(item.key), ToSlice(item.value));
    }
    BKFS_TRY(FromRocks(status));
  }
  BKFS_TRY(rep_->Apply(out));
  batch.rep_->items.clear();
  batch.rep_->bytes = 0;
  return {};
}

Result<std::optional<Bytes>> Journal::Get(ByteView key) const {
  return rep_->Load(rep_->handles[0], key);
}

Status Journal::Scan(ByteView prefix, ByteView from, const Visitor& visit) const {
  std::unique_ptr<rocksdb::Iterator> it(rep_->db->NewIterator({}, rep_->handles[0]));
  for (it->Seek(ToSlice(from.empty() ? prefix : from)); it->Valid(); it->Next()) {
    if (!it->key().starts_with(ToSlice(prefix))) break;
    auto value = rep_->sealer.Open(ToView(it->key()), ToView(it->value()));
    if (!value.ok()) return value.status().WithContext("journal");
    BKFS_ASSIGN(bool more, visit(ToView(it->key()), *value));
    if (!more) return {};
  }
  return FromRocks(it->status());
}

Status Journal::Sync() { return FromRocks(rep_->db->SyncWAL()); }

LocalTrees& Journal::trees() { return *rep_; }

Status Journal::SweepTrees(const std::function<bool(const BlobId&)>& keep) {
  std::unique_ptr<rocksdb::Iterator> it(rep_->db->NewIterator({}, rep_->handles[1]));
  rocksdb::WriteBatch batch;
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    auto id = BlobId::FromBytes(ToView(it->key()));
    if (id.ok() && keep(*id)) continue;
    BKFS_TRY(FromRocks(batch.Delete(rep_->handles[1], it->key())));
    if (batch.Count() < 1000) continue;
    BKFS_TRY(rep_->Apply(batch));
    batch.Clear();
  }
  BKFS_TRY(FromRocks(it->status()));
  return rep_->Apply(batch);
}

Result<uint64_t> Journal::CountTrees() const {
  uint64_t count = 0;
  if (!rep_->db->GetIntProperty(rep_->handles[1], rocksdb::DB::Properties::kEstimateNumKeys,
                                &count)) {
    return uint64_t{0};
  }
  return count;
}

}  // namespace bkfs

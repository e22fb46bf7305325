// SPDX-License-Identifier: Apache-2.0
#include "engine/cache/row_store.h"

#include <rocksdb/cache.h>
#include <rocksdb/compaction_filter.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <rocksdb/write_buffer_manager.h>

#include <algorithm>
#include <utility>

#include "engine/base/mutex.h"
#include "engine/cache/rocks_bridge.h"

namespace bkfs {

using rocks::ToSlice;
using rocks::ToView;

namespace {
constexpr int kOpenFiles = 256;
constexpr double kBloomBitsPerKey = 10;

constexpr const char* kWhat = "index cache";

Status FromRocks(const rocksdb::Status& status) { return rocks::ToStatus(status, kWhat); }
template <typename Body>
auto Guarded(const Body& body) {
  return rocks::Guarded(kWhat, body);
}

class UselessFilter final : public rocksdb::CompactionFilter {
 public:
  explicit UselessFilter(RowStore::Useless useless) : useless_(std::move(useless)) {}
  const char* Name() const override { return "bkfs.useless"; }
  bool Filter(int, const rocksdb::Slice& key, const rocksdb::Slice&, std::string*,
              bool*) const override {
    return useless_(ToView(key));
  }

 private:
  const RowStore::Useless useless_;
};

rocksdb::BlockBasedTableOptions TableOptions(std::shared_ptr<rocksdb::Cache> cache) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = std::move(cache);
  // Filters and indexes are cut into blocks that live in the cache like any other, so that memory
  // does not grow with the number of blobs.
  table.cache_index_and_filter_blocks = true;
  table.cache_index_and_filter_blocks_with_high_priority = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  table.pin_top_level_index_and_filter = true;
  table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
  table.partition_filters = true;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kBloomBitsPerKey));
  table.optimize_filters_for_memory = true;
  table.whole_key_filtering = false;  // lookups know a blob's id, not the pack number after it
  table.format_version = 5;
  return table;
}

// Cache and write buffers draw on one budget: the buffers' memory is charged to the cache.
rocksdb::Options StoreOptions(uint64_t memory_bytes, const rocksdb::CompactionFilter* filter) {
  const size_t memory = std::max<uint64_t>(memory_bytes, 4 << 20);
  std::shared_ptr<rocksdb::Cache> cache = rocksdb::NewLRUCache(memory, 4);
  rocksdb::Options options;
  options.create_if_missing = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(TableOptions(cache)));
  options.prefix_extractor.reset(rocksdb::NewFixedPrefixTransform(RowStore::kPrefix));
  options.memtable_prefix_bloom_size_ratio = 0.05;
  // It must not stall writers: one that is stalled while the disk is full would wait for ever for
  // the recovery that waits for it. What bounds the buffers in any case is their number.
  options.write_buffer_manager =
      std::make_shared<rocksdb::WriteBufferManager>(memory / 4, std::move(cache), false);
  options.write_buffer_size = memory / 8;
  options.max_write_buffer_number = 3;
  options.level_compaction_dynamic_level_bytes = true;
  options.compaction_filter = filter;
  options.compression = rocksdb::kNoCompression;  // hashes and sealed values
  options.max_open_files = kOpenFiles;
  options.max_background_jobs = 2;
  options.max_file_opening_threads = 2;
  options.compaction_readahead_size = 1 << 20;
  options.writable_file_max_buffer_size = 256 << 10;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.info_log = std::make_shared<rocks::SilentLogger>();
  return options;
}
}  // namespace

struct RowStore::Batch::Rep {
  rocksdb::WriteBatch batch;
};

struct RowStore::Rep {
  std::unique_ptr<UselessFilter> filter;  // outlives `db`, whose threads call it
  std::unique_ptr<rocksdb::DB> db;
  Mutex mutex;  // held over each write
  Status failure BKFS_GUARDED_BY(mutex);
};

RowStore::Batch::Batch() : rep_(std::make_unique<Rep>()) {}
RowStore::Batch::~Batch() = default;
void RowStore::Batch::Put(ByteView key, ByteView value) {
  // Fails only for a batch with a size limit, which this has not.
  BKFS_CHECK(rep_->batch.Put(ToSlice(key), ToSlice(value)).ok());
}
void RowStore::Batch::Delete(ByteView key) { BKFS_CHECK(rep_->batch.Delete(ToSlice(key)).ok()); }
size_t RowStore::Batch::bytes() const { return rep_->batch.GetDataSize(); }
void RowStore::Batch::Clear() { rep_->batch.Clear(); }

RowStore::RowStore(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}
RowStore::~RowStore() = default;

Result<std::unique_ptr<RowStore>> RowStore::Open(const std::string& path, uint64_t memory_bytes,
                                                 Useless useless) {
  return Guarded([&]() -> Result<std::unique_ptr<RowStore>> {
    auto rep = std::make_unique<Rep>();
    rep->filter = std::make_unique<UselessFilter>(std::move(useless));
    rocksdb::DB* db = nullptr;
    BKFS_TRY(
        FromRocks(rocksdb::DB::Open(StoreOptions(memory_bytes, rep->filter.get()), path, &db)));
    rep->db.reset(db);
    return std::unique_ptr<RowStore>(new RowStore(std::move(rep)));
  });
}

Result<std::unique_ptr<RowStore>> RowStore::OpenForReading(const std::string& path,
                                                           uint64_t memory_bytes, Status why) {
  return Guarded([&]() -> Result<std::unique_ptr<RowStore>> {
    auto rep = std::make_unique<Rep>();
    rocksdb::DB* db = nullptr;
    BKFS_TRY(
        FromRocks(rocksdb::DB::OpenForReadOnly(StoreOptions(memory_bytes, nullptr), path, &db)));
    rep->db.reset(db);
    {
      MutexLock lock(rep->mutex);
      rep->failure = std::move(why);
    }
    return std::unique_ptr<RowStore>(new RowStore(std::move(rep)));
  });
}

Result<std::optional<Bytes>> RowStore::Get(ByteView key) {
  return Guarded([&]() -> Result<std::optional<Bytes>> {
    rocksdb::PinnableSlice value;
    rocksdb::Status status = rep_->db->Get(rocksdb::ReadOptions(), rep_->db->DefaultColumnFamily(),
                                           ToSlice(key), &value);
    if (status.IsNotFound()) return std::optional<Bytes>();
    BKFS_TRY(FromRocks(status));
    ByteView view = ToView(value);
    return std::optional<Bytes>(Bytes(view.begin(), view.end()));
  });
}

// One at a time, and none after one that failed: what follows a log record that could not be
// written is answered by some builds of RocksDB (Debian's among them) with a failed assertion, once
// its own recovery from a full disk has forgotten the error and kept the log.
Status RowStore::Write(Batch& batch, bool sync) {
  MutexLock lock(rep_->mutex);
  if (!rep_->failure.ok()) return rep_->failure;
  rep_->failure = Guarded([&]() -> Status {
    rocksdb::WriteOptions options;
    options.sync = sync;
    return FromRocks(rep_->db->Write(options, &batch.rep_->batch));
  });
  return rep_->failure;
}

bool RowStore::Failed() const {
  MutexLock lock(rep_->mutex);
  return !rep_->failure.ok();
}

namespace {
Status Scan(rocksdb::DB& db, const rocksdb::ReadOptions& options, ByteView from, size_t same,
            const RowStore::Visit& visit) {
  std::unique_ptr<rocksdb::Iterator> it(db.NewIterator(options));
  const rocksdb::Slice prefix = ToSlice(from.first(same));
  for (it->Seek(ToSlice(from)); it->Valid() && it->key().starts_with(prefix); it->Next()) {
    BKFS_ASSIGN(bool more, visit(ToView(it->key()), ToView(it->value())));
    if (!more) return {};
  }
  return FromRocks(it->status());
}
}  // namespace

Status RowStore::ScanPrefix(ByteView prefix, const Visit& visit) {
  BKFS_CHECK(prefix.size() == kPrefix);
  return Guarded([&] {
    rocksdb::ReadOptions options;
    options.prefix_same_as_start = true;
    return Scan(*rep_->db, options, prefix, prefix.size(), visit);
  });
}

Status RowStore::ScanKind(ByteView from, const Visit& visit) {
  return Guarded([&] {
    rocksdb::ReadOptions options;
    options.total_order_seek = true;
    options.fill_cache = false;  // a scan of everything must not push out what lookups need
    options.readahead_size = 1 << 20;
    return Scan(*rep_->db, options, from, 1, visit);
  });
}

Result<bool> RowStore::Empty() {
  return Guarded([&]() -> Result<bool> {
    rocksdb::ReadOptions options;
    options.total_order_seek = true;
    std::unique_ptr<rocksdb::Iterator> it(rep_->db->NewIterator(options));
    it->SeekToFirst();
    BKFS_TRY(FromRocks(it->status()));
    return !it->Valid();
  });
}

uint64_t RowStore::EstimateKeys() {
  uint64_t keys = 0;
  rep_->db->GetIntProperty(rocksdb::DB::Properties::kEstimateNumKeys, &keys);
  return keys;
}

}  // namespace bkfs

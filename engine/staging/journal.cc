// SPDX-License-Identifier: Apache-2.0
#include "engine/staging/journal.h"

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <chrono>
#include <thread>
#include <vector>

#include "engine/base/fd.h"
#include "engine/base/mutex.h"
#include "engine/cache/rocks_bridge.h"
#include "engine/crypto/aead.h"

namespace bkfs {

using rocks::ToSlice;
using rocks::ToView;

namespace {

constexpr const char* kWhat = "journal";

Status FromRocks(const rocksdb::Status& status) { return rocks::ToStatus(status, kWhat); }
template <typename Body>
auto Guarded(const Body& body) {
  return rocks::Guarded(kWhat, body);
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
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.info_log = std::make_shared<rocks::SilentLogger>();
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(memory_bytes / 2);
  table.cache_index_and_filter_blocks = true;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

// The open database.
struct Database {
  ~Database() {
    for (auto* handle : handles) db->DestroyColumnFamilyHandle(handle);
  }
  rocksdb::ColumnFamilyHandle* nodes() const { return handles[0]; }
  rocksdb::ColumnFamilyHandle* trees() const { return handles[1]; }

  std::unique_ptr<rocksdb::DB> db;
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
};
// Shared by the operations at work, and closed when the last of them is done with it.
using DatabasePtr = std::shared_ptr<Database>;

Result<DatabasePtr> OpenDatabase(const std::string& directory, uint64_t memory_bytes) {
  return Guarded([&]() -> Result<DatabasePtr> {
    const rocksdb::Options options = DbOptions(memory_bytes);
    const std::vector<rocksdb::ColumnFamilyDescriptor> families{
        {rocksdb::kDefaultColumnFamilyName, options}, {"trees", options}};
    auto store = std::make_shared<Database>();
    rocksdb::DB* db = nullptr;
    BKFS_TRY(FromRocks(rocksdb::DB::Open(options, directory, families, &store->handles, &db)));
    store->db.reset(db);
    return store;
  });
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

// Lock order: write_mutex, then mutex.
struct Journal::Rep final : public LocalTrees {
  Rep(std::string folder, Secret key, uint64_t memory)
      : directory(std::move(folder)), memory_bytes(memory), sealer(std::move(key)) {}

  // Opens the database if the last attempt to do so again failed.
  Result<DatabasePtr> Use() BKFS_EXCLUDES(mutex) {
    MutexLock lock(mutex);
    if (!store) {
      BKFS_ASSIGN(store, OpenDatabase(directory, memory_bytes));
    }
    return store;
  }

  // After a failed write the database is closed and opened anew once there is room. What is
  // written behind a log record that failed, some builds of RocksDB answer with a failed assertion.
  Status Recover() BKFS_REQUIRES(write_mutex) BKFS_EXCLUDES(mutex) {
    BKFS_TRY(CheckRoom(directory, memory_bytes / 2 + (1 << 20), "the journal"));
    MutexLock lock(mutex);
    // Nobody begins anything while the mutex is held. What does not end soon belongs to a caller
    // that writes while it scans: it is told of the failure.
    constexpr int kPatience = 50;
    for (int i = 0; store && store.use_count() > 1; ++i) {
      if (i == kPatience) return failure;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    store.reset();
    BKFS_ASSIGN(store, OpenDatabase(directory, memory_bytes));
    failure = {};
    return {};
  }

  // One at a time; `fill` puts what is to be written into the batch.
  template <typename Fill>
  Status Write(const Fill& fill) BKFS_EXCLUDES(write_mutex, mutex) {
    MutexLock lock(write_mutex);
    if (!failure.ok()) BKFS_TRY(Recover());
    BKFS_ASSIGN(const DatabasePtr at, Use());
    rocksdb::WriteBatch batch;
    BKFS_TRY(Guarded([&] { return FromRocks(fill(*at, batch)); }));
    failure = Guarded([&] { return FromRocks(at->db->Write({}, &batch)); });
    return failure;
  }

  // `family` says which part.
  Result<std::optional<Bytes>> Load(rocksdb::ColumnFamilyHandle* (Database::*family)() const,
                                    ByteView key) {
    BKFS_ASSIGN(const DatabasePtr at, Use());
    return Guarded([&]() -> Result<std::optional<Bytes>> {
      rocksdb::PinnableSlice raw;
      const auto status = at->db->Get({}, ((*at).*family)(), ToSlice(key), &raw);
      if (status.IsNotFound()) return std::optional<Bytes>();
      BKFS_TRY(FromRocks(status));
      auto opened = sealer.Open(key, ToView(raw));
      if (!opened.ok()) return opened.status().WithContext(kWhat);
      return std::optional<Bytes>(std::move(opened).value());
    });
  }

  // LocalTrees.
  Result<std::optional<Bytes>> Get(const BlobId& id) override {
    return Load(&Database::trees, id.view());
  }
  Status Put(const BlobId& id, ByteView blob) override {
    Bytes sealed;
    sealer.Seal(id.view(), blob, sealed);
    return Write([&](Database& at, rocksdb::WriteBatch& batch) {
      return batch.Put(at.trees(), ToSlice(id.view()), ToSlice(sealed));
    });
  }

  const std::string directory;
  const uint64_t memory_bytes;
  LocalSealer sealer;
  Mutex write_mutex;
  Status failure BKFS_GUARDED_BY(write_mutex);  // of the last write
  Mutex mutex;
  DatabasePtr store BKFS_GUARDED_BY(mutex);  // null: it could not be opened again
};

Journal::Journal(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}
Journal::~Journal() = default;

Result<std::unique_ptr<Journal>> Journal::Open(const std::string& directory, Secret key,
                                               uint64_t memory_bytes, Logger& log) {
  auto rep = std::make_unique<Rep>(directory, std::move(key), memory_bytes);
  auto opened = rep->Use();
  if (!opened.ok()) {
    log.Error("journal " + directory + ": " + opened.status().message());
    return opened.status().WithContext(directory);
  }
  return std::unique_ptr<Journal>(new Journal(std::move(rep)));
}

Status Journal::Write(Batch& batch) {
  Bytes sealed;
  BKFS_TRY(rep_->Write([&](Database& at, rocksdb::WriteBatch& out) {
    rocksdb::Status status;
    for (const auto& item : batch.rep_->items) {
      if (item.what == Batch::Rep::Item::kPut) {
        sealed.clear();
        rep_->sealer.Seal(item.key, item.value, sealed);
        status = out.Put(at.nodes(), ToSlice(item.key), ToSlice(sealed));
      } else if (item.what == Batch::Rep::Item::kDelete) {
        status = out.Delete(at.nodes(), ToSlice(item.key));
      } else {
        status = out.DeleteRange(at.nodes(), ToSlice(item.key), ToSlice(item.value));
      }
      if (!status.ok()) break;
    }
    return status;
  }));
  batch.rep_->items.clear();
  batch.rep_->bytes = 0;
  return {};
}

Result<std::optional<Bytes>> Journal::Get(ByteView key) const {
  return rep_->Load(&Database::nodes, key);
}

Status Journal::Scan(ByteView prefix, ByteView from, const Visitor& visit) const {
  BKFS_ASSIGN(const DatabasePtr at, rep_->Use());
  return Guarded([&]() -> Status {
    std::unique_ptr<rocksdb::Iterator> it(at->db->NewIterator({}, at->nodes()));
    for (it->Seek(ToSlice(from.empty() ? prefix : from)); it->Valid(); it->Next()) {
      if (!it->key().starts_with(ToSlice(prefix))) break;
      auto value = rep_->sealer.Open(ToView(it->key()), ToView(it->value()));
      if (!value.ok()) return value.status().WithContext(kWhat);
      BKFS_ASSIGN(bool more, visit(ToView(it->key()), *value));
      if (!more) return {};
    }
    return FromRocks(it->status());
  });
}

// What could not be synced may be lost although a later sync succeeds (fsync(2) tells an error
// once): it counts as a failed write, after which everything is read back from the disk.
Status Journal::Sync() {
  {
    MutexLock lock(rep_->write_mutex);
    if (!rep_->failure.ok()) BKFS_TRY(rep_->Recover());
  }
  BKFS_ASSIGN(const DatabasePtr at, rep_->Use());
  Status synced = Guarded([&] { return FromRocks(at->db->SyncWAL()); });
  if (!synced.ok()) {
    MutexLock lock(rep_->write_mutex);
    rep_->failure = synced;
  }
  return synced;
}

LocalTrees& Journal::trees() { return *rep_; }

Status Journal::SweepTrees(const std::function<bool(const BlobId&)>& keep) {
  constexpr size_t kAtOnce = 1000;
  std::vector<BlobId> useless;
  auto forget = [&] {
    return rep_->Write([&](Database& at, rocksdb::WriteBatch& batch) {
      rocksdb::Status status;
      for (const BlobId& id : useless) {
        if (status.ok()) status = batch.Delete(at.trees(), ToSlice(id.view()));
      }
      useless.clear();
      return status;
    });
  };
  BKFS_ASSIGN(const DatabasePtr at, rep_->Use());
  BKFS_TRY(Guarded([&]() -> Status {
    std::unique_ptr<rocksdb::Iterator> it(at->db->NewIterator({}, at->trees()));
    for (it->SeekToFirst(); it->Valid(); it->Next()) {
      auto id = BlobId::FromBytes(ToView(it->key()));
      if (!id.ok() || keep(*id)) continue;
      useless.push_back(*id);
      if (useless.size() == kAtOnce) BKFS_TRY(forget());
    }
    return FromRocks(it->status());
  }));
  return forget();
}

Result<uint64_t> Journal::CountTrees() const {
  BKFS_ASSIGN(const DatabasePtr at, rep_->Use());
  uint64_t count = 0;
  if (!at->db->GetIntProperty(at->trees(), rocksdb::DB::Properties::kEstimateNumKeys, &count)) {
    return uint64_t{0};
  }
  return count;
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/base/fd.h"
#include "engine/base/mutex.h"
#include "engine/cache/index_cache.h"
#include "engine/cache/live_numbers.h"
#include "engine/cache/pack_memory.h"
#include "engine/cache/records.h"
#include "engine/cache/row_store.h"

namespace bkfs {

// Lock order: store_mutex_, then write_mutex_, then those of LiveNumbers and PackMemory.
class RocksIndexCache final : public IndexCache {
 public:
  RocksIndexCache(Options options, UniqueFd lock, Logger& log)
      : options_(std::move(options)),
        lock_(std::move(lock)),
        log_(log),
        packs_(options_.memory_bytes / 16) {}

  // Opens what is there, or empties it and begins anew.
  Status Start() BKFS_EXCLUDES(store_mutex_, write_mutex_);

  Result<uint32_t> AddPack(const PackId& id, uint64_t size, const PackFooter& footer) override;
  Status AddPacks(const std::vector<NewPack>& packs) override;
  Status RemovePack(const PackId& id) override;
  Result<std::optional<BlobLocation>> Find(const BlobId& id) override;
  Result<std::vector<BlobLocation>> FindAll(const BlobId& id) override;
  Result<CachedPack> Pack(uint32_t number) override;
  Result<std::optional<uint32_t>> FindPack(const PackId& id) override;
  Status ForEachPack(const std::function<Status(uint32_t, const CachedPack&)>& visit) override;
  Result<std::vector<IndexId>> Segments() override;
  Status MarkSegment(const IndexId& id, const std::vector<PackId>& packs) override;
  Result<std::vector<PackId>> SegmentPacks(const IndexId& id) override;
  Status UnmarkSegment(const IndexId& id) override;
  Result<std::optional<Bytes>> GetNote(std::string_view name) override;
  Status PutNote(std::string_view name, ByteView value) override;
  Result<Stats> GetStats() override;
  Status Clear() override;

 private:
  struct NumberedPack {
    uint32_t number;
    CachedPack pack;
  };
  // The packs of one AddPack or AddPacks whose last rows still wait in the batch.
  struct Addition {
    RowStore::Batch batch;
    std::unordered_map<PackId, uint32_t, IdHash> waiting;
    Bytes sealed;  // reused for each blob
  };

  std::string StorePath() const { return options_.directory + "/db"; }
  std::string DamageMark() const { return options_.directory + "/damaged"; }
  // Passes a status on; notes that the next Open must begin anew if it says that rows are damaged.
  Status Checked(Status status) const;

  // `full`: why nothing can be written; OK where it can.
  Status OpenRows(const Status& full = {}) BKFS_REQUIRES(store_mutex_, write_mutex_);
  Status LoadNumbers() BKFS_REQUIRES(store_mutex_, write_mutex_);
  Status BeginAnew() BKFS_REQUIRES(store_mutex_, write_mutex_);
  void CloseRows() BKFS_REQUIRES(store_mutex_, write_mutex_);
  Status CheckOpen() const BKFS_REQUIRES_SHARED(store_mutex_);
  // At the beginning of each operation: opens the rows anew after a write failed, if there is room
  // again. What only reads goes on with rows that take no writes.
  Status Ready(bool to_write) BKFS_EXCLUDES(store_mutex_, write_mutex_);

  Result<uint32_t> NextNumber() BKFS_REQUIRES_SHARED(store_mutex_) BKFS_REQUIRES(write_mutex_);
  Result<uint32_t> Add(const PackId& id, uint64_t size, const PackFooter& footer,
                       Addition& addition) BKFS_REQUIRES_SHARED(store_mutex_)
      BKFS_REQUIRES(write_mutex_);
  Status FinishAdding(Addition& addition) BKFS_REQUIRES_SHARED(store_mutex_)
      BKFS_REQUIRES(write_mutex_);
  Result<std::optional<uint32_t>> NumberOf(const PackId& id) BKFS_REQUIRES_SHARED(store_mutex_);
  Result<CachedPack> ReadPack(uint32_t number) BKFS_REQUIRES_SHARED(store_mutex_);
  Result<std::vector<NumberedPack>> PageOfPacks(uint32_t from) BKFS_EXCLUDES(store_mutex_);
  Status FindPlaces(const BlobId& id, const std::function<bool(const BlobLocation&)>& visit)
      BKFS_EXCLUDES(store_mutex_);
  Status WriteRow(ByteView key, ByteView value) BKFS_REQUIRES_SHARED(store_mutex_);

  const Options options_;
  const UniqueFd lock_;  // flock on <directory>/lock: one process at a time
  Logger& log_;
  LiveNumbers live_;
  PackMemory packs_;

  SharedMutex store_mutex_;  // shared by all that use the rows; alone while they are emptied
  std::unique_ptr<RowStore> rows_ BKFS_GUARDED_BY(store_mutex_);
  std::unique_ptr<Records> records_ BKFS_GUARDED_BY(store_mutex_);

  Mutex write_mutex_;  // one at a time gives out pack numbers
  uint32_t next_number_ BKFS_GUARDED_BY(write_mutex_) = 0;
  uint32_t reserved_below_ BKFS_GUARDED_BY(write_mutex_) = 0;
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "engine/base/clock.h"
#include "engine/base/thread_pool.h"
#include "engine/cache/index_cache.h"
#include "engine/format/keyfile.h"
#include "engine/repo/backend.h"
#include "engine/repo/blob_reader.h"
#include "engine/repo/epochs.h"
#include "engine/repo/key_directory.h"
#include "engine/repo/maintenance_log.h"
#include "engine/repo/pack_spool.h"

namespace bkfs {

// Whose packs a writer may rely on instead of storing a blob again (doc/threat-model.md).
enum class DedupPolicy {
  kOwn,      // this key's and the master's
  kTrusted,  // also those of keys that can read what they write (ReadWrite)
  kAll,
};
Result<DedupPolicy> ParseDedupPolicy(std::string_view word);  // own|trusted|all

struct WriterOptions {
  uint32_t contents_frame = 512 << 10;  // plaintext bytes per frame, about
  uint32_t trees_frame = 256 << 10;
  uint64_t segment_target = 32ULL << 20;  // bytes of footers per index segment, about
  uint64_t pack_target = 32ULL << 20;     // bytes per pack, about; the list of its blobs counts
  int level = 3;                          // zstd
  size_t threads = 2;                     // compress and seal
  size_t upload_threads = 2;
  size_t packs_in_flight = 6;  // complete packs waiting for the store; beyond, Add waits
  DedupPolicy dedup = DedupPolicy::kOwn;
  // true: a pack the store refuses is kept and tried again until it is stored or the writer ends;
  // meanwhile Flush returns the store's error, and so does Add, but for a store that is away or
  // lets us in no more: then Add goes on until there are packs_in_flight, and from then on waits
  // for the one and fails with the other. false: the first error is final.
  bool keep_trying = false;
};

struct WriterStats {
  uint64_t blobs_new = 0;
  uint64_t blobs_known = 0;
  uint64_t bytes_new = 0;  // plaintext of new blobs
  uint64_t bytes_known = 0;
  uint64_t bytes_stored = 0;   // sealed bytes put into the store
  uint64_t bytes_pending = 0;  // accepted (plaintext), not in the store yet
};

// Stores blobs: id, index lookup, frames, packs, upload. Add may be called from many threads.
//
// Order of promises: when Add returns, the blob is in memory; after Protect it survives kill -9 (if
// the spool is on disk); after Sync a power cut; after Flush it is in the store and in the index.
class BlobWriter final : public PendingBlobs {
 public:
  // References must outlive it.
  struct Context {
    Backend& store;
    IndexCache& index;
    KeyDirectory& keys;
    const KeyMaterial& key;
    Epochs& epochs;
    const RepoHeader& header;
    Logger& log;
    Clock& clock;
  };
  BlobWriter(const Context& context, std::unique_ptr<PackSpool> spool, WriterOptions options);
  // Stops without storing what is pending; a spool on disk keeps it.
  ~BlobWriter() override;

  // Stores `data` unless it is known. At most 16 MiB.
  Result<BlobId> Add(PackKind kind, ByteView data);
  // Whether what refers to the blob already may go on doing so: it is pending, or stored where it
  // will not be deleted (for condemned packs: if they are held, see Heed).
  Result<bool> Has(PackKind kind, const BlobId& id);
  bool IsPending(PackKind kind, const BlobId& id);
  // From its return on, a blob whose copies are in condemned packs counts as absent for Add.
  // Returns the condemned packs that Add and Has have relied on before, or that this writer has
  // made: what its lease pins (doc/maintenance.md, W3). `held`: condemned packs that a lease of
  // ours has pinned all the time, or may rely on, for Has alone.
  std::vector<PackId> Heed(std::shared_ptr<const CondemnedPacks> condemned,
                           std::unordered_set<PackId, IdHash> held = {})
      BKFS_EXCLUDES(decide_mutex_, used_mutex_);
  // Everything that was relied on is in snapshots now.
  void ForgetUsed() BKFS_EXCLUDES(used_mutex_);
  Status Protect();
  Status Sync();
  // Closes frames and packs, waits for the store, and puts an index segment.
  Status Flush();
  // Forgets the store's last error and tries what waits for it again at once (keep_trying).
  void TryAgain();
  // Takes over packs and blobs that an earlier process left in the spool.
  // (`key` is the pack's data key, for reading it back until it is stored).
  Status AdoptComplete(std::unique_ptr<SpooledPack> pack, const SignedFooter& footer, Secret key);
  // The same for a pack without its end: gives it one.
  Status AdoptFrames(std::unique_ptr<SpooledPack> pack, PackKind kind, const PackSlot& slot,
                     Secret key, std::vector<PackFrame> frames, std::vector<PackBlob> blobs);
  Status AdoptStored(const IndexedPack& pack);

  Result<std::optional<BlobData>> ReadPending(PackKind kind, const BlobId& id) override;
  WriterStats stats() const;
  // The store's last error while packs wait for it (keep_trying), or the final error; OK otherwise.
  Status health();

 private:
  struct OpenFrame;
  struct TravellingPack;
  struct PendingBlob {
    std::shared_ptr<OpenFrame> frame;      // until the frame is in the spool
    std::shared_ptr<TravellingPack> pack;  // from then on
    PackFrame place;
    uint32_t offset = 0;
    uint32_t length = 0;
  };
  using PendingMap = std::unordered_map<BlobId, PendingBlob, IdHash>;

  static size_t Slot(PackKind kind) { return kind == PackKind::kContents ? 0 : 1; }
  BlobId MakeId(PackKind kind, ByteView data) const;
  bool Trusts(const KeyId& writer);
  enum class Purpose { kReuse, kKeep };  // of something new, or of what refers to it already
  Result<bool> IsStored(PackKind kind, const BlobId& id, Purpose purpose)
      BKFS_EXCLUDES(decide_mutex_);
  bool IsGivenUp(const PackId& pack) BKFS_EXCLUDES(decide_mutex_);
  bool IsDoomed(const PackId& pack) BKFS_EXCLUDES(decide_mutex_);
  bool MayRelyOn(const PackId& pack, Purpose purpose) BKFS_REQUIRES_SHARED(decide_mutex_);
  void NoteUsed(const PackId& pack) BKFS_EXCLUDES(used_mutex_);
  Status WaitForRoom() BKFS_REQUIRES(mutex_);
  Status WaitForChange() BKFS_REQUIRES(mutex_);
  bool IsStopping() BKFS_EXCLUDES(mutex_);
  std::shared_ptr<OpenFrame> AppendToFrame(PackKind kind, const BlobId& id, ByteView data)
      BKFS_REQUIRES(mutex_);
  std::shared_ptr<OpenFrame> TakeFrame(PackKind kind) BKFS_REQUIRES(mutex_);
  void Submit(std::shared_ptr<OpenFrame> frame) BKFS_EXCLUDES(mutex_);
  void SealFrame(const std::shared_ptr<OpenFrame>& frame);
  Status PlaceAndPublish(OpenFrame& frame, ByteView inner);
  Status FinishOpenPack(size_t slot);
  void PublishAdopted(std::shared_ptr<TravellingPack> pack) BKFS_EXCLUDES(mutex_);
  Status PlaceFrame(OpenFrame& frame, ByteView inner, std::shared_ptr<TravellingPack>& pack,
                    PackFrame& place);
  Result<std::shared_ptr<TravellingPack>> NewPack(PackKind kind);
  Status FinishPack(const std::shared_ptr<TravellingPack>& pack);
  void QueueUpload(std::shared_ptr<TravellingPack> pack) BKFS_EXCLUDES(mutex_);
  void Upload(const std::shared_ptr<TravellingPack>& pack);
  Status StoreOnce(TravellingPack& pack);
  Status Put(TravellingPack& pack);
  Status GiveNewName(TravellingPack& pack);
  bool HasSoundEnd(TravellingPack& pack);
  void Settle(TravellingPack& pack) BKFS_EXCLUDES(mutex_);
  bool WaitToRetry(const Status& why, int attempt) BKFS_EXCLUDES(mutex_);
  Status WaitForFrames() BKFS_EXCLUDES(mutex_);
  Status WaitForUploads() BKFS_EXCLUDES(mutex_);
  bool IsFull(const TravellingPack& pack) const;
  Status PutSegments() BKFS_EXCLUDES(segment_mutex_);
  Status PutSegment(const IndexSegment& segment) BKFS_REQUIRES(segment_mutex_);
  void Fail(const Status& status) BKFS_EXCLUDES(mutex_);
  Status CurrentError() BKFS_REQUIRES(mutex_);

  const Context context_;
  const WriterOptions options_;
  const std::unique_ptr<PackSpool> spool_;
  const Secret tree_id_key_;
  const KeyId self_;

  // Lock order: a place_mutex_, then mutex_, then a TravellingPack's. A place_mutex_ is held over
  // sealing and the spool's append, so that one kind's frames follow each other into one pack;
  // mutex_ over no I/O but FrameGuard::Protect; segment_mutex_ alone, over the store's put.
  std::array<Mutex, 2> place_mutex_;
  std::array<std::shared_ptr<TravellingPack>, 2> open_pack_;  // each under its place_mutex_
  Mutex mutex_;
  CondVar changed_;
  std::array<std::shared_ptr<OpenFrame>, 2> frames_ BKFS_GUARDED_BY(mutex_);
  std::array<PendingMap, 2> pending_ BKFS_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<OpenFrame>> unspooled_ BKFS_GUARDED_BY(mutex_);
  size_t frames_in_flight_ BKFS_GUARDED_BY(mutex_) = 0;
  size_t packs_in_flight_ BKFS_GUARDED_BY(mutex_) = 0;
  std::atomic<uint64_t> settled_ = 0;  // packs whose blobs went from pending_ to the index
  uint64_t retry_wish_ BKFS_GUARDED_BY(mutex_) = 0;  // counts requests to try the store again now
  std::vector<IndexedPack> unindexed_ BKFS_GUARDED_BY(mutex_);
  Status error_ BKFS_GUARDED_BY(mutex_);        // final
  Status store_error_ BKFS_GUARDED_BY(mutex_);  // while trying again
  bool stopping_ BKFS_GUARDED_BY(mutex_) = false;
  Mutex segment_mutex_;
  // Shared while it is decided whether a stored copy will do; alone while the log is heeded.
  SharedMutex decide_mutex_;
  std::shared_ptr<const CondemnedPacks> condemned_ BKFS_GUARDED_BY(decide_mutex_) =
      std::make_shared<const CondemnedPacks>();
  std::unordered_set<PackId, IdHash> held_ BKFS_GUARDED_BY(decide_mutex_);
  Mutex used_mutex_;  // a leaf
  std::unordered_set<PackId, IdHash> used_ BKFS_GUARDED_BY(used_mutex_);
  mutable Mutex stats_mutex_;
  WriterStats stats_ BKFS_GUARDED_BY(stats_mutex_);
  Mutex trust_mutex_;
  std::unordered_map<KeyId, bool, IdHash> trust_ BKFS_GUARDED_BY(trust_mutex_);
  Mutex decoded_mutex_;
  std::pair<const TravellingPack*, uint32_t> decoded_at_ BKFS_GUARDED_BY(decoded_mutex_);
  FramePtr decoded_ BKFS_GUARDED_BY(decoded_mutex_);  // last frame read back from the spool
  ThreadPool sealers_;
  ThreadPool uploads_;
};

}  // namespace bkfs

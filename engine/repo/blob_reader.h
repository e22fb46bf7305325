// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "engine/base/thread_pool.h"
#include "engine/cache/index_cache.h"
#include "engine/format/keyfile.h"
#include "engine/repo/backend.h"
#include "engine/repo/frame_cache.h"
#include "engine/repo/pack_keys.h"
#include "engine/repo/pack_windows.h"

namespace bkfs {

// A blob's verified plaintext and what keeps it in memory.
struct BlobData {
  std::shared_ptr<const void> owner;
  ByteView bytes;
};

// Where blobs are that are not in the store yet (a writer's open frames and spool).
class PendingBlobs {
 public:
  virtual ~PendingBlobs() = default;
  // nullopt: not pending. kDenied never; kCorrupt/kIo as for stored blobs.
  virtual Result<std::optional<BlobData>> ReadPending(PackKind kind, const BlobId& id) = 0;
};

// Reads blobs: index -> frame by range -> AEAD -> decompress -> keyed hash of the blob, each time
// checked. If one copy is damaged and the index knows another, that one is read (with a word in the
// log). Thread-safe.
class BlobReader {
 public:
  struct Options {
    uint64_t frame_cache_bytes = 64ULL << 20;
    uint64_t window_bytes = 32ULL << 20;  // of sealed frames, of a store that is far
    size_t prefetch_threads = 2;          // of a store that is near
    size_t prefetch_threads_far = 8;      // they wait more than they work
  };
  // References must outlive it. `refresh` reloads the index once when a blob is not known (another
  // machine may have written it); may be empty.
  BlobReader(Backend& store, IndexCache& index, const KeyMaterial& key, Epochs& epochs,
             const RepoHeader& header, Logger& log, std::function<Status()> refresh,
             Options options);
  ~BlobReader();

  // kDenied: this key cannot open blobs of that kind; kNotFound: in no known pack; kCorrupt:
  // damaged everywhere, the message names pack and blob. Other codes: the store is in trouble, and
  // there may be a sound copy.
  Result<BlobData> Read(PackKind kind, const BlobId& id);
  // Starts loading the frames of these blobs, if there is a thread free: frames that are neighbours
  // in a pack far away in one request. Errors are met by Read.
  void Prefetch(PackKind kind, const std::vector<BlobId>& ids);
  // How much of a file that is read in order is worth prefetching, at first and at most, in bytes.
  uint64_t first_ahead() const { return is_far_ ? kFirstAhead : kAheadNear; }
  uint64_t most_ahead() const { return is_far_ ? most_ahead_ : kAheadNear; }
  // Consulted first; null to stop. The caller outlives its registration.
  void SetPending(PendingBlobs* pending);
  bool CanRead(PackKind kind) const;

 private:
  // Frames of one pack that are fetched together.
  struct Group {
    PackWindows::Pack pack;
    uint64_t begin = 0;
    uint64_t end = 0;
    bool is_near = true;  // of that, more than one is left to several threads
    std::vector<BlobLocation> places;
  };
  void FetchAhead(const PackWindows::Pack& pack, uint64_t offset);
  std::vector<BlobLocation> NotCached(PackKind kind, const std::vector<BlobId>& ids);
  std::vector<Group> GroupByRange(PackKind kind, std::vector<BlobLocation> places);
  Result<FramePtr> LoadFrame(PackKind kind, const BlobLocation& at);
  Result<FramePtr> Frame(PackKind kind, const BlobLocation& at);
  Result<BlobData> ReadAt(PackKind kind, const BlobId& id, const BlobLocation& at);
  Result<BlobData> ReadStored(PackKind kind, const BlobId& id);

  static constexpr uint64_t kAheadNear = 4 << 20;
  static constexpr uint64_t kFirstAhead = 1 << 20;
  static constexpr uint64_t kMostAhead = 32 << 20;

  Backend& store_;
  const bool is_far_;
  const uint64_t most_ahead_;
  IndexCache& index_;
  const KeyMaterial& key_;
  const RepoHeader& header_;
  Logger& log_;
  const std::function<Status()> refresh_;
  const Secret tree_id_key_;
  FrameCache frames_;
  PackWindows windows_;
  PackKeys pack_keys_;
  Mutex pending_mutex_;
  PendingBlobs* pending_ BKFS_GUARDED_BY(pending_mutex_) = nullptr;
  std::atomic<bool> stopping_ = false;
  ThreadPool prefetch_;
};

// The key blob ids of a kind are made with (doc/format.md section 3).
Secret TreeIdKey(ByteView id_key);

}  // namespace bkfs

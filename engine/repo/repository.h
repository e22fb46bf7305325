// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/cache/index_cache.h"
#include "engine/format/keyfile.h"
#include "engine/repo/backend.h"
#include "engine/repo/blob_reader.h"
#include "engine/repo/blob_writer.h"
#include "engine/repo/epochs.h"
#include "engine/repo/key_directory.h"
#include "engine/repo/maintenance_log.h"
#include "engine/repo/removals.h"
#include "engine/repo/snapshot_store.h"
#include "engine/repo/tree_source.h"

namespace bkfs {

class ObjectReader;

struct CreateOptions {
  ChunkSizes chunks;
  bool pad = false;
};

// Makes a repository in an empty store and returns its master key. kExists if there is one already.
// Call with the keyfile safely written: `save` gets the material before bkfs.repo is put, so that
// no repository exists whose key was lost.
Result<KeyMaterial> CreateRepository(Backend& store, const CreateOptions& options, Clock& clock,
                                     const std::function<Status(const KeyMaterial&)>& save);

// An open repository: the pieces of the engine wired together. Thread-safe as its pieces are.
class Repository {
 public:
  struct Options {
    std::string cache_directory;  // <dir>/<repository>/... is used; must not be empty
    uint64_t index_memory = 64ULL << 20;
    uint64_t frame_cache = 64ULL << 20;
    uint64_t tree_cache = 32ULL << 20;
    size_t prefetch_threads = 2;
    // Of ReadHeader, a moment ago; otherwise it is read again.
    std::optional<RepoHeader> header;
  };

  // kNoRepository, kWrongKey (also for a key that was tampered with), kCorrupt (tampered header),
  // kUnsupported (newer format).
  // Loads the index as far as the key allows. References must outlive the repository.
  static Result<std::unique_ptr<Repository>> Open(std::unique_ptr<Backend> store, KeyMaterial key,
                                                  const Options& options, Logger& log,
                                                  Clock& clock);
  ~Repository();

  Backend& store() { return *store_; }
  // With the epochs that there were when it was opened.
  const RepoHeader& header() const { return header_; }
  const KeyMaterial& key() const { return key_; }
  Logger& log() { return log_; }
  Clock& clock() { return clock_; }
  KeyDirectory& keys() { return *keys_; }
  Epochs& epochs() { return *epochs_; }
  SnapshotStore& snapshots() { return *snapshots_; }
  MaintenanceLog& maintenance() { return *maintenance_; }
  Removals& removals() { return *removals_; }
  // These three want an index key: any type but LogOnly. Check has_index() first.
  bool has_index() const { return index_ != nullptr; }
  IndexCache& index() { return *index_; }
  BlobReader& blobs() { return *blobs_; }
  TreeSource& trees() { return *trees_; }

  // Loads new index segments and forgets vanished ones, and packs that the maintenance log dooms.
  // Cheap when nothing changed.
  Status RefreshIndex();
  // Packs that no segment lists, but this machine's index knows because it stored them, or found
  // them, before it was killed: forgets those that are not in the store any more, and puts a
  // segment for the others, so that everybody finds what relies on them. To be called under a lease
  // of a key that may put segments, after RefreshIndex, before anything relies on the index.
  Status SettleUnlistedPacks();
  // Puts a segment, and notes that this machine's index has its packs.
  Status PutSegment(const IndexSegment& segment);
  // Leaves out of a segment's packs those that have been deleted, or will be (doc/format.md
  // section 7). `log` is what is known of the maintenance log, `as_of` the segment's. `stored`:
  // the packs in the store, listed when they are first needed; for several segments, all of which
  // were there before the first of them was asked about.
  Status DropDeleted(const CondemnedPacks& log, uint64_t as_of,
                     std::optional<std::set<PackId>>& stored, std::vector<IndexedPack>& packs);
  // Loads footers of packs that no segment covers: for a store whose index was lost.
  Status RebuildIndex();

  // A pack's footer, from the pack itself. kCorrupt when it is cut or does not open.
  Result<SignedFooter> FetchFooter(const PackId& id, uint64_t size);
  // Decodes a footer and checks its signature, and that its signer may have made such a pack.
  Status AcceptFooter(const PackId& id, uint64_t size, const SignedFooter& footer, PackFooter& out);

  // kDenied when the key may not write or has been revoked.
  Result<std::unique_ptr<BlobWriter>> NewWriter(std::unique_ptr<PackSpool> spool,
                                                const WriterOptions& options);
  // kDenied unless this is a Master or Maintain key that has not been revoked.
  Status CheckMayMaintain();
  // Where this repository's and key's local state lives: <cache>/<repo id>/<key id>; made if
  // missing.
  const std::string& local_directory() const { return local_directory_; }
  static std::string LocalDirectory(const std::string& cache_directory, const RepoHeader& header,
                                    const KeyMaterial& key);
  // A key for sealing local state, for one purpose.
  Secret LocalKey(std::string_view purpose) const;

 private:
  Repository(std::unique_ptr<Backend> store, KeyMaterial key, RepoHeader header, Logger& log,
             Clock& clock);
  Status OpenIndex(const Options& options);
  Status RememberEpoch();
  Result<bool> LoadSegments(const std::set<IndexId>& present, const std::set<IndexId>& known)
      BKFS_REQUIRES(refresh_mutex_);
  Status LoadSegment(ObjectReader& objects, const IndexId& id,
                     std::optional<std::set<PackId>>& stored) BKFS_REQUIRES(refresh_mutex_);
  // Forgets segments that are gone from the store, and packs that went with them.
  Status ForgetSegments(const std::vector<IndexId>& gone, const std::set<IndexId>& present)
      BKFS_REQUIRES(refresh_mutex_);
  // Verifies packs and adds them to this machine's index, and their ids to `added`; those that are
  // refused are named in the log. Takes the packs as it goes.
  Status AddToIndex(const IndexId& segment, std::vector<IndexedPack>& packs,
                    std::vector<PackId>& added);

  std::unique_ptr<Backend> store_;
  KeyMaterial key_;
  RepoHeader header_;
  Logger& log_;
  Clock& clock_;
  std::string local_directory_;
  std::unique_ptr<KeyDirectory> keys_;
  std::unique_ptr<Epochs> epochs_;
  std::unique_ptr<MaintenanceLog> maintenance_;
  std::unique_ptr<Removals> removals_;
  std::unique_ptr<IndexCache> index_;
  std::unique_ptr<SeenRecords> seen_;
  std::unique_ptr<SnapshotStore> snapshots_;
  std::unique_ptr<BlobReader> blobs_;
  std::unique_ptr<TreeSource> trees_;
  Mutex refresh_mutex_;  // one refresh at a time; held over store calls on purpose
};

// Reads and checks bkfs.repo alone. kNoRepository when there is none.
Result<RepoHeader> ReadHeader(Backend& store);

}  // namespace bkfs

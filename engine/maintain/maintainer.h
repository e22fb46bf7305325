// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "engine/maintain/lease_table.h"
#include "engine/maintain/mark.h"
#include "engine/repo/lease_holder.h"
#include "engine/repo/repository.h"
#include "engine/repo/segment_writer.h"

namespace bkfs {

// `done` of `of` things of a stage; `of` 0: unknown.
using MaintenanceProgress = std::function<void(std::string_view stage, uint64_t done, uint64_t of)>;

// Packs in the store and their sizes.
using StoredPacks = std::unordered_map<PackId, uint64_t, IdHash>;

// What the maintainer saw when it last looked (doc/maintenance.md, M1 to M3).
struct RepositoryView {
  std::shared_ptr<const CondemnedPacks> log;
  int64_t now_ns = 0;  // by the store's clock
  LeaseTable leases;
  size_t snapshots = 0;
  uint64_t missing = 0;  // pieces of files that snapshots lack for sure
  StoredPacks store;
  std::vector<IndexId> segments;      // of the index that the marks are made over
  std::unique_ptr<UsageMarks> marks;  // never null
};

// A run of prune or compact: its lease, looking, deciding, deleting. Not thread-safe.
class Maintainer {
 public:
  struct Options {
    std::string host;
    std::string program;
    bool dry_run = false;
    bool ignore_damage = false;  // go on although directories cannot be read
    int64_t lease_ttl_ns = 3600LL * 1'000'000'000;
  };
  // kDenied: this key may not. A dry run takes no lease and changes nothing.
  static Result<std::unique_ptr<Maintainer>> Begin(Repository& repo, Options options,
                                                   MaintenanceProgress progress);

  // M1 to M3. kCorrupt when the repository is too damaged to tell what is used.
  Result<RepositoryView> Look();
  Result<StoredPacks> ListPacks();
  // M4: false when somebody else decided first, and everything is to be looked at again.
  Result<bool> Decide(const RepositoryView& view, std::vector<PackId> condemned,
                      std::vector<PackId> doomed);
  // M5: deletes what the log dooms. Bytes freed and packs deleted are added to the totals.
  Status Sweep();
  // Index segments, of those that this machine has loaded, that list any of `packs`.
  Result<std::vector<IndexId>> SegmentsWith(const std::unordered_set<PackId, IdHash>& packs);
  // Replaces these index segments by as few as hold their packs, less those in `without`.
  Status RewriteSegments(const std::vector<IndexId>& segments,
                         const std::unordered_set<PackId, IdHash>& without,
                         const SegmentLimits& limits = {});

  Repository& repo() { return repo_; }
  uint64_t deleted_packs() const { return deleted_packs_; }
  uint64_t deleted_bytes() const { return deleted_bytes_; }
  void Tell(std::string_view stage, uint64_t done, uint64_t of) const {
    if (progress_) progress_(stage, done, of);
  }

 private:
  Maintainer(Repository& repo, Options options, MaintenanceProgress progress)
      : repo_(repo), options_(std::move(options)), progress_(std::move(progress)) {}
  Status ReadStore(RepositoryView& view);
  Status HandleLeases(RepositoryView& view);
  Status LookAtLeasesAgain(RepositoryView& view);
  Status CheckRefused(const SnapshotList& list);
  Status MarkSnapshots(RepositoryView& view);
  Status CountMissing(RepositoryView& view);
  uint64_t LowestInForce(const RepositoryView& view, const std::vector<PackId>& doomed);

  Repository& repo_;
  const Options options_;
  const MaintenanceProgress progress_;
  std::unique_ptr<LeaseHolder> lease_;
  uint64_t deleted_packs_ = 0;
  uint64_t deleted_bytes_ = 0;
};

}  // namespace bkfs

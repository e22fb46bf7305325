// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/maintainer.h"

#include <algorithm>
#include <optional>
#include <set>

#include "engine/crypto/hash.h"

namespace bkfs {

namespace {
constexpr int kLooks = 3;  // snapshots may be forgotten while they are read
constexpr size_t kRemovedTogether = 1000;
}  // namespace

Result<std::unique_ptr<Maintainer>> Maintainer::Begin(Repository& repo, Options options,
                                                      MaintenanceProgress progress) {
  if (!options.dry_run) BKFS_TRY(repo.CheckMayMaintain());
  if (!MayReadTrees(repo.key().type)) {
    return Status(Code::kDenied, "a " + std::string(KeyTypeName(repo.key().type)) +
                                     " key cannot tell what is used: it cannot read directories");
  }
  std::unique_ptr<Maintainer> run(new Maintainer(repo, std::move(options), std::move(progress)));
  if (run->options_.dry_run) return run;
  LeaseHolder::Options lease;
  lease.kind = LeaseKind::kMaintainer;
  lease.ttl_ns = run->options_.lease_ttl_ns;
  lease.host = run->options_.host;
  lease.program = run->options_.program;
  BKFS_ASSIGN(run->lease_, LeaseHolder::Begin(repo, std::move(lease)));
  // It relies on nothing: what it looks at it can look at again.
  BKFS_TRY(
      run->lease_->Start([](const std::shared_ptr<const CondemnedPacks>&) -> Result<LeasePins> {
        return LeasePins();
      }));
  return run;
}

Status Maintainer::HandleLeases(RepositoryView& view) {
  const LeaseId self = lease_ ? lease_->id() : LeaseId();
  if (lease_) {
    // A lease state put just now tells the store's time.
    BKFS_TRY(lease_->Renew());
    BKFS_ASSIGN(view.now_ns, lease_->RenewedAt());
  } else {
    view.now_ns = repo_.clock().WallNanos();
  }
  BKFS_ASSIGN(view.leases, ReadLeases(repo_, self, view.now_ns));
  if (options_.dry_run) return {};
  std::vector<HeldLease> alive;
  for (auto& held : view.leases.leases) {
    if (held.lapsed) {
      BKFS_TRY(EndLease(repo_, held));
    } else {
      alive.push_back(std::move(held));
    }
  }
  view.leases.leases = std::move(alive);
  return {};
}

Result<StoredPacks> Maintainer::ListPacks() {
  StoredPacks packs;
  BKFS_TRY(repo_.store().List("packs/", [&](const std::string& name, uint64_t size) {
    auto id = ParsePackName(name);
    if (id.ok()) packs[*id] = size;
    return Status();
  }));
  return packs;
}

Status Maintainer::ReadStore(RepositoryView& view) {
  BKFS_ASSIGN(view.store, ListPacks());
  uint64_t unknown = 0;
  for (const auto& [id, size] : view.store) {
    BKFS_ASSIGN(auto known, repo_.index().FindPack(id));
    if (!known) ++unknown;
  }
  // Left by writers that were killed, or just on their way: they are to be known too.
  if (unknown > 0) BKFS_TRY(repo_.RebuildIndex());
  // Everybody must know a pack before a copy in it may be the one that counts.
  return options_.dry_run ? OkStatus() : repo_.SettleUnlistedPacks();
}

// A holder that came after the first look may build on a snapshot that was forgotten since, before
// the snapshots were listed. Both looks count: what either lease state pins is kept.
Status Maintainer::LookAtLeasesAgain(RepositoryView& view) {
  BKFS_ASSIGN(LeaseTable again, ReadLeases(repo_, lease_ ? lease_->id() : LeaseId(), view.now_ns));
  for (auto& held : again.leases) {
    if (held.lapsed) {
      // It lapsed while this went on, or was ended just now; the next look will see to it.
      held.lapsed = false;
    }
    for (const auto& root : held.state.roots) {
      BKFS_TRY(view.marks->MarkPinned(root));
    }
    view.leases.leases.push_back(std::move(held));
  }
  return {};
}

// A record that cannot be verified because it, or its writer's badge, is damaged may be mended yet:
// what it uses must not go before somebody has said so.
Status Maintainer::CheckRefused(const SnapshotList& list) {
  for (const auto& problem : list.problems) {
    if (!problem.why.Is(Code::kCorrupt) && !problem.why.Is(Code::kUnsupported)) continue;
    if (!ParseSnapshotName(problem.object).ok()) continue;
    if (!repo_.store().Size(problem.object).ok()) continue;  // vanished: nothing to be lost
    if (!options_.ignore_damage) return problem.why.WithContext(problem.object);
    repo_.log().Warning(problem.object + " is refused (" + problem.why.message() +
                        "); what it uses does not count");
  }
  return {};
}

Status Maintainer::MarkSnapshots(RepositoryView& view) {
  BKFS_ASSIGN(SnapshotList list, repo_.snapshots().List());
  BKFS_TRY(CheckRefused(list));
  view.snapshots = list.snapshots.size();
  std::vector<BlobId> roots;
  for (const auto& snapshot : list.snapshots) {
    auto root = repo_.snapshots().Root(*snapshot);
    if (!root.ok()) return root.status().WithContext("snapshot " + snapshot->id.hex());
    roots.push_back(root->directory);
  }
  uint64_t done = 0;
  for (const auto& root : roots) {
    Tell("marking what snapshots use", done++, roots.size());
    Status marked = view.marks->MarkTree(root);
    if (marked.ok()) continue;
    if (!marked.Is(Code::kCorrupt) || !options_.ignore_damage) return marked;
    repo_.log().Warning(marked.message());
  }
  for (const auto& held : view.leases.leases) {
    for (const auto& root : held.state.roots) BKFS_TRY(view.marks->MarkPinned(root));
  }
  return {};
}

// A snapshot that came while this looked has brought packs along that were not looked at: then it
// cannot be told here whether anything is missing.
Status Maintainer::CountMissing(RepositoryView& view) {
  if (view.marks->missing() == 0) return {};
  BKFS_TRY(repo_.RefreshIndex());
  BKFS_ASSIGN(auto segments, repo_.index().Segments());
  if (segments != view.segments) return {};
  view.missing = view.marks->missing();
  repo_.log().Warning(std::to_string(view.missing) +
                      " pieces of files are missing from the store ('bkfs check' tells which files "
                      "that is)");
  return {};
}

Result<RepositoryView> Maintainer::Look() {
  Status trouble;
  for (int look = 0; look < kLooks; ++look) {
    RepositoryView view;
    // The log before the leases: whoever begins one after that has read the entries in it.
    BKFS_TRY(repo_.maintenance().Refresh());
    BKFS_TRY(repo_.maintenance().CheckComplete());
    view.log = repo_.maintenance().Current();
    BKFS_TRY(HandleLeases(view));
    BKFS_TRY(repo_.RefreshIndex());
    BKFS_TRY(ReadStore(view));
    BKFS_ASSIGN(view.segments, repo_.index().Segments());
    BKFS_ASSIGN(UsageMarks marks, UsageMarks::Begin(repo_, view.store, *view.log));
    view.marks = std::make_unique<UsageMarks>(std::move(marks));
    trouble = MarkSnapshots(view);
    if (trouble.ok()) trouble = LookAtLeasesAgain(view);
    if (trouble.ok()) {
      BKFS_TRY(CountMissing(view));
      return view;
    }
    // A snapshot that was forgotten while it was looked at may have lost its directories.
    if (!trouble.Is(Code::kCorrupt) && !trouble.Is(Code::kNotFound)) return trouble;
  }
  return Status(Code::kCorrupt, trouble.message() +
                                    ": what is used cannot be told, and nothing is deleted ('bkfs "
                                    "check' says what is damaged)");
}

// Entries are in force until everything they condemn or doom is gone.
uint64_t Maintainer::LowestInForce(const RepositoryView& view, const std::vector<PackId>& doomed) {
  const std::unordered_set<PackId, IdHash> dooming(doomed.begin(), doomed.end());
  uint64_t lowest = view.log->last + 1;
  for (const auto& [id, entry] : view.log->condemned) {
    const bool going = view.log->doomed.contains(id) || dooming.contains(id);
    if (!going && view.store.contains(id)) lowest = std::min(lowest, entry);
  }
  for (const auto& [id, entry] : view.log->doomed) {
    if (view.store.contains(id)) lowest = std::min(lowest, entry);
  }
  return lowest;
}

Result<bool> Maintainer::Decide(const RepositoryView& view, std::vector<PackId> condemned,
                                std::vector<PackId> doomed) {
  BKFS_CHECK(!options_.dry_run);
  LogEntry entry;
  entry.base = LowestInForce(view, doomed);
  entry.time_ns = repo_.clock().WallNanos();
  if (condemned.size() > kMostPacksInEntry) condemned.resize(kMostPacksInEntry);
  if (doomed.size() > kMostPacksInEntry - condemned.size()) {
    doomed.resize(kMostPacksInEntry - condemned.size());
  }
  entry.condemned = std::move(condemned);
  entry.doomed = std::move(doomed);
  // Against what was looked at, not what somebody has read since.
  BKFS_ASSIGN(bool first,
              repo_.maintenance().Append(std::move(entry), repo_.key().signing, view.log->last));
  if (first) BKFS_TRY(repo_.maintenance().RemoveDropped());
  return first;
}

Result<std::vector<IndexId>> Maintainer::SegmentsWith(
    const std::unordered_set<PackId, IdHash>& packs) {
  std::vector<IndexId> out;
  if (packs.empty()) return out;
  BKFS_ASSIGN(auto segments, repo_.index().Segments());
  for (const auto& id : segments) {
    BKFS_ASSIGN(auto listed, repo_.index().SegmentPacks(id));
    if (std::any_of(listed.begin(), listed.end(),
                    [&](const PackId& pack) { return packs.contains(pack); })) {
      out.push_back(id);
    }
  }
  return out;
}

Status Maintainer::RewriteSegments(const std::vector<IndexId>& segments,
                                   const std::unordered_set<PackId, IdHash>& without,
                                   const SegmentLimits& limits) {
  // As of before anything is read: what is doomed later is then left out by whoever loads it.
  const auto log = repo_.maintenance().Current();
  SegmentWriter index(repo_, log->last, limits);
  std::unordered_set<PackId, IdHash> listed;
  std::optional<std::set<PackId>> stored;
  uint64_t done = 0;
  for (const auto& id : segments) {
    Tell("rewriting the index", done++, segments.size());
    auto object = repo_.store().Get(IndexName(id));
    if (object.code() == Code::kNotFound) continue;  // somebody else has
    if (!object.ok()) return object.status();
    auto segment = DecodeIndexSegment(*object, repo_.key().index_key.view(), repo_.header().repo);
    if (!segment.ok()) continue;  // damaged: check --repair knows what to do
    *object = Bytes();            // tens of MiB
    BKFS_TRY(repo_.DropDeleted(*log, segment->as_of, stored, segment->packs));
    for (auto& pack : segment->packs) {
      if (without.contains(pack.id) || !listed.insert(pack.id).second) continue;
      BKFS_TRY(index.Add(std::move(pack)));
    }
    index.Replace(id);
  }
  return index.Finish();
}

Status Maintainer::Sweep() {
  const auto log = repo_.maintenance().Current();
  std::unordered_set<PackId, IdHash> doomed;
  for (const auto& [id, entry] : log->doomed) doomed.insert(id);
  if (doomed.empty()) return {};
  BKFS_ASSIGN(auto affected, SegmentsWith(doomed));
  BKFS_TRY(RewriteSegments(affected, doomed));
  for (const auto& id : doomed) BKFS_TRY(repo_.index().RemovePack(id));
  BKFS_ASSIGN(const StoredPacks stored, ListPacks());
  std::vector<PackId> going;
  for (const auto& id : doomed) {
    if (stored.contains(id)) going.push_back(id);
  }
  for (size_t at = 0; at < going.size(); at += kRemovedTogether) {
    Tell("deleting", at, going.size());
    std::vector<std::string> names;
    uint64_t bytes = 0;
    for (size_t i = at; i < std::min(going.size(), at + kRemovedTogether); ++i) {
      names.push_back(PackName(going[i]));
      bytes += stored.at(going[i]);
    }
    BKFS_TRY(repo_.store().RemoveAll(names));
    deleted_packs_ += names.size();
    deleted_bytes_ += bytes;
  }
  return {};
}

}  // namespace bkfs

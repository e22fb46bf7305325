// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/prune.h"

#include <algorithm>
#include <map>
#include <set>

#include "engine/maintain/lock_keeper.h"

namespace bkfs {

namespace {
constexpr int kRounds = 10;  // as often may somebody else be quicker

// Whether a pack may be a living writer's own, which nothing refers to yet. Condemning it would be
// safe, and have it moved for nothing.
Result<bool> IsYoung(Repository& repo, const RepositoryView& view, const PackUse& pack) {
  for (const auto& held : view.leases.leases) {
    if (held.lapsed || held.lease.kind != LeaseKind::kWriter) continue;
    if (held.lease.holder != pack.signer) continue;
    const int64_t since =
        held.state.dirty_since_ns != 0 ? held.state.dirty_since_ns : held.renewed_ns;
    auto put_at = repo.store().ModifiedAt(PackName(pack.id));
    if (put_at.code() == Code::kNotFound) return false;
    if (!put_at.ok()) return put_at.status();
    if (*put_at >= since) return true;
  }
  return false;
}

// What a look says about condemned packs: which may be doomed now, and what the others wait for.
struct DoomVerdict {
  std::vector<PackId> doomed;
  std::vector<std::string> waiting_for;
};

Result<int64_t> LockOf(Repository& repo, const PackId& id) {
  if (repo.store().LockSpan() == 0) return int64_t{0};
  auto until = repo.store().LockedUntil(PackName(id));
  return until.code() == Code::kNotFound ? Result<int64_t>(0) : until;
}

Result<DoomVerdict> JudgeCondemned(Repository& repo, const RepositoryView& view, int64_t grace_ns) {
  DoomVerdict verdict;
  uint64_t moved_past = UINT64_MAX;
  std::set<PackId> pinned;
  std::set<std::string> waiting;
  for (const auto& held : view.leases.leases) {
    if (held.lapsed) continue;
    moved_past = std::min(moved_past, held.state.moved_past);
    pinned.insert(held.state.packs.begin(), held.state.packs.end());
  }
  std::map<uint64_t, bool> old_enough;
  for (const auto& pack : view.marks->packs()) {
    if (!pack.condemned || view.log->doomed.contains(pack.id) || !view.store.contains(pack.id)) {
      continue;
    }
    // Cut short: its blobs count for nobody, but what is missing may be in what is left of it.
    if (pack.missing && view.marks->missing() > 0) {
      waiting.insert(
          "files that miss what a damaged pack may still hold ('bkfs check' names them)");
      continue;
    }
    if (pack.used_blobs > 0) {
      waiting.insert("'bkfs compact' to move what is still used out of condemned packs");
      continue;
    }
    const uint64_t entry = view.log->condemned.at(pack.id);
    auto [age, unknown] = old_enough.try_emplace(entry, false);
    if (unknown) {
      auto put_at = repo.store().ModifiedAt(LogEntryName(entry));
      if (!put_at.ok() && put_at.code() != Code::kNotFound) return put_at.status();
      age->second = put_at.ok() && view.now_ns - *put_at >= grace_ns;
    }
    if (!age->second) waiting.insert("the grace time to be over");
    if (entry > moved_past || pinned.contains(pack.id)) {
      for (const auto& held : view.leases.leases) {
        const bool pins =
            std::binary_search(held.state.packs.begin(), held.state.packs.end(), pack.id);
        if (!held.lapsed && (held.state.moved_past < entry || pins)) {
          waiting.insert(DescribeHolder(held.lease));
        }
      }
      continue;
    }
    if (!age->second) continue;
    BKFS_ASSIGN(const int64_t locked, LockOf(repo, pack.id));
    if (locked > view.now_ns) {
      waiting.insert("the store's locks to end");
      continue;
    }
    verdict.doomed.push_back(pack.id);
  }
  verdict.waiting_for.assign(waiting.begin(), waiting.end());
  return verdict;
}

class PruneRun {
 public:
  PruneRun(Maintainer& maintainer, const PruneOptions& options)
      : maintainer_(maintainer), repo_(maintainer.repo()), options_(options) {}
  Result<PruneReport> Run();

 private:
  // True when another round may free more at once.
  Result<bool> Round(bool first);
  Status RefuseIfUsed(const RepositoryView& view) const;
  Result<std::vector<PackId>> FindDead(RepositoryView& view);
  Status ExtendLocks(const RepositoryView& view);
  void Count(RepositoryView& view, const std::vector<PackId>& condemned,
             const DoomVerdict& verdict);

  Maintainer& maintainer_;
  Repository& repo_;
  const PruneOptions& options_;
  PruneReport report_;
};

Status PruneRun::RefuseIfUsed(const RepositoryView& view) const {
  for (const auto& held : view.leases.leases) {
    if (held.lapsed) continue;
    return {Code::kBusy, DescribeHolder(held.lease) +
                             " uses the repository: unmount it, or prune without --now"};
  }
  return {};
}

Result<std::vector<PackId>> PruneRun::FindDead(RepositoryView& view) {
  std::vector<PackId> dead;
  for (const auto& pack : view.marks->packs()) {
    if (pack.missing || pack.condemned || pack.used_blobs > 0) continue;
    BKFS_ASSIGN(bool young, IsYoung(repo_, view, pack));
    if (!young) dead.push_back(pack.id);
  }
  return dead;
}

void PruneRun::Count(RepositoryView& view, const std::vector<PackId>& condemned,
                     const DoomVerdict& verdict) {
  const std::set<PackId> doomed(verdict.doomed.begin(), verdict.doomed.end());
  for (const auto& id : condemned) {
    ++report_.condemned_packs;
    report_.condemned_bytes += view.store[id];
  }
  report_.waiting_packs = condemned.size();
  report_.waiting_bytes = 0;
  for (const auto& id : condemned) report_.waiting_bytes += view.store[id];
  report_.unused_bytes = 0;
  for (const auto& pack : view.marks->packs()) {
    if (pack.missing) continue;
    if (pack.condemned && !doomed.contains(pack.id)) {
      ++report_.waiting_packs;
      report_.waiting_bytes += pack.size;
    }
    if (pack.condemned || pack.used_blobs == 0) continue;
    report_.unused_bytes += UnusedBytes(pack, repo_.blobs().CanRead(pack.kind));
  }
  report_.waiting_for = verdict.waiting_for;
  report_.missing_blobs = view.missing;
  report_.refused = view.leases.refused;
}

// Of what snapshots need; what is condemned gets no more.
Status PruneRun::ExtendLocks(const RepositoryView& view) {
  if (repo_.store().LockSpan() == 0) return {};
  std::vector<std::string> names;
  for (const auto& pack : view.marks->packs()) {
    if (!pack.missing && !pack.condemned && pack.used_blobs > 0) names.push_back(PackName(pack.id));
  }
  for (const char* prefix : {"snapshots/", "keys/"}) {
    BKFS_TRY(repo_.store().List(prefix, [&](const std::string& name, uint64_t) {
      names.push_back(name);
      return Status();
    }));
  }
  names.emplace_back("bkfs.repo");
  BKFS_ASSIGN(const auto report, LockKeeper(repo_).Extend(names, view.now_ns));
  report_.locks_extended += report.extended;
  return {};
}

Result<bool> PruneRun::Round(bool first) {
  for (int attempt = 0; attempt < kRounds; ++attempt) {
    BKFS_ASSIGN(RepositoryView view, maintainer_.Look());
    if (first && attempt == 0) {
      report_.snapshots = view.snapshots;
      report_.packs = view.store.size();
      for (const auto& [id, size] : view.store) report_.bytes += size;
    }
    if (options_.now) BKFS_TRY(RefuseIfUsed(view));
    BKFS_ASSIGN(auto dead, FindDead(view));
    BKFS_ASSIGN(DoomVerdict verdict,
                JudgeCondemned(repo_, view, options_.now ? 0 : options_.grace_ns));
    if (options_.run.dry_run) {
      Count(view, dead, verdict);
      std::set<PackId> going(verdict.doomed.begin(), verdict.doomed.end());
      if (options_.now || options_.grace_ns == 0) going.insert(dead.begin(), dead.end());
      report_.deleted_packs = going.size();
      for (const auto& id : going) report_.deleted_bytes += view.store[id];
      return false;
    }
    if (!dead.empty() || !verdict.doomed.empty()) {
      BKFS_ASSIGN(bool decided, maintainer_.Decide(view, dead, verdict.doomed));
      if (!decided) continue;
    }
    Count(view, dead, verdict);
    BKFS_TRY(ExtendLocks(view));
    BKFS_TRY(maintainer_.Sweep());
    return !dead.empty() && (options_.now || options_.grace_ns == 0);
  }
  return Status(Code::kBusy, "others prune or compact this repository at the same time");
}

Result<PruneReport> PruneRun::Run() {
  // What an earlier run doomed and did not get to.
  if (!options_.run.dry_run) {
    BKFS_TRY(repo_.maintenance().Refresh());
    BKFS_TRY(maintainer_.Sweep());
  }
  BKFS_ASSIGN(bool again, Round(true));
  if (again) {
    BKFS_ASSIGN(again, Round(false));
  }
  if (!options_.run.dry_run) {
    report_.deleted_packs = maintainer_.deleted_packs();
    report_.deleted_bytes = maintainer_.deleted_bytes();
  }
  return std::move(report_);
}
}  // namespace

Result<PruneReport> Prune(Repository& repo, const PruneOptions& options,
                          const MaintenanceProgress& progress) {
  BKFS_ASSIGN(auto maintainer, Maintainer::Begin(repo, options.run, progress));
  return PruneRun(*maintainer, options).Run();
}

}  // namespace bkfs

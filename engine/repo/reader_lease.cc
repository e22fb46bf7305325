// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/reader_lease.h"

#include <algorithm>
#include <set>

namespace bkfs {

namespace {
constexpr int64_t kRecentNs = 5'000'000'000;

// The store takes nothing from us.
bool IsRefusal(const Status& status) {
  return status.Is(Code::kDenied) || status.Is(Code::kReadOnly) || status.Is(Code::kNotPermitted) ||
         status.Is(Code::kNoSpace) || status.Is(Code::kQuota);
}

Status Forgotten(const SnapshotId& id) {
  return {Code::kStale, "snapshot " + id.hex() + " has been forgotten"};
}
}  // namespace

Status ReaderLease::Begin(const Options& options) {
  BKFS_CHECK(own_ == nullptr);
  if (!repo_.has_index()) return {};  // such a key reads nothing that may go
  LeaseHolder::Options lease;
  lease.kind = LeaseKind::kReader;
  lease.ttl_ns = options.ttl_ns;
  lease.host = options.host;
  lease.program = options.program;
  auto begun = LeaseHolder::Begin(repo_, std::move(lease));
  Status status = begun.status();
  if (status.ok()) {
    status = (*begun)->Start([this](const std::shared_ptr<const CondemnedPacks>&) {
      LeasePins pins;
      pins.roots = Roots();
      return Result<LeasePins>(std::move(pins));
    });
  }
  if (IsRefusal(status)) {
    repo_.log().Info("no lease (" + status.message() +
                     "): what is forgotten and pruned elsewhere may go while it is read here");
    return {};
  }
  BKFS_TRY(status);
  own_ = *std::move(begun);
  RelyOn(own_.get());
  return {};
}

void ReaderLease::RelyOn(LeaseHolder* lease) {
  MutexLock lock(mutex_);
  lease_ = lease;
}

bool ReaderLease::held() {
  MutexLock lock(mutex_);
  return lease_ != nullptr;
}

ReaderLease::Standing ReaderLease::StandingOf(const std::vector<SnapshotId>& snapshots) {
  if (lease_ == nullptr) return Standing::kLetThrough;
  Standing all = Standing::kPinned;
  for (const SnapshotId& id : snapshots) {
    const Standing one = uses_[id].standing;
    if (one == Standing::kUnknown) return one;
    if (one == Standing::kLetThrough) all = one;
  }
  return all;
}

Result<bool> ReaderLease::Acquire(const std::vector<SnapshotId>& snapshots) {
  {
    MutexLock lock(mutex_);
    for (const SnapshotId& id : snapshots) ++uses_[id].users;
    const Standing standing = StandingOf(snapshots);
    if (standing != Standing::kUnknown) return standing == Standing::kPinned;
  }
  Status pinned = Pin(snapshots);
  if (pinned.Is(Code::kStale)) {
    for (const SnapshotId& id : snapshots) Release(id);
    return pinned;
  }
  if (!pinned.ok()) LetThrough(snapshots, pinned);
  return pinned.ok();
}

void ReaderLease::Release(const SnapshotId& snapshot) {
  MutexLock lock(mutex_);
  auto found = uses_.find(snapshot);
  BKFS_CHECK(found != uses_.end() && found->second.users > 0);
  --found->second.users;
}

std::vector<BlobId> ReaderLease::Roots() {
  std::vector<BlobId> roots;
  MutexLock lock(mutex_);
  for (auto at = uses_.begin(); at != uses_.end();) {
    Use& use = at->second;
    if (use.users == 0 && !use.to_be_pinned) {
      at = uses_.erase(at);
      continue;
    }
    use.to_be_pinned = false;
    use.in_state = use.prepared;
    if (!use.root.is_zero()) roots.push_back(use.root);
    ++at;
  }
  return roots;
}

// First pinned, then seen to count: doc/maintenance.md, R2.
Status ReaderLease::Pin(const std::vector<SnapshotId>& snapshots) {
  MutexLock one_at_a_time(pin_mutex_);
  {
    MutexLock lock(mutex_);
    if (StandingOf(snapshots) != Standing::kUnknown) return {};
  }
  BKFS_TRY(Prepare(snapshots));
  BKFS_TRY(PutState());
  return Confirm(snapshots);
}

// Whose directories cannot be told has nothing to be pinned: reading it fails, and says why.
BlobId ReaderLease::RootOf(const Snapshot& snapshot) {
  auto root = repo_.snapshots().Root(snapshot);
  return root.ok() ? root->directory : BlobId();
}

// False: the list lacks one of them.
Result<bool> ReaderLease::PrepareFrom(const SnapshotList& list,
                                      const std::vector<SnapshotId>& snapshots) {
  const std::set<SnapshotId> wanted(snapshots.begin(), snapshots.end());
  const auto& all = list.snapshots;
  size_t found = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const bool is_wanted = wanted.contains(all[i]->id);
    if (is_wanted) ++found;
    if (!is_wanted && i + ahead_ < all.size()) continue;
    {
      MutexLock lock(mutex_);
      auto known = uses_.find(all[i]->id);
      if (known != uses_.end() && known->second.prepared) {
        known->second.to_be_pinned = true;
        continue;
      }
    }
    const BlobId root = RootOf(*all[i]);
    MutexLock lock(mutex_);
    Use& use = uses_[all[i]->id];
    use.root = root;
    use.prepared = true;
    use.to_be_pinned = true;
  }
  return found == wanted.size();
}

// A list of a moment ago will do to tell roots by: what counts is the one after the pin.
Status ReaderLease::Prepare(const std::vector<SnapshotId>& snapshots) {
  BKFS_ASSIGN(SnapshotList list, repo_.snapshots().ListOf(kRecentNs));
  BKFS_ASSIGN(bool complete, PrepareFrom(list, snapshots));
  if (complete) return {};
  BKFS_ASSIGN(list, repo_.snapshots().List());
  BKFS_ASSIGN(complete, PrepareFrom(list, snapshots));
  if (complete) return {};
  for (const SnapshotId& id : snapshots) {
    const auto& all = list.snapshots;
    if (std::none_of(all.begin(), all.end(), [&](const auto& s) { return s->id == id; })) {
      return Forgotten(id);
    }
  }
  return {};
}

Status ReaderLease::PutState() {
  LeaseHolder* lease = nullptr;
  {
    MutexLock lock(mutex_);
    lease = lease_;
  }
  if (lease == nullptr) return {Code::kUnavailable, "the lease has ended"};
  BKFS_TRY(lease->Renew());
  if (lease == own_.get()) return {};  // Renew has seen to it
  BKFS_ASSIGN(const bool ended, lease->HasEnded());
  if (ended) return {Code::kUnavailable, "maintenance has ended the lease"};
  return {};
}

Status ReaderLease::Confirm(const std::vector<SnapshotId>& snapshots) {
  BKFS_ASSIGN(const SnapshotList list, repo_.snapshots().List());
  MutexLock lock(mutex_);
  for (const auto& snapshot : list.snapshots) {
    auto found = uses_.find(snapshot->id);
    // What another renewal has dropped meanwhile is not there any more; what came meanwhile has not
    // been pinned.
    if (found != uses_.end() && found->second.in_state) {
      found->second.standing = Standing::kPinned;
    }
  }
  for (const SnapshotId& id : snapshots) {
    if (std::none_of(list.snapshots.begin(), list.snapshots.end(),
                     [&](const auto& s) { return s->id == id; })) {
      return Forgotten(id);
    }
  }
  told_ = false;
  return {};
}

void ReaderLease::LetThrough(const std::vector<SnapshotId>& snapshots, const Status& why) {
  MutexLock lock(mutex_);
  for (const SnapshotId& id : snapshots) {
    Standing& standing = uses_[id].standing;
    if (standing == Standing::kUnknown) standing = Standing::kLetThrough;
  }
  if (std::exchange(told_, true)) return;
  repo_.log().Info("what is read now cannot be pinned (" + why.message() +
                   "): what is forgotten and pruned elsewhere may go while it is read here");
}

Result<SnapshotHold> SnapshotHold::Take(ReaderLease* lease, const SnapshotId& snapshot) {
  if (lease == nullptr) return SnapshotHold(nullptr, snapshot);
  BKFS_TRY(lease->Acquire({snapshot}).status());
  return SnapshotHold(lease, snapshot);
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/lease_table.h"

#include <algorithm>
#include <map>

#include "engine/base/process.h"
#include "engine/repo/refused_objects.h"

namespace bkfs {

namespace {
// What the names under leases/ say about one lease.
struct Names {
  bool lease = false;
  bool fence = false;
  std::vector<uint64_t> states;
};

Result<std::map<LeaseId, Names>> ListLeases(Repository& repo) {
  std::map<LeaseId, Names> out;
  BKFS_TRY(repo.store().List("leases/", [&](const std::string& name, uint64_t) {
    auto object = ParseLeaseName(name);
    if (!object.ok()) return Status();
    Names& names = out[object->id];
    switch (object->what) {
      case LeaseObject::kLease: names.lease = true; break;
      case LeaseObject::kFence: names.fence = true; break;
      case LeaseObject::kState: names.states.push_back(object->number); break;
    }
    return Status();
  }));
  return out;
}

// kNotFound: gone meanwhile. A verdict: refused.
Result<Lease> ReadLease(Repository& repo, const LeaseId& id) {
  BKFS_ASSIGN(Bytes object, repo.store().Get(LeaseName(id)));
  BKFS_ASSIGN(KeyId holder, HolderOfLease(object));
  auto signer = repo.keys().Find(holder);
  if (signer.code() == Code::kNotFound) {
    return Status(Code::kCorrupt, "signed by unknown key " + holder.hex());
  }
  if (!signer.ok()) return signer.status();
  if (signer->revoked()) return Status(Code::kDenied, "signed by a revoked key");
  BKFS_ASSIGN(Lease lease, DecodeLease(object, repo.header().repo, repo.key().index_key.view(),
                                       signer->public_key));
  if (lease.id != id) return Status(Code::kCorrupt, "it is another lease: swapped");
  return lease;
}

// The newest state that can be read and is the holder's own; number 0 where there is none.
Result<LeaseState> ReadState(Repository& repo, const Lease& lease, std::vector<uint64_t> numbers,
                             std::vector<RefusedObject>& refused) {
  std::sort(numbers.rbegin(), numbers.rend());
  LeaseState none;
  none.number = 0;
  BKFS_ASSIGN(Signer signer, repo.keys().Find(lease.holder));
  for (uint64_t number : numbers) {
    const std::string name = LeaseStateName(lease.id, number);
    auto object = repo.store().Get(name);
    if (object.code() == Code::kNotFound) continue;  // replaced by one that was not listed
    if (!object.ok()) return object.status();
    auto state = DecodeLeaseState(*object, repo.header().repo, repo.key().index_key.view(),
                                  signer.public_key);
    if (state.ok() && (state->id != lease.id || state->number != number)) {
      state = Status(Code::kCorrupt, "it is the state of another lease: swapped");
    }
    if (state.ok()) return state;
    refused.push_back({name, state.status()});
  }
  return none;
}

bool IsDead(const Lease& lease) {
  if (lease.resumable) return false;  // its journal waits for the next mount
  const ProcessIdentity self = ThisProcess();
  if (lease.machine != self.boot || lease.machine == std::array<uint8_t, 16>{}) return false;
  return !IsRunning(lease.pid, lease.started);
}

Result<int64_t> RenewedAt(Repository& repo, const HeldLease& held) {
  if (held.state.number > 0) {
    auto time = repo.store().ModifiedAt(LeaseStateName(held.lease.id, held.state.number));
    if (time.code() != Code::kNotFound) return time;
  }
  return repo.store().ModifiedAt(LeaseName(held.lease.id));
}

void RemoveQuietly(Repository& repo, const std::string& name) {
  Status removed = repo.store().Remove(name);
  if (!removed.ok() && !removed.Is(Code::kNotFound)) {
    repo.log().Info(name + " could not be removed: " + removed.message());
  }
}

// What a crash left behind of a lease that is no more.
void TidyUp(Repository& repo, const LeaseId& id, const Names& names) {
  for (uint64_t number : names.states) RemoveQuietly(repo, LeaseStateName(id, number));
  if (names.fence && repo.removals().IsClosed(id)) RemoveQuietly(repo, FenceName(id));
}
}  // namespace

std::string DescribeHolder(const Lease& lease) {
  return (lease.program.empty() ? std::string(LeaseKindName(lease.kind)) : lease.program) +
         " on host " + lease.host + " (pid " + std::to_string(lease.pid) + ")";
}

Result<LeaseTable> ReadLeases(Repository& repo, const LeaseId& self, int64_t now_ns) {
  LeaseTable table;
  BKFS_TRY(repo.keys().Refresh());
  BKFS_TRY(repo.removals().Refresh());
  BKFS_ASSIGN(auto listed, ListLeases(repo));
  for (const auto& [id, names] : listed) {
    if (id == self) continue;
    if (!names.lease) {
      // A list that is long in the making may have missed a lease put meanwhile.
      const auto there = repo.store().Size(LeaseName(id));
      if (there.code() == Code::kNotFound) TidyUp(repo, id, names);
      continue;
    }
    auto lease = ReadLease(repo, id);
    if (lease.code() == Code::kNotFound) continue;
    if (IsVerdict(lease.status())) {
      table.refused.push_back({LeaseName(id), lease.status()});
      continue;
    }
    if (!lease.ok()) return lease.status();
    HeldLease held;
    held.lease = *std::move(lease);
    BKFS_ASSIGN(held.state, ReadState(repo, held.lease, names.states, table.refused));
    auto renewed = RenewedAt(repo, held);
    if (renewed.code() == Code::kNotFound) continue;
    if (!renewed.ok()) return renewed.status();
    held.renewed_ns = *renewed;
    held.lapsed = names.fence || now_ns - held.renewed_ns > held.lease.ttl_ns || IsDead(held.lease);
    table.leases.push_back(std::move(held));
  }
  return table;
}

namespace {
Status PutFence(Repository& repo, const LeaseId& id) {
  Fence fence;
  fence.signer = repo.key().id();
  fence.lease = id;
  fence.time_ns = repo.clock().WallNanos();
  const std::string name = FenceName(id);
  const Bytes object = EncodeFence(fence, repo.header().repo, repo.key().signing);
  Status put = repo.store().PutOne(name, object);
  if (!put.Is(Code::kExists)) return put;
  BKFS_ASSIGN(Bytes there, repo.store().Get(name));
  if (CheckFence(repo.keys(), repo.header(), id, there).ok()) return {};
  // A forged one stops nobody.
  BKFS_TRY(repo.store().Remove(name));
  return repo.store().PutOne(name, object);
}

Status PutClosure(Repository& repo, const LeaseId& id) {
  Closure closure;
  closure.signer = repo.key().id();
  closure.lease = id;
  closure.time_ns = repo.clock().WallNanos();
  BKFS_ASSIGN(SnapshotList list, repo.snapshots().List());
  for (const auto& snapshot : list.snapshots) {
    if (snapshot->body.lease == id) closure.accepted.push_back(snapshot->id);
  }
  std::sort(closure.accepted.begin(), closure.accepted.end());
  const std::string name = ClosureName(id);
  const Bytes object = EncodeClosure(closure, repo.header().repo, repo.key().signing);
  for (int attempt = 0; attempt < 2; ++attempt) {
    Status put = repo.store().PutOne(name, object);
    if (!put.Is(Code::kExists)) BKFS_TRY(put);
    BKFS_TRY(repo.removals().Refresh());
    if (repo.removals().IsClosed(id)) return {};
    Status removed = repo.store().Remove(name);  // forged
    if (!removed.Is(Code::kNotFound)) BKFS_TRY(removed);
  }
  return {Code::kCorrupt, name + " is forged again and again"};
}
}  // namespace

Status EndLease(Repository& repo, const HeldLease& held) {
  const LeaseId id = held.lease.id;
  if (held.lease.kind == LeaseKind::kWriter) {
    BKFS_TRY(PutFence(repo, id));
    BKFS_TRY(PutClosure(repo, id));
  }
  BKFS_ASSIGN(auto listed, ListLeases(repo));
  for (uint64_t number : listed[id].states) RemoveQuietly(repo, LeaseStateName(id, number));
  RemoveQuietly(repo, LeaseName(id));
  RemoveQuietly(repo, FenceName(id));
  repo.log().Info("lease of " + DescribeHolder(held.lease) +
                  " ended: it was not heard of any more");
  return {};
}

}  // namespace bkfs

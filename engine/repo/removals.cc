// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/removals.h"

#include <algorithm>

#include "engine/repo/object_reader.h"

namespace bkfs {

Status Removals::Load(ObjectReader& objects, const std::string& name) {
  auto lease = ParseClosureName(name);
  auto removal_id = ParseRemovalName(name);
  if (!lease.ok() && !removal_id.ok()) return {};  // readers pass over other names
  BKFS_ASSIGN(Bytes object, objects.Get(name));
  if (lease.ok()) {
    BKFS_ASSIGN(Closure closure, DecodeClosure(object));
    if (closure.lease != *lease) return {Code::kCorrupt, "it closes another lease: swapped"};
    BKFS_TRY(CheckMaintainerSignature(keys_, header_, object, closure.signer));
    MutexLock lock(mutex_);
    closures_[*lease] = std::move(closure.accepted);
    return {};
  }
  if (RemovalIdOf(object) != *removal_id) {
    return {Code::kCorrupt, "its bytes do not hash to its name: changed, cut or swapped"};
  }
  BKFS_ASSIGN(Removal removal, DecodeRemoval(object));
  BKFS_TRY(CheckMaintainerSignature(keys_, header_, object, removal.signer));
  MutexLock lock(mutex_);
  removed_.insert(removal.snapshots.begin(), removal.snapshots.end());
  return {};
}

Status Removals::Refresh() {
  std::vector<std::string> names;
  BKFS_TRY(store_.List("removed/", [&](const std::string& name, uint64_t) {
    names.push_back(name);
    return Status();
  }));
  {
    MutexLock lock(mutex_);
    std::erase_if(names, [&](const std::string& name) { return known_.contains(name); });
  }
  ObjectReader objects(store_, names);
  std::vector<RefusedObject> refused;
  for (const auto& name : names) {
    Status status = Load(objects, name);
    if (status.Is(Code::kNotFound)) continue;
    if (IsVerdict(status)) {
      refused.push_back({name, status});
      continue;
    }
    BKFS_TRY(status);
    MutexLock lock(mutex_);
    known_.insert(name);
  }
  MutexLock lock(mutex_);
  refused_ = std::move(refused);
  return {};
}

bool Removals::IsRemoved(const SnapshotId& id) {
  MutexLock lock(mutex_);
  return removed_.contains(id);
}

bool Removals::IsClosed(const LeaseId& lease) {
  MutexLock lock(mutex_);
  return closures_.contains(lease);
}

bool Removals::CountsUnder(const LeaseId& lease, const SnapshotId& id) {
  MutexLock lock(mutex_);
  auto found = closures_.find(lease);
  return found == closures_.end() ||
         std::binary_search(found->second.begin(), found->second.end(), id);
}

std::vector<RefusedObject> Removals::refused() {
  MutexLock lock(mutex_);
  return refused_;
}

}  // namespace bkfs

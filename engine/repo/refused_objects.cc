// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/refused_objects.h"

#include <map>

#include "engine/format/lease.h"
#include "engine/repo/maintainer_signature.h"
#include "engine/repo/repository.h"

namespace bkfs {

Status CheckFence(KeyDirectory& keys, const RepoHeader& header, const LeaseId& lease,
                  ByteView object) {
  BKFS_ASSIGN(const Fence fence, DecodeFence(object));
  if (fence.lease != lease) return {Code::kCorrupt, "it is of another lease: swapped"};
  return CheckMaintainerSignature(keys, header, object, fence.signer);
}

Result<std::vector<RefusedObject>> FindRefusedMaintenance(Repository& repo) {
  BKFS_TRY(repo.removals().Refresh());
  BKFS_TRY(repo.maintenance().Refresh());
  std::map<std::string, Status> found;
  for (const auto& refused : {repo.removals().refused(), repo.maintenance().refused()}) {
    for (const auto& [object, why] : refused) found.emplace(object, why);
  }
  std::vector<std::pair<std::string, LeaseId>> fences;
  BKFS_TRY(repo.store().List("leases/", [&](const std::string& name, uint64_t) {
    auto object = ParseLeaseName(name);
    if (object.ok() && object->what == LeaseObject::kFence) fences.emplace_back(name, object->id);
    return Status();
  }));
  for (const auto& [name, lease] : fences) {
    auto object = repo.store().Get(name);
    if (object.code() == Code::kNotFound) continue;  // it has done its work
    if (!object.ok()) return object.status();
    Status valid = CheckFence(repo.keys(), repo.header(), lease, *object);
    if (!valid.ok() && !IsVerdict(valid)) return valid;
    if (!valid.ok()) found.emplace(name, valid);
  }
  std::vector<RefusedObject> out;
  for (const auto& [object, why] : found) out.push_back({object, why});
  return out;
}

}  // namespace bkfs

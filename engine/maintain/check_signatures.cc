// SPDX-License-Identifier: Apache-2.0
// Who made what, and whether they had the right to.
#include "engine/format/lease.h"
#include "engine/format/maintenance.h"
#include "engine/maintain/check_run.h"
#include "engine/repo/refused_objects.h"

namespace bkfs {

void CheckRun::CheckKeys() {
  for (const auto& refused : repo_.keys().refused()) Bad(refused.object, refused.why);
}

// The checks of a lease that a maintainer makes before it believes in one.
Status CheckRun::CheckLease(const std::string& name) {
  BKFS_ASSIGN(LeaseObject parsed, ParseLeaseName(name));
  BKFS_ASSIGN(Bytes object, repo_.store().Get(name));
  BKFS_ASSIGN(KeyId holder, HolderOfLease(object));
  auto signer = repo_.keys().Find(holder);
  if (signer.code() == Code::kNotFound) {
    return {Code::kCorrupt, "signed by unknown key " + holder.hex() + ": forged"};
  }
  if (!signer.ok()) return signer.status();
  if (signer->revoked()) return {Code::kDenied, "signed by revoked key " + holder.hex()};
  const ByteView key = repo_.key().index_key.view();
  LeaseId id;
  uint64_t number = 0;
  if (parsed.what == LeaseObject::kLease) {
    BKFS_ASSIGN(Lease lease, DecodeLease(object, repo_.header().repo, key, signer->public_key));
    id = lease.id;
  } else {
    BKFS_ASSIGN(LeaseState state,
                DecodeLeaseState(object, repo_.header().repo, key, signer->public_key));
    id = state.id;
    number = state.number;
  }
  if (id == parsed.id && number == parsed.number) return {};
  return {Code::kCorrupt, "it is of another lease: swapped"};
}

// For a key that cannot open records: everything but what is inside.
Status CheckRun::CheckRecord(const std::string& name) {
  BKFS_ASSIGN(Bytes object, repo_.store().Get(name));
  BKFS_TRY(CheckForm(name, object));
  BKFS_ASSIGN(SnapshotEnvelope envelope, DecodeSnapshotEnvelope(object, repo_.header().repo));
  auto signer = repo_.keys().Find(envelope.signer);
  if (signer.code() == Code::kNotFound) {
    return {Code::kCorrupt, "signed by unknown key " + envelope.signer.hex() + ": forged"};
  }
  if (!signer.ok()) return signer.status();
  if (!MayWrite(signer->type)) {
    return {Code::kCorrupt, "signed by " + std::string(KeyTypeName(signer->type)) + " key " +
                                envelope.signer.hex() + ", which may not make snapshots"};
  }
  return VerifySnapshotSignature(object, signer->public_key);
}

Status CheckRun::CheckSignatures() {
  BKFS_TRY(repo_.removals().Refresh());
  for (const auto& refused : {repo_.removals().refused(), repo_.maintenance().refused()}) {
    for (const auto& [object, why] : refused) {
      Bad(object, why.WithContext("ignored"));
    }
  }
  if (const uint64_t missing = repo_.maintenance().missing(); missing > 0) {
    Bad(LogEntryName(missing), {Code::kCorrupt,
                                "this entry of the maintenance log is missing: "
                                "until it is mended nothing is deleted"});
  }
  for (const auto& problem : snapshots_.problems) {
    if (problem.why.Is(Code::kStale)) {
      Note(problem.object + ": " + problem.why.message());
    } else {
      Bad(problem.object, problem.why);
    }
  }
  const bool opens_records = MayReadLog(repo_.key().type);
  if (!opens_records) Note("snapshots were not checked: this key cannot list them");
  for (const auto& name : small_) {
    auto lease = ParseLeaseName(name);
    Status status;
    if (lease.ok() && lease->what == LeaseObject::kFence) {
      auto object = repo_.store().Get(name);
      status = object.ok() ? CheckFence(repo_.keys(), repo_.header(), lease->id, *object)
                           : object.status();
    } else if (lease.ok() && repo_.has_index()) {
      status = CheckLease(name);
    } else if (!opens_records && ParseSnapshotName(name).ok()) {
      status = CheckRecord(name);
    }
    if (status.ok() || status.Is(Code::kNotFound)) continue;  // gone: leases come and go
    if (status.Is(Code::kDenied)) {
      Note(name + ": " + status.message());
    } else if (IsDamage(status)) {
      Bad(name, status);
      if (lease.ok()) findings_.refused_leases.push_back({name, status});
    } else {
      return status;
    }
  }
  return {};
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/rotation.h"

#include <algorithm>

#include "engine/format/maintenance.h"

namespace bkfs {

namespace {
Status CheckIsMaster(Repository& repo) {
  if (repo.key().type == KeyType::kMaster) return {};
  return {Code::kDenied, "this takes the master key (-K)"};
}

// Puts the object of epoch `next`.
Result<Rotated> PutEpoch(Repository& repo, uint32_t next) {
  const KeyMaterial& master = repo.key();
  const EpochSecrets secrets = MasterEpoch(master.master, next);
  Epoch epoch;
  epoch.keys = PublicKeysOf(secrets);
  epoch.time_ns = repo.clock().WallNanos();
  for (const Signer& signer : repo.keys().All()) {
    if (signer.revoked() || !NeedsGrant(signer.type)) continue;
    auto grant = MakeGrant(secrets, signer.type, signer.public_key);
    if (!grant.ok()) return grant.status().WithContext(KeyDirectory::BadgeName(signer.id));
    epoch.grants.push_back(std::move(grant).value());
  }
  std::sort(epoch.grants.begin(), epoch.grants.end(),
            [](const EpochGrant& a, const EpochGrant& b) { return a.key < b.key; });
  const Bytes object = EncodeEpoch(epoch, repo.header().repo, master.signing);
  Status put = repo.store().PutOne(EpochName(next), object);
  if (put.Is(Code::kExists)) {
    // A try whose answer was lost, or somebody else's.
    BKFS_ASSIGN(const Bytes there, repo.store().Get(EpochName(next)));
    if (there != object) {
      return Status(Code::kUnavailable, EpochName(next) +
                                            " is there already: the keys were rotated by another "
                                            "process. Run it again if they are to be once more");
    }
    put = {};
  }
  BKFS_TRY(put);
  BKFS_TRY(repo.epochs().Refresh());
  return Rotated{next, epoch.grants.size()};
}

// Whether a key that has been revoked by now was given a grant.
Result<bool> RevokedMeanwhile(Repository& repo, uint32_t epoch) {
  BKFS_TRY(repo.keys().Refresh());
  BKFS_ASSIGN(const Bytes object, repo.store().Get(EpochName(epoch)));
  BKFS_ASSIGN(const Epoch put, DecodeEpoch(object, repo.header().repo, repo.header().master));
  const auto signers = repo.keys().All();
  return std::any_of(signers.begin(), signers.end(), [&](const Signer& signer) {
    return signer.revoked() && put.FindGrant(signer.id) != nullptr;
  });
}

// Whether this is a valid object of the maintenance, under its own name, signed by that key.
bool IsMaintenanceOf(const std::string& name, ByteView object, const RepoId& repo,
                     const Signer& key) {
  if (!VerifyMaintenance(object, repo, key.public_key).ok()) return false;
  if (auto number = ParseLogEntryName(name); number.ok()) {
    auto entry = DecodeLogEntry(object);
    return entry.ok() && entry->signer == key.id && entry->number == *number;
  }
  if (auto lease = ParseClosureName(name); lease.ok()) {
    auto closure = DecodeClosure(object);
    return closure.ok() && closure->signer == key.id && closure->lease == *lease;
  }
  if (auto id = ParseRemovalName(name); id.ok()) {
    auto removal = DecodeRemoval(object);
    return removal.ok() && removal->signer == key.id && RemovalIdOf(object) == *id;
  }
  return false;
}

Status AddMaintenanceOf(Repository& repo, const Signer& key, std::vector<SnapshotId>& out) {
  std::vector<std::string> names;
  for (const char* folder : {"condemned/", "removed/"}) {
    BKFS_TRY(repo.store().List(folder, [&](const std::string& name, uint64_t) {
      names.push_back(name);
      return Status();
    }));
  }
  for (const std::string& name : names) {
    auto object = repo.store().Get(name);
    if (object.code() == Code::kNotFound) continue;  // dropped since the listing
    if (!object.ok()) return object.status();
    if (!IsMaintenanceOf(name, *object, repo.header().repo, key)) continue;
    out.push_back(AcceptanceIdOf(*object));
  }
  return {};
}
}  // namespace

Result<Rotated> RotateKeys(Repository& repo) {
  BKFS_TRY(CheckIsMaster(repo));
  constexpr int kTries = 5;  // a key may be revoked between the look at the keys and the put
  for (int attempt = 0;; ++attempt) {
    BKFS_TRY(repo.keys().Refresh());
    BKFS_TRY(repo.epochs().Refresh());
    const uint32_t next = repo.epochs().Newest().epoch + 1;
    if (next > kMostEpochs) {
      return Status(Code::kInvalid, "there are " + std::to_string(kMostEpochs) +
                                        " epochs, which is as many as there may be");
    }
    BKFS_ASSIGN(Rotated rotated, PutEpoch(repo, next));
    BKFS_ASSIGN(const bool again, RevokedMeanwhile(repo, next));
    if (!again || attempt == kTries) return rotated;
  }
}

Result<Revocation> RevokeKey(Repository& repo, const KeyId& key) {
  BKFS_TRY(CheckIsMaster(repo));
  BKFS_TRY(repo.keys().Refresh());
  BKFS_ASSIGN(const Signer signer, repo.keys().Find(key));
  if (signer.type == KeyType::kMaster) {
    return Status(Code::kInvalid, "the master key cannot be revoked");
  }
  if (signer.revoked()) return Status(Code::kInvalid, "this key is revoked already");
  Revocation revocation;
  revocation.key = key;
  revocation.time_ns = repo.clock().WallNanos();
  BKFS_ASSIGN(revocation.accepted, repo.snapshots().RecordsOf(key));
  if (MayMaintain(signer.type)) BKFS_TRY(AddMaintenanceOf(repo, signer, revocation.accepted));
  auto& accepted = revocation.accepted;
  std::sort(accepted.begin(), accepted.end());
  accepted.erase(std::unique(accepted.begin(), accepted.end()), accepted.end());
  BKFS_TRY(
      repo.store().PutOne(KeyDirectory::RevocationName(key),
                          EncodeRevocation(revocation, repo.header().repo, repo.key().signing)));
  BKFS_TRY(repo.keys().Refresh());
  return revocation;
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/rotation.h"

#include <algorithm>
#include <set>

#include "engine/format/maintenance.h"

namespace bkfs {

namespace {
Status CheckIsMaster(Repository& repo) {
  if (repo.key().type == KeyType::kMaster) return {};
  return {Code::kDenied, "this takes the master key (-K)"};
}

// Everything of an epoch, with grants for all keys that are not revoked.
Result<Epoch> MakeEpoch(const KeyMaterial& master, KeyDirectory& keys, uint32_t number,
                        int64_t now_ns) {
  const EpochSecrets secrets = MasterEpoch(master.master, number);
  Epoch epoch;
  epoch.keys = PublicKeysOf(secrets);
  epoch.time_ns = now_ns;
  for (const Signer& signer : keys.All()) {
    if (signer.revoked() || !NeedsGrant(signer.type)) continue;
    auto grant = MakeGrant(secrets, signer.type, signer.public_key);
    if (!grant.ok()) return grant.status().WithContext(KeyDirectory::BadgeName(signer.id));
    epoch.grants.push_back(std::move(grant).value());
  }
  std::sort(epoch.grants.begin(), epoch.grants.end(),
            [](const EpochGrant& a, const EpochGrant& b) { return a.key < b.key; });
  return epoch;
}

// Puts the object of epoch `next`.
Result<Rotated> PutEpoch(Repository& repo, uint32_t next) {
  BKFS_ASSIGN(const Epoch epoch,
              MakeEpoch(repo.key(), repo.keys(), next, repo.clock().WallNanos()));
  const Bytes object = EncodeEpoch(epoch, repo.header().repo, repo.key().signing);
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

struct EpochsThere {
  std::set<uint32_t> named;  // objects of that name, whatever is in them
  std::set<uint32_t> good;
};

Result<EpochsThere> LookAtEpochs(Backend& store, const RepoHeader& header) {
  EpochsThere out;
  BKFS_TRY(store.List("keys/", [&](const std::string& name, uint64_t) {
    auto number = ParseEpochName(name);
    if (number.ok() && *number > header.epochs.back().epoch) out.named.insert(*number);
    return Status();
  }));
  for (uint32_t number : out.named) {
    auto object = store.Get(EpochName(number));
    if (!object.ok() && object.code() != Code::kCorrupt) return object.status();
    auto epoch = object.ok() ? DecodeEpoch(*object, header.repo, header.master) : object.status();
    if (epoch.code() == Code::kUnsupported) return epoch.status().WithContext(EpochName(number));
    if (epoch.ok() && epoch->keys.epoch == number) out.good.insert(number);
  }
  return out;
}

// The newest epoch that a record of a known key names.
Result<uint32_t> NewestOfRecords(Backend& store, const RepoHeader& header, KeyDirectory& keys) {
  std::vector<std::string> names;
  BKFS_TRY(store.List("snapshots/", [&](const std::string& name, uint64_t) {
    if (ParseSnapshotName(name).ok()) names.push_back(name);
    return Status();
  }));
  uint32_t newest = 1;
  for (const std::string& name : names) {
    auto object = store.Get(name);
    if (!object.ok()) continue;  // a record that cannot be read is no reason to stop here
    auto envelope = DecodeSnapshotEnvelope(*object, header.repo);
    if (!envelope.ok() || envelope->epoch <= newest || envelope->epoch > kMostEpochs) continue;
    auto signer = keys.Find(envelope->signer);
    if (!signer.ok() || !MayWrite(signer->type)) continue;
    if (VerifySnapshotSignature(*object, signer->public_key).ok()) newest = envelope->epoch;
  }
  return newest;
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

Result<std::vector<uint32_t>> RepairEpochs(Backend& store, const KeyMaterial& master, Logger& log,
                                           Clock& clock) {
  if (master.type != KeyType::kMaster)
    return Status(Code::kDenied, "this takes the master key (-K)");
  BKFS_ASSIGN(const RepoHeader header, ReadHeader(store));
  BKFS_TRY(CheckKeyfileAgainst(master, header));
  KeyDirectory keys(store, header, log);
  BKFS_TRY(keys.Refresh());
  BKFS_ASSIGN(const EpochsThere there, LookAtEpochs(store, header));
  BKFS_ASSIGN(uint32_t last, NewestOfRecords(store, header, keys));
  for (const Signer& signer : keys.All()) last = std::max(last, signer.epoch);
  if (!there.good.empty()) last = std::max(last, *there.good.rbegin());
  // Its number must not be given to another: keys that were revoked since may have its secrets.
  if (there.named.contains(last + 1)) ++last;
  std::vector<uint32_t> made;
  for (uint32_t number : there.named) {
    if (!there.good.contains(number)) BKFS_TRY(store.Remove(EpochName(number)));
  }
  for (uint32_t number = header.epochs.back().epoch + 1; number <= last; ++number) {
    if (there.good.contains(number)) continue;
    BKFS_ASSIGN(const Epoch epoch, MakeEpoch(master, keys, number, clock.WallNanos()));
    BKFS_TRY(store.PutOne(EpochName(number), EncodeEpoch(epoch, header.repo, master.signing)));
    made.push_back(number);
  }
  return made;
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

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "engine/crypto/hash.h"
#include "engine/format/epoch.h"
#include "engine/format/keyfile.h"

namespace bkfs {

namespace {
Secret DeriveEpochSecret(std::string_view context, const Secret& master, uint32_t epoch) {
  Secret material(master.size() + sizeof epoch);
  std::memcpy(material.mutable_view().data(), master.view().data(), master.size());
  Store(material.mutable_view().data() + master.size(), epoch);
  return DeriveKey(context, material.view());
}

// Which object says that there is such an epoch.
Status MissingEpoch(uint32_t epoch) {
  return {Code::kCorrupt,
          EpochName(epoch) + " is missing from the store: this key is of that epoch"};
}
}  // namespace

EpochSecrets MasterEpoch(const Secret& master, uint32_t epoch) {
  EpochSecrets out;
  out.epoch = epoch;
  out.content = BoxKey(DeriveEpochSecret("bkfs v1 content key", master, epoch));
  out.tree = BoxKey(DeriveEpochSecret("bkfs v1 tree key", master, epoch));
  out.log = BoxKey(DeriveEpochSecret("bkfs v1 log key", master, epoch));
  return out;
}

EpochSecrets EpochFor(const EpochSecrets& from, KeyType type) {
  EpochSecrets out;
  out.epoch = from.epoch;
  if (MayReadContents(type)) out.content = from.content.Clone();
  if (MayReadTrees(type)) out.tree = from.tree.Clone();
  if (MayReadLog(type)) out.log = from.log.Clone();
  return out;
}

EpochPublicKeys PublicKeysOf(const EpochSecrets& all) {
  return {all.epoch, all.content.public_key(), all.tree.public_key(), all.log.public_key()};
}

Status CheckEpochSecrets(const EpochSecrets& secrets, const EpochPublicKeys& want) {
  auto fits = [](const BoxKey& key, const PublicKey& public_key) {
    return key.empty() || key.public_key() == public_key;
  };
  if (secrets.epoch == want.epoch && fits(secrets.content, want.content) &&
      fits(secrets.tree, want.tree) && fits(secrets.log, want.log)) {
    return {};
  }
  return {Code::kCorrupt, "the secrets of epoch " + std::to_string(secrets.epoch) +
                              " do not give the public keys in the repository: one of the two was "
                              "tampered with"};
}

const EpochSecrets* KeyMaterial::FindEpoch(uint32_t epoch) const {
  for (const EpochSecrets& secrets : epochs) {
    if (secrets.epoch == epoch) return &secrets;
  }
  return nullptr;
}

KeyMaterial MasterMaterial(Secret master, const RepoId& repo, uint32_t last_epoch) {
  BKFS_CHECK(master.size() == 32 && last_epoch >= 1);
  KeyMaterial out;
  out.repo = repo;
  out.type = KeyType::kMaster;
  out.id_key = DeriveKey("bkfs v1 id key", master.view());
  out.chunker_key = DeriveKey("bkfs v1 chunker key", master.view());
  out.index_key = DeriveKey("bkfs v1 index key", master.view());
  out.signing = SigningKey(DeriveKey("bkfs v1 signing seed", master.view()));
  out.master_public = out.signing.public_key();
  for (uint32_t epoch = 1; epoch <= last_epoch; ++epoch) {
    out.epochs.push_back(MasterEpoch(master, epoch));
  }
  out.master = std::move(master);
  return out;
}

RepoHeader HeaderFor(const KeyMaterial& master, int64_t created_ns, Cipher cipher, bool pad,
                     const ChunkSizes& chunks) {
  BKFS_CHECK(master.type == KeyType::kMaster);
  RepoHeader out;
  out.repo = master.repo;
  out.created_ns = created_ns;
  out.cipher = cipher;
  out.pad = pad;
  out.chunks = chunks;
  out.master = master.master_public;
  for (const EpochSecrets& epoch : master.epochs) {
    out.epochs.push_back(PublicKeysOf(epoch));
  }
  return out;
}

KeyMaterial DeriveMaterial(const KeyMaterial& master, KeyType type, const std::string& label,
                           int64_t now_ns) {
  BKFS_CHECK(master.type == KeyType::kMaster && type != KeyType::kMaster);
  BKFS_CHECK(CheckLabel(label).ok());
  KeyMaterial out;
  out.repo = master.repo;
  out.type = type;
  out.label = label;
  out.master_public = master.master_public;
  out.signing = SigningKey(RandomSecret(32));
  if (type != KeyType::kLogOnly) {
    out.id_key = master.id_key.Clone();
    out.index_key = master.index_key.Clone();
  }
  if (MayWrite(type)) out.chunker_key = master.chunker_key.Clone();
  if (MayReadLog(type)) {
    for (const EpochSecrets& epoch : master.epochs) out.epochs.push_back(EpochFor(epoch, type));
  }
  Badge badge;
  badge.key = out.signing.id();
  badge.type = type;
  badge.label = label;
  badge.public_key = out.signing.public_key();
  badge.created_ns = now_ns;
  badge.epoch = master.epochs.back().epoch;
  out.badge = EncodeBadge(badge, master.repo, master.signing);
  return out;
}

Status CheckKeyfileAgainst(const KeyMaterial& material, const RepoHeader& header) {
  if (material.repo != header.repo) {
    return {Code::kWrongKey, "the keyfile is of repository " + material.repo.hex() +
                                 ", but this is repository " + header.repo.hex()};
  }
  if (material.master_public != header.master) {
    return {Code::kWrongKey,
            "the keyfile and the repository's header name different master keys: the header was "
            "replaced, or the keyfile is of another repository with the same id"};
  }
  if (material.type == KeyType::kMaster) {
    if (material.signing.public_key() != header.master) {
      return {Code::kCorrupt, "the keyfile's master key is not the one it names"};
    }
  } else {
    BKFS_ASSIGN(Badge badge, DecodeBadge(material.badge, header.repo, header.master));
    if (badge.key != material.id() || badge.type != material.type ||
        badge.label != material.label) {
      return {Code::kCorrupt, "the keyfile's badge is of another key: it was tampered with"};
    }
    if (badge.epoch > header.epochs.back().epoch) return MissingEpoch(badge.epoch);
  }
  for (const EpochSecrets& secrets : material.epochs) {
    const EpochPublicKeys* want = header.FindEpoch(secrets.epoch);
    if (want == nullptr) return MissingEpoch(secrets.epoch);
    BKFS_TRY(CheckEpochSecrets(secrets, *want).WithContext("keyfile"));
  }
  return {};
}

}  // namespace bkfs

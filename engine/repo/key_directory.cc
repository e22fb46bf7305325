// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/key_directory.h"

#include <algorithm>

#include "engine/repo/object_reader.h"

namespace bkfs {

namespace {
constexpr std::string_view kPrefix = "keys/";
constexpr std::string_view kRevokedSuffix = ".revoked";

struct KeyObject {
  Result<KeyId> id;  // a failure: not ours, readers pass over other names
  bool is_revocation = false;
};

KeyObject ParseKeyObject(std::string_view name) {
  std::string_view rest = name.substr(kPrefix.size());
  const bool is_revocation = rest.ends_with(kRevokedSuffix);
  if (is_revocation) rest.remove_suffix(kRevokedSuffix.size());
  return {KeyId::FromHex(rest), is_revocation};
}
}  // namespace

std::string KeyDirectory::BadgeName(const KeyId& id) { return std::string(kPrefix) + id.hex(); }
std::string KeyDirectory::RevocationName(const KeyId& id) {
  return BadgeName(id) + std::string(kRevokedSuffix);
}

KeyDirectory::KeyDirectory(Backend& store, const RepoHeader& header, Logger& log)
    : store_(store), header_(header), log_(log) {
  Signer master;
  master.id = KeyIdOf(header.master);
  master.type = KeyType::kMaster;
  master.public_key = header.master;
  master.created_ns = header.created_ns;
  signers_.push_back(std::move(master));
}

Status KeyDirectory::Refresh() {
  std::vector<std::string> names;
  BKFS_TRY(store_.List(std::string(kPrefix), [&](const std::string& name, uint64_t) {
    names.push_back(name);
    return Status();
  }));
  // A badge's name is a prefix of its revocation's, so sorting puts badges first.
  std::sort(names.begin(), names.end());
  {
    MutexLock lock(mutex_);
    std::erase_if(names, [&](const std::string& name) { return IsKnown(name); });
  }
  ObjectReader objects(store_, names);
  for (const auto& name : names) {
    Status status = LoadOne(objects, name);
    if (status.ok()) continue;
    // Trouble with the store is not a verdict on the object.
    if (!status.Is(Code::kCorrupt) && !status.Is(Code::kUnsupported)) return status;
    log_.Warning(name + " is refused: " + status.message());
    MutexLock lock(mutex_);
    refused_.push_back({name, status});
  }
  return {};
}

bool KeyDirectory::IsKnown(const std::string& name) {
  const auto [id, is_revocation] = ParseKeyObject(name);
  if (!id.ok()) return true;
  for (const auto& one : refused_) {
    if (one.object == name) return true;
  }
  for (const auto& signer : signers_) {
    if (signer.id == *id && (!is_revocation || signer.revoked())) return true;
  }
  return false;
}

Status KeyDirectory::LoadOne(ObjectReader& objects, const std::string& name) {
  const auto [id, is_revocation] = ParseKeyObject(name);
  BKFS_TRY(id.status());
  BKFS_ASSIGN(Bytes object, objects.Get(name));
  if (!is_revocation) {
    BKFS_ASSIGN(Badge badge, DecodeBadge(object, header_.repo, header_.master));
    if (badge.key != *id) return {Code::kCorrupt, "it holds the badge of another key"};
    Signer signer;
    signer.id = badge.key;
    signer.type = badge.type;
    signer.label = badge.label;
    signer.public_key = badge.public_key;
    signer.created_ns = badge.created_ns;
    signer.epoch = badge.epoch;
    MutexLock lock(mutex_);
    // Two threads may have read it at the same time.
    const bool known = std::any_of(signers_.begin(), signers_.end(),
                                   [&](const Signer& other) { return other.id == signer.id; });
    if (!known) signers_.push_back(std::move(signer));
    return {};
  }
  BKFS_ASSIGN(Revocation revocation, DecodeRevocation(object, header_.repo, header_.master));
  if (revocation.key != *id) return {Code::kCorrupt, "it revokes another key"};
  MutexLock lock(mutex_);
  for (auto& signer : signers_) {
    if (signer.id != *id) continue;
    signer.revocation = std::move(revocation);
    break;
  }
  return {};
}

Result<Signer> KeyDirectory::Find(const KeyId& id) {
  for (int attempt = 0; attempt < 2; ++attempt) {
    {
      MutexLock lock(mutex_);
      for (const auto& signer : signers_) {
        if (signer.id == id) return signer;
      }
    }
    if (attempt == 0) BKFS_TRY(Refresh());
  }
  return Status(Code::kNotFound, "no valid badge for key " + id.hex());
}

std::vector<Signer> KeyDirectory::All() {
  MutexLock lock(mutex_);
  return signers_;
}

std::vector<RefusedObject> KeyDirectory::refused() {
  MutexLock lock(mutex_);
  return refused_;
}

}  // namespace bkfs

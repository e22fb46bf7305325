// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/epochs.h"

#include <algorithm>

#include "engine/repo/maintainer_signature.h"

namespace bkfs {

namespace {
Status Missing(uint32_t epoch, const std::string& who) {
  return {Code::kCorrupt, EpochName(epoch) + " is missing from the store, but " + who +
                              ": put it back from a copy of the store, or have it made again by "
                              "'bkfs rotate --repair' with the master key"};
}

Result<Epoch> ReadEpoch(Backend& store, const RepoHeader& header, uint32_t number) {
  const std::string name = EpochName(number);
  BKFS_ASSIGN(Bytes object, store.Get(name));
  auto epoch = DecodeEpoch(object, header.repo, header.master);
  if (!epoch.ok()) {
    return Status(epoch.code(), name + ": " + epoch.status().message() +
                                    " ('bkfs rotate --repair' with the master key makes it again)");
  }
  if (epoch->keys.epoch != number) {
    return Status(Code::kCorrupt,
                  name + " is epoch " + std::to_string(epoch->keys.epoch) + ": swapped");
  }
  return epoch;
}
}  // namespace

Result<std::vector<Epoch>> ReadEpochs(Backend& store, RepoHeader& header) {
  const uint32_t first = header.epochs.back().epoch + 1;
  std::vector<uint32_t> numbers;
  BKFS_TRY(store.List("keys/", [&](const std::string& name, uint64_t) {
    auto number = ParseEpochName(name);
    if (number.ok() && *number >= first) numbers.push_back(*number);
    return Status();
  }));
  std::sort(numbers.begin(), numbers.end());
  std::vector<Epoch> out;
  for (uint32_t number : numbers) {
    const uint32_t expected = header.epochs.back().epoch + 1;
    if (number != expected) return Missing(expected, EpochName(number) + " is there");
    BKFS_ASSIGN(Epoch epoch, ReadEpoch(store, header, number));
    header.epochs.push_back(epoch.keys);
    out.push_back(std::move(epoch));
  }
  return out;
}

Status CheckEpochsReach(const RepoHeader& header, const KeyMaterial& key) {
  if (key.repo != header.repo || key.master_public != header.master) return {};  // said elsewhere
  uint32_t known = key.epochs.empty() ? 1 : key.epochs.back().epoch;
  if (key.type != KeyType::kMaster) {
    auto badge = DecodeBadge(key.badge, header.repo, header.master);
    if (badge.ok()) known = std::max(known, badge->epoch);
  }
  const uint32_t last = header.epochs.back().epoch;
  return known <= last ? Status() : Missing(last + 1, "this key is of a later time");
}

Epochs::Epochs(Backend& store, const RepoHeader& header, const KeyMaterial& key, Logger& log)
    : store_(store), header_(header), key_(key), log_(log), newest_(header.epochs.back()) {}

Status Epochs::Adopt(const std::vector<Epoch>& epochs) {
  for (const Epoch& epoch : epochs) BKFS_TRY(Take(epoch));
  return {};
}

Status Epochs::Take(const Epoch& epoch) {
  const std::string name = EpochName(epoch.keys.epoch);
  EpochSecrets secrets;
  bool has_secrets = false;
  if (key_.type == KeyType::kMaster) {
    secrets = MasterEpoch(key_.master, epoch.keys.epoch);
    BKFS_TRY(CheckEpochSecrets(secrets, epoch.keys).WithContext(name));
    has_secrets = true;
  } else if (const EpochGrant* grant = epoch.FindGrant(key_.id())) {
    auto opened = OpenGrant(*grant, epoch.keys, key_.type, key_.signing);
    if (!opened.ok()) return opened.status().WithContext(name + ", grant of this key");
    secrets = std::move(opened).value();
    has_secrets = true;
  }
  MutexLock lock(mutex_);
  const bool known = key_.FindEpoch(epoch.keys.epoch) != nullptr ||
                     std::any_of(more_.begin(), more_.end(), [&](const EpochSecrets& other) {
                       return other.epoch == epoch.keys.epoch;  // two threads looked
                     });
  if (has_secrets && !known) more_.push_back(std::move(secrets));
  if (epoch.keys.epoch > newest_.epoch) newest_ = epoch.keys;
  return {};
}

Status Epochs::Refresh() {
  for (;;) {
    const uint32_t next = Newest().epoch + 1;
    auto epoch = ReadEpoch(store_, header_, next);
    if (epoch.code() == Code::kNotFound) return {};
    Status taken = epoch.ok() ? Take(*epoch) : epoch.status();
    if (taken.ok()) continue;
    if (!IsVerdict(taken)) return taken;
    MutexLock lock(mutex_);
    if (refused_ != next) log_.Error(taken.message() + "; it is not used");
    refused_ = next;
    return {};
  }
}

EpochPublicKeys Epochs::Newest() const {
  MutexLock lock(mutex_);
  return newest_;
}

const EpochSecrets* Epochs::Find(uint32_t epoch) const {
  if (const EpochSecrets* own = key_.FindEpoch(epoch)) return own;
  MutexLock lock(mutex_);
  for (const EpochSecrets& secrets : more_) {
    if (secrets.epoch == epoch) return &secrets;
  }
  return nullptr;
}

Result<const EpochSecrets*> Epochs::Secrets(uint32_t epoch) {
  if (Newest().epoch < epoch) BKFS_TRY(Refresh());
  if (const EpochSecrets* secrets = Find(epoch)) return secrets;
  if (Newest().epoch < epoch) return Missing(Newest().epoch + 1, "data of a later epoch is there");
  return Status(Code::kDenied, "this " + std::string(KeyTypeName(key_.type)) +
                                   " key has no secrets of epoch " + std::to_string(epoch) +
                                   ": it was revoked before the keys were rotated, or never had "
                                   "the right");
}

}  // namespace bkfs

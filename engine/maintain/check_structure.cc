// SPDX-License-Identifier: Apache-2.0
// Names, sizes and checksums: what needs no secret.
#include "engine/format/lease.h"
#include "engine/format/maintenance.h"
#include "engine/maintain/check_run.h"

namespace bkfs {

namespace {
constexpr uint64_t kSmallestPack = kPackHeader + kPackTrailer;
constexpr uint64_t kMostUnexpected = 100;  // named one by one
constexpr std::string_view kKeys = "keys/";
constexpr std::string_view kEpochs = "keys/epoch-";
constexpr std::string_view kRevoked = ".revoked";

bool IsKeyObject(std::string_view name) {
  if (!name.starts_with(kKeys)) return false;
  if (name.starts_with(kEpochs)) return true;
  name.remove_prefix(kKeys.size());
  if (name.ends_with(kRevoked)) name.remove_suffix(kRevoked.size());
  return KeyId::FromHex(name).ok();
}

bool IsSmallObject(const std::string& name) {
  return ParseSnapshotName(name).ok() || ParseLeaseName(name).ok() ||
         ParseLogEntryName(name).ok() || ParseRemovalName(name).ok() || ParseClosureName(name).ok();
}

Status HashesToName(bool does) {
  if (does) return {};
  return {Code::kCorrupt, "its bytes do not hash to its name: changed, cut or swapped"};
}
}  // namespace

void CheckRun::Classify(const std::string& name, uint64_t size) {
  if (auto pack = ParsePackName(name); pack.ok()) {
    packs_[*pack].size = size;
    report_.pack_bytes += size;
    ++report_.packs;
    if (size < kSmallestPack || size > kMaxPack) {
      findings_.damaged.insert(*pack);
      BadPack(*pack, {Code::kCorrupt,
                      "has " + std::to_string(size) + " bytes, which no pack has: cut or changed"});
    }
    return;
  }
  if (auto segment = ParseIndexName(name); segment.ok()) {
    segments_.insert(*segment);
    return;
  }
  if (name == "bkfs.repo" || IsKeyObject(name)) return;  // read when the repository was opened
  if (IsSmallObject(name)) {
    small_.push_back(name);
    return;
  }
  if (unexpected_ + report_.notes.size() < kMostUnexpected) {
    Note(name + " is not an object of bkfs and was passed over");
  } else {
    ++unexpected_;
  }
}

Status CheckRun::ListStore() {
  packs_.clear();
  segments_.clear();
  small_.clear();
  unexpected_ = 0;
  BKFS_TRY(Tell("names", 0, 1));
  return repo_.store().List("", [&](const std::string& name, uint64_t size) {
    Classify(name, size);
    return Status();
  });
}

// What the bytes show without knowing who may have made them.
Status CheckRun::CheckForm(const std::string& name, ByteView object) {
  if (auto id = ParseSnapshotName(name); id.ok()) {
    BKFS_TRY(HashesToName(SnapshotIdOf(object) == *id));
    return DecodeSnapshotEnvelope(object, repo_.header().repo).status();
  }
  if (auto id = ParseRemovalName(name); id.ok()) {
    BKFS_TRY(HashesToName(RemovalIdOf(object) == *id));
    return DecodeRemoval(object).status();
  }
  if (ParseClosureName(name).ok()) return DecodeClosure(object).status();
  if (ParseLogEntryName(name).ok()) return DecodeLogEntry(object).status();
  auto lease = ParseLeaseName(name);
  if (lease.ok() && lease->what == LeaseObject::kFence) return DecodeFence(object).status();
  return HolderOfLease(object).status();
}

Status CheckRun::CheckSmallObjects() {
  uint64_t done = 0;
  for (const auto& name : small_) {
    BKFS_TRY(Tell("small objects", done++, small_.size()));
    const bool record = ParseSnapshotName(name).ok();
    // Those were looked at more closely than this.
    if (record && MayReadLog(repo_.key().type) && Reaches(CheckLevel::kSignatures)) continue;
    auto object = repo_.store().Get(name);
    if (object.code() == Code::kNotFound) continue;  // leases come and go, and so do others
    Status status = object.ok() ? CheckForm(name, *object) : object.status();
    if (status.ok()) continue;
    if (!IsDamage(status)) return status;
    // A record that was removed and is still there does not exist.
    if (record && repo_.removals().IsRemoved(*ParseSnapshotName(name))) continue;
    Bad(name, status);
  }
  return {};
}

}  // namespace bkfs

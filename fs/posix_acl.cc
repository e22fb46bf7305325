// SPDX-License-Identifier: Apache-2.0
#include "fs/posix_acl.h"

#include "engine/base/bytes.h"

namespace bkfs {

namespace {
constexpr uint32_t kVersion = 2;
constexpr size_t kHeader = 4;
constexpr size_t kEntry = 8;
constexpr uint32_t kNoId = UINT32_MAX;

bool HasId(uint16_t tag) { return tag == AclEntry::kUser || tag == AclEntry::kGroup; }

AclEntry* Find(Acl& acl, uint16_t tag) {
  for (AclEntry& entry : acl) {
    if (entry.tag == tag) return &entry;
  }
  return nullptr;
}

bool IsTag(uint16_t tag) {
  switch (tag) {
    case AclEntry::kOwner:
    case AclEntry::kUser:
    case AclEntry::kOwningGroup:
    case AclEntry::kGroup:
    case AclEntry::kMask:
    case AclEntry::kOther: return true;
    default: return false;
  }
}

// Exactly one owner, owning group and other, in ascending order of tags; a mask where named users
// or groups are.
bool IsWellFormed(const Acl& acl) {
  int seen[0x40] = {};
  uint16_t last = 0;
  for (const AclEntry& entry : acl) {
    if (!IsTag(entry.tag) || entry.tag < last || entry.permissions > 7) return false;
    if (HasId(entry.tag) && entry.id == kNoId) return false;
    last = entry.tag;
    ++seen[entry.tag];
  }
  bool named = seen[AclEntry::kUser] + seen[AclEntry::kGroup] > 0;
  return seen[AclEntry::kOwner] == 1 && seen[AclEntry::kOwningGroup] == 1 &&
         seen[AclEntry::kOther] == 1 && seen[AclEntry::kMask] <= 1 &&
         (!named || seen[AclEntry::kMask] == 1);
}
}  // namespace

Result<Acl> ParseAcl(std::string_view xattr) {
  if (xattr.empty()) return Acl();
  const Status bad(Code::kInvalid, "not a POSIX ACL");
  ByteReader reader(AsBytes(xattr));
  if (xattr.size() < kHeader || reader.Take<uint32_t>() != kVersion ||
      (xattr.size() - kHeader) % kEntry != 0) {
    return bad;
  }
  Acl acl;
  acl.reserve(reader.remaining() / kEntry);
  while (reader.remaining() > 0) {
    AclEntry entry;
    entry.tag = reader.Take<uint16_t>();
    entry.permissions = reader.Take<uint16_t>();
    uint32_t id = reader.Take<uint32_t>();
    if (HasId(entry.tag)) entry.id = id;
    acl.push_back(entry);
  }
  if (!acl.empty() && !IsWellFormed(acl)) return bad;
  return acl;
}

std::string EncodeAcl(const Acl& acl) {
  Bytes out;
  out.reserve(kHeader + kEntry * acl.size());
  AppendInt(out, kVersion);
  for (const AclEntry& entry : acl) {
    AppendInt(out, entry.tag);
    AppendInt(out, entry.permissions);
    AppendInt(out, HasId(entry.tag) ? entry.id : kNoId);
  }
  return std::string(AsText(out));
}

uint16_t ModeOfAcl(const Acl& acl) {
  unsigned owner = 0;
  unsigned group = 0;
  unsigned other = 0;
  bool masked = false;
  for (const AclEntry& entry : acl) {
    if (entry.tag == AclEntry::kOwner) owner = entry.permissions;
    if (entry.tag == AclEntry::kOther) other = entry.permissions;
    if (entry.tag == AclEntry::kOwningGroup && !masked) group = entry.permissions;
    if (entry.tag == AclEntry::kMask) {
      group = entry.permissions;
      masked = true;
    }
  }
  return static_cast<uint16_t>(owner << 6 | group << 3 | other);
}

bool IsTrivial(const Acl& acl) {
  for (const AclEntry& entry : acl) {
    if (HasId(entry.tag) || entry.tag == AclEntry::kMask) return false;
  }
  return true;
}

void ChmodAcl(Acl& acl, uint16_t mode) {
  AclEntry* group = Find(acl, AclEntry::kMask);
  if (group == nullptr) group = Find(acl, AclEntry::kOwningGroup);
  if (group != nullptr) group->permissions = mode >> 3 & 7;
  if (AclEntry* owner = Find(acl, AclEntry::kOwner)) owner->permissions = mode >> 6 & 7;
  if (AclEntry* other = Find(acl, AclEntry::kOther)) other->permissions = mode & 7;
}

InheritedAcl InheritAcl(const Acl& default_acl, uint16_t mode) {
  // POSIX.1e: the default ACL becomes the access ACL, cut down to what creat(2)'s mode asks for;
  // the umask has no say.
  Acl access = default_acl;
  auto cut = [&](uint16_t tag, int shift) {
    AclEntry* entry = Find(access, tag);
    if (entry != nullptr) entry->permissions &= mode >> shift & 7;
    return entry != nullptr;
  };
  cut(AclEntry::kOwner, 6);
  if (!cut(AclEntry::kMask, 3)) cut(AclEntry::kOwningGroup, 3);
  cut(AclEntry::kOther, 0);
  InheritedAcl out;
  out.mode = static_cast<uint16_t>((mode & 07000) | ModeOfAcl(access));
  if (!IsTrivial(access)) out.access = std::move(access);
  return out;
}

}  // namespace bkfs

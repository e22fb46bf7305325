// SPDX-License-Identifier: Apache-2.0
#include "engine/format/header.h"

#include "engine/format/envelope.h"
#include "engine/format/flatbuffer.h"
#include "header_generated.h"

namespace bkfs {

namespace {
constexpr std::string_view kHeaderMagic = "BKFSREPO";
constexpr std::string_view kBadgeMagic = "BKFSBADG";
constexpr std::string_view kRevocationMagic = "BKFSREVO";
constexpr std::string_view kHeaderWhat = "repository header";
constexpr std::string_view kBadgeWhat = "key badge";
constexpr std::string_view kRevocationWhat = "revocation";
constexpr size_t kBytesPerTable = 16;
constexpr size_t kMaxLabel = 200;

constexpr std::string_view kTypeNames[] = {"",          "Master",  "ReadWrite", "ReadOnly",
                                           "WriteOnly", "LogOnly", "Maintain"};

Status Damaged(std::string_view what, std::string_view why) {
  return {Code::kCorrupt, std::string(what) + " is damaged: " + std::string(why)};
}

Result<EpochPublicKeys> ReadEpoch(const fb::EpochKeys& from, uint32_t after) {
  if (from.epoch() <= after) return Damaged(kHeaderWhat, "epochs are out of order");
  if (from.content() == nullptr || from.tree() == nullptr || from.log() == nullptr) {
    return Damaged(kHeaderWhat, "an epoch lacks a public key");
  }
  EpochPublicKeys out;
  out.epoch = from.epoch();
  FromStruct(from.content(), out.content);
  FromStruct(from.tree(), out.tree);
  FromStruct(from.log(), out.log);
  return out;
}

Result<RepoHeader> ReadHeader(const fb::RepoHeader& from) {
  if (from.repo() == nullptr || from.master() == nullptr) {
    return Damaged(kHeaderWhat, "it lacks the repository's id or the master's public key");
  }
  RepoHeader out;
  FromStruct(from.repo(), out.repo.bytes);
  FromStruct(from.master(), out.master);
  out.created_ns = from.created_ns();
  BKFS_ASSIGN(out.cipher, ParseCipher(from.cipher()));
  out.pad = from.pad();
  out.chunks = {from.chunk_min(), from.chunk_average(), from.chunk_max()};
  if (Status status = CheckChunkSizes(out.chunks); !status.ok()) {
    return Damaged(kHeaderWhat, status.message());
  }
  uint32_t last = 0;
  if (from.epochs() != nullptr) {
    for (const fb::EpochKeys* epoch : *from.epochs()) {
      BKFS_ASSIGN(EpochPublicKeys keys, ReadEpoch(*epoch, last));
      last = keys.epoch;
      out.epochs.push_back(keys);
    }
  }
  if (out.epochs.empty()) return Damaged(kHeaderWhat, "it has no public keys");
  return out;
}

Result<KeyType> DecodeDerivedType(uint8_t raw) {
  if (raw <= static_cast<uint8_t>(KeyType::kMaster) || raw >= std::size(kTypeNames)) {
    return Damaged(kBadgeWhat, "unknown key type " + std::to_string(raw));
  }
  return static_cast<KeyType>(raw);
}
}  // namespace

std::string_view KeyTypeName(KeyType type) { return kTypeNames[static_cast<uint8_t>(type)]; }

Result<KeyType> ParseKeyType(std::string_view name) {
  for (size_t i = 1; i < std::size(kTypeNames); ++i) {
    if (kTypeNames[i] == name) return static_cast<KeyType>(i);
  }
  return Status(Code::kInvalid,
                "unknown key type '" + std::string(name) +
                    "' (want Master, ReadWrite, ReadOnly, WriteOnly, LogOnly or Maintain)");
}

bool MayWrite(KeyType type) {
  return type == KeyType::kMaster || type == KeyType::kReadWrite || type == KeyType::kWriteOnly;
}
bool MayReadLog(KeyType type) { return type != KeyType::kWriteOnly; }
bool MayReadTrees(KeyType type) { return MayReadContents(type) || type == KeyType::kMaintain; }
bool MayReadContents(KeyType type) {
  return type == KeyType::kMaster || type == KeyType::kReadWrite || type == KeyType::kReadOnly;
}
bool MayMaintain(KeyType type) { return type == KeyType::kMaster || type == KeyType::kMaintain; }

Status CheckLabel(std::string_view label) {
  bool spaces = !label.empty() && (label.front() == ' ' || label.back() == ' ');
  if (label.size() <= kMaxLabel && !spaces && IsCleanText(label)) return {};
  return {Code::kInvalid,
          "a label is at most 200 bytes of UTF-8 without control characters, not beginning or "
          "ending with a space"};
}

const EpochPublicKeys* RepoHeader::FindEpoch(uint32_t epoch) const {
  for (const EpochPublicKeys& keys : epochs) {
    if (keys.epoch == epoch) return &keys;
  }
  return nullptr;
}

Bytes EncodeHeader(const RepoHeader& header, const SigningKey& master) {
  BKFS_CHECK(header.master == master.public_key());
  flatbuffers::FlatBufferBuilder builder;
  std::vector<flatbuffers::Offset<fb::EpochKeys>> epochs;
  for (const EpochPublicKeys& keys : header.epochs) {
    auto content = ToStruct<fb::Id32>(keys.content);
    auto tree = ToStruct<fb::Id32>(keys.tree);
    auto log = ToStruct<fb::Id32>(keys.log);
    epochs.push_back(fb::CreateEpochKeys(builder, keys.epoch, &content, &tree, &log));
  }
  auto epochs_at = builder.CreateVector(epochs);
  auto repo = ToStruct<fb::Id16>(header.repo.bytes);
  auto master_public = ToStruct<fb::Id32>(header.master);
  builder.Finish(fb::CreateRepoHeader(
      builder, &repo, header.created_ns, static_cast<uint8_t>(header.cipher), header.pad,
      header.chunks.min, header.chunks.average, header.chunks.max, &master_public, epochs_at));
  return EncodeSigned(kHeaderMagic, header.repo, BuilderBytes(builder), master);
}

Bytes EncodeBadge(const Badge& badge, const RepoId& repo, const SigningKey& master) {
  flatbuffers::FlatBufferBuilder builder;
  auto label = PutText(builder, badge.label);
  auto key = ToStruct<fb::Id16>(badge.key.bytes);
  auto public_key = ToStruct<fb::Id32>(badge.public_key);
  builder.Finish(fb::CreateBadge(builder, &key, static_cast<uint8_t>(badge.type), label,
                                 &public_key, badge.created_ns, badge.epoch));
  return EncodeSigned(kBadgeMagic, repo, BuilderBytes(builder), master);
}

Bytes EncodeRevocation(const Revocation& revocation, const RepoId& repo, const SigningKey& master) {
  flatbuffers::FlatBufferBuilder builder;
  auto accepted_at = PutIds<fb::Id16>(builder, revocation.accepted);
  auto key = ToStruct<fb::Id16>(revocation.key.bytes);
  builder.Finish(fb::CreateRevocation(builder, &key, revocation.time_ns, accepted_at));
  return EncodeSigned(kRevocationMagic, repo, BuilderBytes(builder), master);
}

Result<RepoHeader> DecodeHeader(ByteView object) {
  BKFS_ASSIGN(SignedObject parts, SplitSigned(object, kHeaderMagic, kHeaderWhat));
  AlignedView body(parts.body);
  const auto* root = VerifiedRoot<fb::RepoHeader>(body.view(), kBytesPerTable);
  if (root == nullptr) return Damaged(kHeaderWhat, "its fields do not parse");
  BKFS_ASSIGN(RepoHeader out, ReadHeader(*root));
  BKFS_TRY(VerifySigned(object, out.repo, out.master, kHeaderWhat));
  return out;
}

Result<Badge> DecodeBadge(ByteView object, const RepoId& repo, const PublicKey& master) {
  BKFS_ASSIGN(SignedObject parts, SplitSigned(object, kBadgeMagic, kBadgeWhat));
  BKFS_TRY(VerifySigned(object, repo, master, kBadgeWhat));
  AlignedView body(parts.body);
  const auto* root = VerifiedRoot<fb::Badge>(body.view(), kBytesPerTable);
  if (root == nullptr || root->key() == nullptr || root->public_key() == nullptr) {
    return Damaged(kBadgeWhat, "its fields do not parse");
  }
  Badge out;
  FromStruct(root->key(), out.key.bytes);
  FromStruct(root->public_key(), out.public_key);
  BKFS_ASSIGN(out.type, DecodeDerivedType(root->type()));
  out.label = TextOf(root->label());
  out.created_ns = root->created_ns();
  out.epoch = root->epoch();
  if (out.key != KeyIdOf(out.public_key)) {
    return Damaged(kBadgeWhat, "its key id is not that of its public key");
  }
  if (!CheckLabel(out.label).ok()) return Damaged(kBadgeWhat, "its label is not clean text");
  if (out.epoch == 0) return Damaged(kBadgeWhat, "it has no epoch");
  return out;
}

Result<Revocation> DecodeRevocation(ByteView object, const RepoId& repo, const PublicKey& master) {
  BKFS_ASSIGN(SignedObject parts, SplitSigned(object, kRevocationMagic, kRevocationWhat));
  BKFS_TRY(VerifySigned(object, repo, master, kRevocationWhat));
  AlignedView body(parts.body);
  const auto* root = VerifiedRoot<fb::Revocation>(body.view(), kBytesPerTable);
  if (root == nullptr || root->key() == nullptr) {
    return Damaged(kRevocationWhat, "its fields do not parse");
  }
  Revocation out;
  FromStruct(root->key(), out.key.bytes);
  out.time_ns = root->time_ns();
  if (root->accepted() == nullptr) return out;
  out.accepted.reserve(root->accepted()->size());
  for (const fb::Id16* raw : *root->accepted()) {
    SnapshotId id;
    FromStruct(raw, id.bytes);
    if (!out.accepted.empty() && id <= out.accepted.back()) {
      return Damaged(kRevocationWhat, "its snapshot ids are out of order");
    }
    out.accepted.push_back(id);
  }
  return out;
}

}  // namespace bkfs

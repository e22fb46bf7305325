// SPDX-License-Identifier: Apache-2.0
#include "engine/format/epoch.h"

#include <algorithm>
#include <charconv>

#include "engine/format/entry_codec.h"
#include "engine/format/envelope.h"
#include "engine/format/flatbuffer.h"
#include "header_generated.h"

namespace bkfs {

namespace {
constexpr std::string_view kMagic = "BKFSEPOC";
constexpr std::string_view kWhat = "epoch";
constexpr std::string_view kPrefix = "keys/epoch-";
constexpr size_t kBytesPerTable = 16;

Status Damaged(std::string_view why) {
  return {Code::kCorrupt, "epoch object is damaged: " + std::string(why)};
}

Status ReadGrants(const fb::Epoch& from, size_t size, Epoch& out) {
  if (from.grants() == nullptr) return {};
  VectorBudget budget(size);
  for (const fb::Grant* raw : *from.grants()) {
    if (raw->key() == nullptr || raw->box() == nullptr) return Damaged("a grant is not complete");
    if (!budget.Spend(raw->box()->size())) return Damaged("its grants share their bytes");
    EpochGrant grant;
    FromStruct(raw->key(), grant.key.bytes);
    const ByteView box = BytesOf(raw->box());
    grant.box.assign(box.begin(), box.end());
    if (!out.grants.empty() && grant.key <= out.grants.back().key) {
      return Damaged("its grants are out of order");
    }
    out.grants.push_back(std::move(grant));
  }
  return {};
}
}  // namespace

const EpochGrant* Epoch::FindGrant(const KeyId& key) const {
  auto at = std::lower_bound(grants.begin(), grants.end(), key,
                             [](const EpochGrant& g, const KeyId& want) { return g.key < want; });
  return at != grants.end() && at->key == key ? &*at : nullptr;
}

Bytes EncodeEpoch(const Epoch& epoch, const RepoId& repo, const SigningKey& master) {
  flatbuffers::FlatBufferBuilder builder;
  std::vector<flatbuffers::Offset<fb::Grant>> grants;
  for (const EpochGrant& grant : epoch.grants) {
    auto box = builder.CreateVector(grant.box.data(), grant.box.size());
    auto key = ToStruct<fb::Id16>(grant.key.bytes);
    grants.push_back(fb::CreateGrant(builder, &key, box));
  }
  auto grants_at = builder.CreateVector(grants);
  auto content = ToStruct<fb::Id32>(epoch.keys.content);
  auto tree = ToStruct<fb::Id32>(epoch.keys.tree);
  auto log = ToStruct<fb::Id32>(epoch.keys.log);
  builder.Finish(
      fb::CreateEpoch(builder, epoch.keys.epoch, &content, &tree, &log, epoch.time_ns, grants_at));
  return EncodeSigned(kMagic, repo, BuilderBytes(builder), master);
}

Result<Epoch> DecodeEpoch(ByteView object, const RepoId& repo, const PublicKey& master) {
  BKFS_ASSIGN(SignedObject parts, SplitSigned(object, kMagic, kWhat));
  BKFS_TRY(VerifySigned(object, repo, master, kWhat));
  AlignedView body(parts.body);
  const auto* root = VerifiedRoot<fb::Epoch>(body.view(), kBytesPerTable);
  if (root == nullptr || root->content() == nullptr || root->tree() == nullptr ||
      root->log() == nullptr) {
    return Damaged("its fields do not parse");
  }
  Epoch out;
  out.keys.epoch = root->number();
  if (out.keys.epoch == 0 || out.keys.epoch > kMostEpochs) {
    return Damaged("there is no epoch " + std::to_string(out.keys.epoch));
  }
  FromStruct(root->content(), out.keys.content);
  FromStruct(root->tree(), out.keys.tree);
  FromStruct(root->log(), out.keys.log);
  out.time_ns = root->time_ns();
  BKFS_TRY(ReadGrants(*root, parts.body.size(), out));
  return out;
}

bool NeedsGrant(KeyType type) { return type != KeyType::kMaster && MayReadLog(type); }

Result<EpochGrant> MakeGrant(const EpochSecrets& all, KeyType type, const PublicKey& to) {
  BKFS_CHECK(NeedsGrant(type));
  BKFS_ASSIGN(PublicKey box_key, BoxPublicKeyOf(to));
  const Secret payload = EncodeEpochSecrets(EpochFor(all, type));
  return EpochGrant{KeyIdOf(to), SealBox(box_key, payload.view())};
}

Result<EpochSecrets> OpenGrant(const EpochGrant& grant, const EpochPublicKeys& of, KeyType type,
                               const SigningKey& key) {
  auto payload = key.AsBoxKey().Open(grant.box);
  if (!payload.ok()) return payload.status();
  BKFS_ASSIGN(EpochSecrets secrets, DecodeEpochSecrets(payload->view(), type));
  BKFS_TRY(CheckEpochSecrets(secrets, of));
  return secrets;
}

std::string EpochName(uint32_t epoch) { return std::string(kPrefix) + std::to_string(epoch); }

Result<uint32_t> ParseEpochName(std::string_view name) {
  uint32_t epoch = 0;
  if (name.starts_with(kPrefix)) {
    const std::string_view digits = name.substr(kPrefix.size());
    std::from_chars(digits.data(), digits.data() + digits.size(), epoch);
  }
  if (epoch > 0 && EpochName(epoch) == name) return epoch;
  return Status(Code::kInvalid, "'" + std::string(name) + "' is not the name of an epoch");
}

}  // namespace bkfs

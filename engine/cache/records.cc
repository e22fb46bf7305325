// SPDX-License-Identifier: Apache-2.0
#include "engine/cache/records.h"

#include <algorithm>
#include <utility>

#include "engine/cache/row_store.h"
#include "engine/crypto/hash.h"

namespace bkfs {

namespace {
constexpr uint32_t kSchema = 2;
constexpr uint8_t kPack = 'p';
constexpr uint8_t kSegment = 's';

static_assert(RowStore::kPrefix == 1 + BlobId::kSize);

Bytes Padded(Bytes key) {
  key.resize(std::max(key.size(), RowStore::kPrefix));
  return key;
}

void AppendBigEndian(Bytes& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<uint8_t>(value >> shift));
}

uint32_t LoadBigEndian(ByteView four) {
  uint32_t value = 0;
  for (uint8_t byte : four) value = value << 8 | byte;
  return value;
}

// Seven bits a byte, low ones first.
void AppendVarint(Bytes& out, uint32_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<uint8_t>(value | 0x80));
  out.push_back(static_cast<uint8_t>(value));
}

// Five bytes hold 32 bits; longer ones are taken as an error by the caller, which ends too early.
uint32_t TakeVarint(ByteReader& reader) {
  uint32_t value = 0;
  for (int shift = 0; shift < 35; shift += 7) {
    const auto byte = reader.Take<uint8_t>();
    value |= static_cast<uint32_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  return value;
}

template <typename IdType>
IdType TakeId(ByteReader& reader) {
  IdType id;
  ByteView raw = reader.TakeBytes(IdType::kSize);
  std::copy(raw.begin(), raw.end(), id.bytes.begin());
  return id;
}

Status BadRow(std::string_view what) {
  return {Code::kCorrupt, "index cache: a row of a " + std::string(what) + " makes no sense"};
}

Secret Derive(std::string_view context, const Secret& local_key, ByteView salt) {
  Secret material(local_key.size() + salt.size());
  auto at =
      std::copy(local_key.view().begin(), local_key.view().end(), material.mutable_view().begin());
  std::copy(salt.begin(), salt.end(), at);
  return DeriveKey(context, material.view());
}
}  // namespace

Records::Records(const Secret& local_key, ByteView salt)
    : sealer_(Derive("bkfs v1 index cache values", local_key, salt)),
      name_key_(Derive("bkfs v1 index cache names", local_key, salt)) {}

Bytes Records::BlobPrefix(const BlobId& id) {
  Bytes key;
  key.reserve(1 + BlobId::kSize + 4);
  key.push_back(kBlob);
  Append(key, id.view());
  return key;
}

Bytes Records::BlobKey(const BlobId& id, uint32_t number) {
  Bytes key = BlobPrefix(id);
  AppendBigEndian(key, ~number);
  return key;
}

Bytes Records::CounterKey() { return Padded({'#'}); }
Bytes Records::SegmentsFrom() { return Padded({kSegment}); }

Bytes Records::PackKey(uint32_t number) {
  Bytes key{kPack};
  AppendBigEndian(key, number);
  return Padded(std::move(key));
}

Bytes Records::SegmentKey(const IndexId& id) {
  Bytes key{kSegment};
  Append(key, id.view());
  return key;
}

Bytes Records::HashedKey(uint8_t kind, ByteView what) const {
  Bytes key{kind};
  Append(key, KeyedHash(name_key_.view(), what));
  return key;
}

Bytes Records::PackIdKey(const PackId& id) const { return HashedKey('i', id.view()); }
Bytes Records::NoteKey(std::string_view name) const { return HashedKey('n', AsBytes(name)); }

std::optional<uint32_t> Records::NumberOf(ByteView key) {
  if (key.size() == RowStore::kPrefix + 4 && key[0] == kBlob) return ~LoadBigEndian(key.last(4));
  if (key.size() == RowStore::kPrefix && key[0] == kPack) return LoadBigEndian(key.subspan(1, 4));
  return std::nullopt;
}

void Records::SealBlob(ByteView key, const PackFrame& frame, const PackBlob& blob, uint32_t ordinal,
                       Bytes& out) const {
  Bytes plain;
  plain.reserve(30);
  for (uint32_t value :
       {frame.offset, frame.length, frame.plain, frame.slot, blob.offset, blob.length, ordinal}) {
    AppendVarint(plain, value);
  }
  sealer_.Seal(key, plain, out);
}

Result<BlobLocation> Records::OpenBlob(ByteView key, ByteView sealed) const {
  BKFS_ASSIGN(Bytes plain, sealer_.Open(key, sealed));
  std::optional<uint32_t> number = NumberOf(key);
  ByteReader reader(plain);
  BlobLocation place;
  for (uint32_t* value : {&place.frame.offset, &place.frame.length, &place.frame.plain,
                          &place.frame.slot, &place.offset, &place.length, &place.ordinal}) {
    *value = TakeVarint(reader);
  }
  if (!number || !reader.ok() || reader.remaining() != 0) return BadRow("blob");
  place.pack = *number;
  return place;
}

Bytes Records::SealPack(ByteView key, const CachedPack& pack) const {
  Bytes plain;
  Append(plain, pack.id.view());
  AppendInt(plain, static_cast<uint8_t>(pack.kind));
  AppendInt(plain, pack.size);
  Append(plain, pack.signer.view());
  AppendInt(plain, pack.blobs);
  AppendInt(plain, pack.plain);
  AppendInt(plain, pack.frames_plain);
  AppendInt(plain, static_cast<uint32_t>(pack.slots.size()));
  for (const PackSlot& slot : pack.slots) {
    AppendInt(plain, slot.epoch);
    AppendInt(plain, static_cast<uint8_t>(slot.cipher));
    Append(plain, slot.writer.view());
    AppendInt(plain, static_cast<uint16_t>(slot.box.size()));
    Append(plain, slot.box);
  }
  return SealBytes(key, plain);
}

Result<CachedPack> Records::OpenPack(ByteView key, ByteView sealed) const {
  BKFS_ASSIGN(Bytes plain, sealer_.Open(key, sealed));
  ByteReader reader(plain);
  CachedPack pack;
  pack.id = TakeId<PackId>(reader);
  pack.kind = static_cast<PackKind>(reader.Take<uint8_t>());
  pack.size = reader.Take<uint64_t>();
  pack.signer = TakeId<KeyId>(reader);
  pack.blobs = reader.Take<uint32_t>();
  pack.plain = reader.Take<uint64_t>();
  pack.frames_plain = reader.Take<uint64_t>();
  const auto slots = reader.Take<uint32_t>();
  if (pack.kind != PackKind::kContents && pack.kind != PackKind::kTrees) return BadRow("pack");
  for (uint32_t i = 0; i < slots && reader.ok(); ++i) {
    PackSlot slot;
    slot.epoch = reader.Take<uint32_t>();
    BKFS_ASSIGN(slot.cipher, ParseCipher(reader.Take<uint8_t>()));
    slot.writer = TakeId<KeyId>(reader);
    ByteView box = reader.TakeBytes(reader.Take<uint16_t>());
    slot.box.assign(box.begin(), box.end());
    pack.slots.push_back(std::move(slot));
  }
  if (!reader.ok() || reader.remaining() != 0) return BadRow("pack");
  return pack;
}

Bytes Records::SealNumber(ByteView key, uint32_t number) const {
  uint8_t raw[sizeof number];
  Store(raw, number);
  return SealBytes(key, raw);
}

Result<uint32_t> Records::OpenNumber(ByteView key, ByteView sealed) const {
  BKFS_ASSIGN(Bytes plain, sealer_.Open(key, sealed));
  if (plain.size() != sizeof(uint32_t)) return BadRow("number");
  return Load<uint32_t>(plain.data());
}

Bytes Records::SealPackIds(ByteView key, const std::vector<PackId>& packs) const {
  Bytes plain;
  plain.reserve(packs.size() * PackId::kSize);
  for (const PackId& id : packs) Append(plain, id.view());
  return SealBytes(key, plain);
}

Result<std::vector<PackId>> Records::OpenPackIds(ByteView key, ByteView sealed) const {
  BKFS_ASSIGN(Bytes plain, sealer_.Open(key, sealed));
  if (plain.size() % PackId::kSize != 0) return BadRow("segment");
  std::vector<PackId> packs;
  packs.reserve(plain.size() / PackId::kSize);
  for (ByteReader reader(plain); reader.remaining() > 0;) packs.push_back(TakeId<PackId>(reader));
  return packs;
}

Bytes Records::SealBytes(ByteView key, ByteView plaintext) const {
  Bytes out;
  out.reserve(plaintext.size() + LocalSealer::kOverhead);
  sealer_.Seal(key, plaintext, out);
  return out;
}

Result<Bytes> Records::OpenBytes(ByteView key, ByteView sealed) const {
  return sealer_.Open(key, sealed);
}

namespace {
// Proves knowledge of the local key without telling it.
Hash256 IdentityProof(ByteView stated, const Secret& local_key) {
  return KeyedHash(DeriveKey("bkfs v1 index cache identity", local_key.view()).view(), stated);
}
}  // namespace

Bytes IdentityKey() { return Padded({'!'}); }

Bytes EncodeIdentity(const RepoId& repo, const Secret& local_key, ByteView salt) {
  Bytes identity;
  AppendInt(identity, kSchema);
  Append(identity, repo.view());
  Append(identity, salt);
  Append(identity, IdentityProof(identity, local_key));
  return identity;
}

std::optional<Bytes> CheckIdentity(ByteView identity, const RepoId& repo, const Secret& local_key) {
  constexpr size_t kBefore = sizeof kSchema + RepoId::kSize;
  if (identity.size() < kBefore + kCacheSalt) return std::nullopt;
  ByteView salt = identity.subspan(kBefore, kCacheSalt);
  Bytes expected = EncodeIdentity(repo, local_key, salt);
  if (!std::equal(identity.begin(), identity.end(), expected.begin(), expected.end())) {
    return std::nullopt;
  }
  return Bytes(salt.begin(), salt.end());
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/format/keyfile.h"

#include <algorithm>
#include <charconv>

#include "engine/crypto/aead.h"
#include "engine/crypto/hash.h"
#include "engine/format/envelope.h"

namespace bkfs {

namespace {
constexpr std::string_view kBegin = "-----BEGIN BKFS KEY-----\n";
constexpr std::string_view kEnd = "-----END BKFS KEY-----";
constexpr size_t kMaxText = 64 << 10;
constexpr size_t kSealedOverhead = 24 + 16;
constexpr size_t kLineLength = 76;
constexpr size_t kChecksum = 8;
constexpr size_t kKeySize = 32;

enum Tag : uint8_t {
  kMasterKey = 1,
  kIdKey = 2,
  kChunkerKey = 3,
  kIndexKey = 4,
  kContentSecret = 5,
  kTreeSecret = 6,
  kLogSecret = 7,
  kSigningSeed = 8,
  kMasterPublic = 9,
  kBadge = 10,
};
constexpr size_t kTags = 11;

// The table of doc/format.md section 3.
bool TypeHas(KeyType type, uint8_t tag) {
  const bool derived = type != KeyType::kMaster;
  switch (tag) {
    case kMasterKey: return !derived;
    case kIdKey:
    case kIndexKey: return derived && type != KeyType::kLogOnly;
    case kChunkerKey: return derived && MayWrite(type);
    case kContentSecret: return derived && MayReadContents(type);
    case kTreeSecret: return derived && MayReadTrees(type);
    case kLogSecret: return derived && MayReadLog(type);
    case kMasterPublic: return true;
    case kSigningSeed:
    case kBadge: return derived;
    default: return false;
  }
}

bool IsEpochTag(uint8_t tag) { return tag >= kContentSecret && tag <= kLogSecret; }

Status Damaged(std::string_view why) {
  return {Code::kCorrupt, "keyfile is damaged: " + std::string(why)};
}

// ---- Writing.

void PutField(Bytes& out, uint8_t tag, ByteView first, ByteView second = {}) {
  BKFS_CHECK(first.size() + second.size() <= UINT16_MAX);
  out.push_back(tag);
  AppendInt(out, static_cast<uint16_t>(first.size() + second.size()));
  Append(out, first);
  Append(out, second);
}

void PutEpochSecret(Bytes& out, uint8_t tag, uint32_t epoch, const BoxKey& key) {
  if (key.empty()) return;
  uint8_t raw[sizeof epoch];
  Store(raw, epoch);
  PutField(out, tag, raw, key.secret());
}

Secret EncodePayload(const KeyMaterial& material) {
  Bytes out;
  // Never reallocated while it holds secrets, so that wiping it at the end wipes all of them.
  out.reserve(1024 + material.badge.size() + material.epochs.size() * 3 * 64);
  const size_t reserved = out.capacity();
  AppendInt(out, kFormatVersion);
  if (material.type == KeyType::kMaster) {
    PutField(out, kMasterKey, material.master.view());
    PutField(out, kMasterPublic, material.master_public);
  } else {
    if (!material.id_key.empty()) PutField(out, kIdKey, material.id_key.view());
    if (!material.chunker_key.empty()) PutField(out, kChunkerKey, material.chunker_key.view());
    if (!material.index_key.empty()) PutField(out, kIndexKey, material.index_key.view());
    for (const EpochSecrets& epoch : material.epochs) {
      PutEpochSecret(out, kContentSecret, epoch.epoch, epoch.content);
      PutEpochSecret(out, kTreeSecret, epoch.epoch, epoch.tree);
      PutEpochSecret(out, kLogSecret, epoch.epoch, epoch.log);
    }
    PutField(out, kSigningSeed, material.signing.seed());
    PutField(out, kMasterPublic, material.master_public);
    PutField(out, kBadge, material.badge);
  }
  BKFS_CHECK(out.capacity() == reserved);
  Secret payload = Secret::CopyOf(out);
  WipeMemory(out);
  return payload;
}

std::string HeaderLines(const KeyMaterial& material, const PassphraseParams* passphrase) {
  std::string out = "Repository: " + material.repo.hex() + "\nType: ";
  out += KeyTypeName(material.type);
  out += "\nKey: " + material.id().hex() + "\n";
  if (!material.label.empty()) out += "Label: " + material.label + "\n";
  if (passphrase != nullptr) {
    out += "Passphrase: argon2id " + std::to_string(passphrase->opslimit) + " " +
           std::to_string(passphrase->memlimit) + " " + ToHex(passphrase->salt) + "\n";
  }
  return out;
}

std::string Armour(const std::string& header_lines, ByteView body) {
  std::string base64 = EncodeBase64(body);
  std::string out;
  out.reserve(header_lines.size() + base64.size() * 2 + 128);
  out += kBegin;
  out += header_lines;
  out += "\n";
  for (size_t at = 0; at < base64.size(); at += kLineLength) {
    out.append(base64, at, kLineLength);
    out += "\n";
  }
  out += kEnd;
  out += "\n";
  WipeMemory({reinterpret_cast<uint8_t*>(base64.data()), base64.size()});
  return out;
}

Hash256 Checksum(std::string_view header_lines, ByteView payload) {
  return HashParts({AsBytes(header_lines), payload});
}

// ---- Reading.

struct ArmouredKey {
  std::string_view header_lines;
  RepoId repo;
  KeyType type = KeyType::kReadOnly;
  KeyId key;
  std::string label;
  std::optional<PassphraseParams> passphrase;
  Secret body;
};

// The rest of the next line if it begins with `field`.
std::optional<std::string_view> TakeLine(std::string_view& lines, std::string_view field) {
  if (!lines.starts_with(field)) return std::nullopt;
  size_t end = lines.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  std::string_view value = lines.substr(field.size(), end - field.size());
  lines.remove_prefix(end + 1);
  return value;
}

bool TakeNumber(std::string_view& text, uint64_t& out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end == text.data() + text.size() || *end != ' ') return false;
  if (text[0] == '0') return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()) + 1);
  return true;
}

Result<PassphraseParams> ParsePassphraseLine(std::string_view value) {
  constexpr std::string_view kKind = "argon2id ";
  PassphraseParams out;
  if (!value.starts_with(kKind)) return Damaged("unknown kind of passphrase protection");
  value.remove_prefix(kKind.size());
  if (!TakeNumber(value, out.opslimit) || !TakeNumber(value, out.memlimit)) {
    return Damaged("its passphrase line does not parse");
  }
  Result<Bytes> salt = ParseHex(value);
  if (!salt.ok() || salt->size() != out.salt.size()) {
    return Damaged("its passphrase line does not parse");
  }
  std::memcpy(out.salt.data(), salt->data(), out.salt.size());
  return out;
}

Status ParseHeaderLines(std::string_view lines, ArmouredKey& out) {
  auto repo = TakeLine(lines, "Repository: ");
  auto type = TakeLine(lines, "Type: ");
  auto key = TakeLine(lines, "Key: ");
  auto label = TakeLine(lines, "Label: ");
  auto passphrase = TakeLine(lines, "Passphrase: ");
  if (!repo || !type || !key || !lines.empty()) {
    return Damaged("its header lines are not the expected ones");
  }
  auto repo_id = RepoId::FromHex(*repo);
  auto key_id = KeyId::FromHex(*key);
  auto key_type = ParseKeyType(*type);
  if (!repo_id.ok() || !key_id.ok() || !key_type.ok()) {
    return Damaged("its header lines do not parse");
  }
  out.repo = *repo_id;
  out.key = *key_id;
  out.type = *key_type;
  if (label) {
    out.label = *label;
    if (label->empty() || !CheckLabel(*label).ok()) return Damaged("its label is not clean text");
  }
  if (passphrase) {
    BKFS_ASSIGN(out.passphrase, ParsePassphraseLine(*passphrase));
  }
  return {};
}

Result<ArmouredKey> ParseArmour(std::string_view text) {
  if (text.size() > kMaxText || !text.starts_with(kBegin)) {
    return Status(Code::kCorrupt, "not a bkfs keyfile: it does not begin with BEGIN BKFS KEY");
  }
  text.remove_prefix(kBegin.size());
  size_t empty_line = text.find("\n\n");
  size_t end = text.find(kEnd);
  if (empty_line == std::string_view::npos || end == std::string_view::npos ||
      end < empty_line + 2) {
    return Damaged("it has been cut");
  }
  std::string_view after = text.substr(end + kEnd.size());
  if (!after.empty() && after != "\n") return Damaged("something follows its end");
  ArmouredKey out;
  out.header_lines = text.substr(0, empty_line + 1);
  BKFS_TRY(ParseHeaderLines(out.header_lines, out));
  std::string_view base64 = text.substr(empty_line + 2, end - empty_line - 2);
  if (!base64.ends_with('\n')) return Damaged("its end is not on a line of its own");
  Result<Bytes> body = DecodeBase64(base64);
  if (!body.ok()) return Damaged(body.status().message());
  out.body = Secret::CopyOf(*body);
  WipeMemory(*body);
  return out;
}

Result<Secret> OpenPayload(const ArmouredKey& armoured, const PassphraseSource& source) {
  ByteView body = armoured.body.view();
  if (!armoured.passphrase) {
    if (body.size() < kChecksum) return Damaged("it has been cut");
    ByteView payload = body.first(body.size() - kChecksum);
    Hash256 want = Checksum(armoured.header_lines, payload);
    if (std::memcmp(want.data(), body.data() + payload.size(), kChecksum) != 0) {
      return Damaged("its checksum does not fit: it was changed or mistyped");
    }
    return Secret::CopyOf(payload);
  }
  if (!source) return Status(Code::kWrongKey, "the keyfile needs a passphrase");
  BKFS_ASSIGN(Secret passphrase, source());
  BKFS_ASSIGN(Secret key, StretchPassphrase(passphrase.view(), *armoured.passphrase));
  auto payload = OpenKeyfile(key.view(), AsBytes(armoured.header_lines), body);
  if (payload.ok() || body.size() < kSealedOverhead) return payload;
  return Status(Code::kWrongKey, "wrong passphrase, or the keyfile was changed");
}

Status TakeEpochSecret(uint8_t tag, ByteView value, KeyMaterial& out) {
  uint32_t epoch = Load<uint32_t>(value.data());
  if (epoch == 0) return Damaged("epoch 0 does not exist");
  auto at = std::lower_bound(out.epochs.begin(), out.epochs.end(), epoch,
                             [](const EpochSecrets& e, uint32_t want) { return e.epoch < want; });
  if (at == out.epochs.end() || at->epoch != epoch) {
    at = out.epochs.emplace(at);
    at->epoch = epoch;
  }
  BoxKey& key = tag == kContentSecret ? at->content : tag == kTreeSecret ? at->tree : at->log;
  if (!key.empty()) return Damaged("a field is there twice");
  key = BoxKey(Secret::CopyOf(value.subspan(4)));
  return {};
}

Status CheckComplete(const EpochSecrets& epoch, KeyType type) {
  if (epoch.content.empty() == TypeHas(type, kContentSecret) ||
      epoch.tree.empty() == TypeHas(type, kTreeSecret) ||
      epoch.log.empty() == TypeHas(type, kLogSecret)) {
    return Damaged("an epoch lacks a secret");
  }
  return {};
}

Status TakeField(uint8_t tag, ByteView value, KeyMaterial& out) {
  const size_t want = IsEpochTag(tag) ? 4 + kKeySize : kKeySize;
  if (tag != kBadge && value.size() != want) return Damaged("a field has the wrong length");
  if (IsEpochTag(tag)) return TakeEpochSecret(tag, value, out);
  switch (tag) {
    case kMasterKey: out.master = Secret::CopyOf(value); break;
    case kIdKey: out.id_key = Secret::CopyOf(value); break;
    case kChunkerKey: out.chunker_key = Secret::CopyOf(value); break;
    case kIndexKey: out.index_key = Secret::CopyOf(value); break;
    case kSigningSeed: out.signing = SigningKey(Secret::CopyOf(value)); break;
    case kMasterPublic: std::memcpy(out.master_public.data(), value.data(), kKeySize); break;
    default: out.badge.assign(value.begin(), value.end()); break;
  }
  return {};
}

Status ParsePayload(ByteView payload, KeyMaterial& out) {
  ByteReader reader(payload);
  uint32_t version = reader.Take<uint32_t>();
  if (!reader.ok()) return Damaged("it has been cut");
  BKFS_TRY(CheckVersion(version, "keyfile"));
  bool seen[kTags] = {};
  while (reader.remaining() > 0) {
    uint8_t tag = reader.Take<uint8_t>();
    uint16_t length = reader.Take<uint16_t>();
    ByteView value = reader.TakeBytes(length);
    if (!reader.ok()) return Damaged("a field has been cut");
    if (tag >= kTags || !TypeHas(out.type, tag)) {
      return Damaged("field " + std::to_string(tag) + " does not belong in a key of its type");
    }
    if (seen[tag] && !IsEpochTag(tag)) return Damaged("a field is there twice");
    seen[tag] = true;
    BKFS_TRY(TakeField(tag, value, out));
  }
  for (uint8_t tag = 1; tag < kTags; ++tag) {
    if (TypeHas(out.type, tag) && !seen[tag]) {
      return Damaged("field " + std::to_string(tag) + " is missing");
    }
  }
  for (const EpochSecrets& epoch : out.epochs) BKFS_TRY(CheckComplete(epoch, out.type));
  return {};
}

// Text, seed and badge must tell of the same key.
Status CheckConsistent(const KeyMaterial& material, const ArmouredKey& armoured) {
  if (material.id() != armoured.key) return Damaged("its key id is not that of its signing key");
  if (material.type == KeyType::kMaster) return {};
  BKFS_ASSIGN(Badge badge, DecodeBadge(material.badge, material.repo, material.master_public));
  if (badge.key != material.id() || badge.type != material.type || badge.label != material.label) {
    return Damaged("its badge is of another key");
  }
  return {};
}
}  // namespace

Secret EncodeEpochSecrets(const EpochSecrets& secrets) {
  Bytes out;
  constexpr size_t kMost = 4 + 3 * (3 + 4 + kKeySize);
  out.reserve(kMost);  // never reallocated: wiping it wipes all of them
  AppendInt(out, kFormatVersion);
  PutEpochSecret(out, kContentSecret, secrets.epoch, secrets.content);
  PutEpochSecret(out, kTreeSecret, secrets.epoch, secrets.tree);
  PutEpochSecret(out, kLogSecret, secrets.epoch, secrets.log);
  Secret payload = Secret::CopyOf(out);
  WipeMemory(out);
  return payload;
}

Result<EpochSecrets> DecodeEpochSecrets(ByteView payload, KeyType type) {
  ByteReader reader(payload);
  uint32_t version = reader.Take<uint32_t>();
  if (!reader.ok()) return Damaged("it has been cut");
  BKFS_TRY(CheckVersion(version, "grant"));
  KeyMaterial out;
  while (reader.remaining() > 0) {
    uint8_t tag = reader.Take<uint8_t>();
    uint16_t length = reader.Take<uint16_t>();
    ByteView value = reader.TakeBytes(length);
    if (!reader.ok() || !IsEpochTag(tag)) return Damaged("a field is none of an epoch");
    BKFS_TRY(TakeField(tag, value, out));
  }
  if (out.epochs.size() != 1) return Damaged("it is not of one epoch");
  BKFS_TRY(CheckComplete(out.epochs[0], type));
  return std::move(out.epochs[0]);
}

std::string EncodeKeyfile(const KeyMaterial& material, ByteView passphrase) {
  Secret payload = EncodePayload(material);
  if (passphrase.empty()) {
    std::string lines = HeaderLines(material, nullptr);
    Hash256 checksum = Checksum(lines, payload.view());
    Secret body(payload.size() + kChecksum);
    std::memcpy(body.mutable_view().data(), payload.view().data(), payload.size());
    std::memcpy(body.mutable_view().data() + payload.size(), checksum.data(), kChecksum);
    return Armour(lines, body.view());
  }
  PassphraseParams params;
  RandomBytes(params.salt);
  Result<Secret> key = StretchPassphrase(passphrase, params);
  BKFS_CHECK(key.ok());  // fails for want of memory only
  std::string lines = HeaderLines(material, &params);
  return Armour(lines, SealKeyfile(key->view(), AsBytes(lines), payload.view()));
}

Result<KeyMaterial> DecodeKeyfile(std::string_view text, const PassphraseSource& passphrase) {
  BKFS_ASSIGN(ArmouredKey armoured, ParseArmour(text));
  BKFS_ASSIGN(Secret payload, OpenPayload(armoured, passphrase));
  KeyMaterial out;
  out.repo = armoured.repo;
  out.type = armoured.type;
  out.label = armoured.label;
  BKFS_TRY(ParsePayload(payload.view(), out));
  if (out.type == KeyType::kMaster) {
    PublicKey named = out.master_public;
    out = MasterMaterial(std::move(out.master), armoured.repo, 1);
    out.label = armoured.label;
    if (out.master_public != named) return Damaged("its master key is not the one it names");
  }
  BKFS_TRY(CheckConsistent(out, armoured));
  return out;
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/bytes.h"
#include "engine/base/ids.h"
#include "engine/codec/chunker.h"
#include "engine/crypto/aead.h"
#include "engine/crypto/keys.h"

namespace bkfs {

enum class KeyType : uint8_t {
  kMaster = 1,
  kReadWrite = 2,
  kReadOnly = 3,
  kWriteOnly = 4,
  kLogOnly = 5,
  kMaintain = 6,
};
std::string_view KeyTypeName(KeyType type);           // "ReadWrite"
Result<KeyType> ParseKeyType(std::string_view name);  // exact names; kInvalid lists them
bool MayWrite(KeyType type);                          // sign snapshots and packs
bool MayReadLog(KeyType type);                        // list snapshots
bool MayReadTrees(KeyType type);
bool MayReadContents(KeyType type);
bool MayMaintain(KeyType type);

// What a key's label may be: at most 200 bytes of UTF-8 without control characters, not beginning
// or ending with a space (it stands on a line of the keyfile). kInvalid otherwise.
Status CheckLabel(std::string_view label);

struct EpochPublicKeys {
  uint32_t epoch = 1;
  PublicKey content{};
  PublicKey tree{};
  PublicKey log{};
};

// bkfs.repo (doc/format.md section 4).
struct RepoHeader {
  RepoId repo;
  int64_t created_ns = 0;
  Cipher cipher = Cipher::kAes256Gcm;
  bool pad = false;
  ChunkSizes chunks;
  PublicKey master{};                   // master's public signing key
  std::vector<EpochPublicKeys> epochs;  // ascending, never empty

  const EpochPublicKeys* FindEpoch(uint32_t epoch) const;
};

// keys/<KeyId> (section 5).
struct Badge {
  KeyId key;
  KeyType type = KeyType::kReadOnly;
  std::string label;
  PublicKey public_key{};
  int64_t created_ns = 0;
  uint32_t epoch = 1;
};

// keys/<KeyId>.revoked.
struct Revocation {
  KeyId key;
  int64_t time_ns = 0;
  std::vector<SnapshotId> accepted;  // sorted
};

Bytes EncodeHeader(const RepoHeader& header, const SigningKey& master);
Bytes EncodeBadge(const Badge& badge, const RepoId& repo, const SigningKey& master);
Bytes EncodeRevocation(const Revocation& revocation, const RepoId& repo, const SigningKey& master);

// Decoders verify form, version and signature. kCorrupt for damage or forgery, kUnsupported for a
// newer version. The header is signed by the key it names: whether that is the right one, the
// keyfile tells.
Result<RepoHeader> DecodeHeader(ByteView object);
Result<Badge> DecodeBadge(ByteView object, const RepoId& repo, const PublicKey& master);
Result<Revocation> DecodeRevocation(ByteView object, const RepoId& repo, const PublicKey& master);

}  // namespace bkfs

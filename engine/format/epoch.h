// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/format/keyfile.h"

// keys/epoch-<n>: key pairs that data written after a rotation is sealed to (doc/format.md section
// 14).
namespace bkfs {

constexpr uint32_t kMostEpochs = 256;  // what a keyfile has room for, and more

// The secrets of an epoch, sealed to one key.
struct EpochGrant {
  KeyId key;
  Bytes box;
};

struct Epoch {
  EpochPublicKeys keys;
  int64_t time_ns = 0;
  std::vector<EpochGrant> grants;  // sorted by key, no key twice

  // Null: this key has none.
  const EpochGrant* FindGrant(const KeyId& key) const;
};

Bytes EncodeEpoch(const Epoch& epoch, const RepoId& repo, const SigningKey& master);
// Verifies form, version and the master's signature. kCorrupt for damage or forgery, kUnsupported
// for a newer version.
Result<Epoch> DecodeEpoch(ByteView object, const RepoId& repo, const PublicKey& master);

// Seals what a key of `type` needs of an epoch to that key. kCorrupt when `to` is no signing key.
Result<EpochGrant> MakeGrant(const EpochSecrets& all, KeyType type, const PublicKey& to);
// Opens a grant with the signing key it was made for. kCorrupt unless it holds the secrets of just
// this epoch.
Result<EpochSecrets> OpenGrant(const EpochGrant& grant, const EpochPublicKeys& of, KeyType type,
                               const SigningKey& key);
// Whether a key of this type gets a grant: derived, and may read something.
bool NeedsGrant(KeyType type);

std::string EpochName(uint32_t epoch);                   // keys/epoch-2
Result<uint32_t> ParseEpochName(std::string_view name);  // kInvalid for anything else

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "engine/base/bytes.h"
#include "engine/base/ids.h"
#include "engine/crypto/secret.h"

namespace bkfs {

using PublicKey = std::array<uint8_t, 32>;  // X25519 or Ed25519
using Signature = std::array<uint8_t, 64>;  // Ed25519

constexpr size_t kBoxOverhead = 48;

// X25519 sealed boxes (libsodium crypto_box_seal): anyone with the public key seals, only the
// secret's holder opens. About 100 us each.
class BoxKey {
 public:
  BoxKey() = default;
  explicit BoxKey(Secret secret);  // 32 bytes
  bool empty() const { return secret_.empty(); }
  const PublicKey& public_key() const { return public_; }
  ByteView secret() const { return secret_.view(); }
  Result<Secret> Open(ByteView sealed) const;  // kCorrupt when it was not sealed to this key
  BoxKey Clone() const { return empty() ? BoxKey() : BoxKey(secret_.Clone()); }

 private:
  Secret secret_;
  PublicKey public_{};
};
Bytes SealBox(const PublicKey& to, ByteView plaintext);

// Ed25519.
class SigningKey {
 public:
  SigningKey() = default;
  explicit SigningKey(Secret seed);  // 32 bytes
  bool empty() const { return seed_.empty(); }
  const PublicKey& public_key() const { return public_; }
  ByteView seed() const { return seed_.view(); }
  KeyId id() const;
  Signature Sign(ByteView message) const;
  // The X25519 key pair that follows from it: what is sealed to BoxPublicKeyOf(public_key()), it
  // opens.
  BoxKey AsBoxKey() const;
  SigningKey Clone() const { return empty() ? SigningKey() : SigningKey(seed_.Clone()); }

 private:
  Secret seed_;
  Secret expanded_;
  PublicKey public_{};
};
KeyId KeyIdOf(const PublicKey& signing_key);
// The X25519 public key that follows from a signing key. kCorrupt for bytes that are no such key.
Result<PublicKey> BoxPublicKeyOf(const PublicKey& signing_key);
bool VerifySignature(const PublicKey& signer, ByteView message, const Signature& signature);

// Argon2id (RFC 9106, version 0x13) to 32 bytes. kInvalid above the limits of doc/format.md
// section 3.
struct PassphraseParams {
  uint64_t opslimit = 3;
  uint64_t memlimit = 64ULL << 20;
  std::array<uint8_t, 16> salt{};
};
Result<Secret> StretchPassphrase(ByteView passphrase, const PassphraseParams& params);

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/crypto/keys.h"

#include <sodium.h>

#include "engine/crypto/hash.h"

namespace bkfs {

static_assert(kBoxOverhead == crypto_box_SEALBYTES);

namespace {
constexpr uint64_t kMaxOpsLimit = 16;
constexpr uint64_t kMaxMemLimit = uint64_t{2} << 30;
}  // namespace

BoxKey::BoxKey(Secret secret) : secret_(std::move(secret)) {
  BKFS_CHECK(secret_.size() == crypto_box_SECRETKEYBYTES);
  BKFS_CHECK(crypto_scalarmult_base(public_.data(), secret_.view().data()) == 0);
}

Result<Secret> BoxKey::Open(ByteView sealed) const {
  BKFS_CHECK(!empty());
  if (sealed.size() < kBoxOverhead) {
    return Status(Code::kCorrupt, "sealed box is too short: it has been cut");
  }
  Secret out(sealed.size() - kBoxOverhead);
  if (crypto_box_seal_open(out.mutable_view().data(), sealed.data(), sealed.size(), public_.data(),
                           secret_.view().data()) != 0) {
    return Status(Code::kCorrupt,
                  "sealed box does not open: it was changed or is sealed to another key");
  }
  return out;
}

Bytes SealBox(const PublicKey& to, ByteView plaintext) {
  Bytes out(plaintext.size() + kBoxOverhead);
  // Fails only for a public key of small order, which no secret key gives; headers are signed.
  BKFS_CHECK(crypto_box_seal(out.data(), plaintext.data(), plaintext.size(), to.data()) == 0);
  return out;
}

SigningKey::SigningKey(Secret seed)
    : seed_(std::move(seed)), expanded_(crypto_sign_SECRETKEYBYTES) {
  BKFS_CHECK(seed_.size() == crypto_sign_SEEDBYTES);
  BKFS_CHECK(crypto_sign_seed_keypair(public_.data(), expanded_.mutable_view().data(),
                                      seed_.view().data()) == 0);
}

KeyId SigningKey::id() const { return KeyIdOf(public_); }

Signature SigningKey::Sign(ByteView message) const {
  BKFS_CHECK(!empty());
  Signature out;
  BKFS_CHECK(crypto_sign_detached(out.data(), nullptr, message.data(), message.size(),
                                  expanded_.view().data()) == 0);
  return out;
}

BoxKey SigningKey::AsBoxKey() const {
  BKFS_CHECK(!empty());
  Secret secret(crypto_scalarmult_curve25519_BYTES);
  BKFS_CHECK(crypto_sign_ed25519_sk_to_curve25519(secret.mutable_view().data(),
                                                  expanded_.view().data()) == 0);
  return BoxKey(std::move(secret));
}

Result<PublicKey> BoxPublicKeyOf(const PublicKey& signing_key) {
  PublicKey out;
  if (crypto_sign_ed25519_pk_to_curve25519(out.data(), signing_key.data()) != 0) {
    return Status(Code::kCorrupt, "the public key " + ToHex(signing_key) + " is none");
  }
  return out;
}

KeyId KeyIdOf(const PublicKey& signing_key) {
  Hash256 hash = HashBytes(signing_key);
  KeyId id;
  std::memcpy(id.bytes.data(), hash.data(), id.bytes.size());
  return id;
}

bool VerifySignature(const PublicKey& signer, ByteView message, const Signature& signature) {
  return crypto_sign_verify_detached(signature.data(), message.data(), message.size(),
                                     signer.data()) == 0;
}

Result<Secret> StretchPassphrase(ByteView passphrase, const PassphraseParams& params) {
  static_assert(sizeof params.salt == crypto_pwhash_argon2id_SALTBYTES);
  if (params.opslimit < crypto_pwhash_argon2id_OPSLIMIT_MIN || params.opslimit > kMaxOpsLimit ||
      params.memlimit < crypto_pwhash_argon2id_MEMLIMIT_MIN || params.memlimit > kMaxMemLimit) {
    return Status(Code::kInvalid,
                  "passphrase cost is out of bounds (at most 16 passes and 2 GiB of memory)");
  }
  Secret out(32);
  if (crypto_pwhash_argon2id(out.mutable_view().data(), out.size(),
                             reinterpret_cast<const char*>(passphrase.data()), passphrase.size(),
                             params.salt.data(), params.opslimit, params.memlimit,
                             crypto_pwhash_argon2id_ALG_ARGON2ID13) != 0) {
    return Status(Code::kIo, "not enough memory to stretch the passphrase (needs " +
                                 std::to_string(params.memlimit >> 20) + " MiB)");
  }
  return out;
}

}  // namespace bkfs

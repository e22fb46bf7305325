// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>

#include "engine/base/bytes.h"
#include "engine/base/ids.h"
#include "engine/crypto/secret.h"

namespace bkfs {

enum class Cipher : uint8_t { kAes256Gcm = 1, kChaCha20Poly1305 = 2 };

// AES-256-GCM where the processor has AES and carry-less multiplication, ChaCha20-Poly1305
// elsewhere.
Cipher PreferredCipher();
Result<Cipher> ParseCipher(uint8_t raw);

constexpr size_t kAeadTag = 16;
constexpr size_t kAeadNonce = 12;
constexpr size_t kSealOverhead = 1 + 32 + kAeadTag;

// Salted seal and its opening (doc/format.md section 1). `key` is 32 bytes. Thread-safe.
// Open: kCorrupt when the value is not what was sealed under this key, kind and repository.
Bytes SealSalted(Cipher cipher, ByteView key, const RepoId& repo, uint8_t kind, ByteView plaintext);
Result<Bytes> OpenSalted(ByteView key, const RepoId& repo, uint8_t kind, ByteView sealed);

// Seals the frames of one pack under the pack's data key; nonces count up from zero and are made
// here, so a key must never be given to two sealers. Thread-safe.
class FrameSealer {
 public:
  FrameSealer(Cipher cipher, Secret key, const RepoId& repo, uint8_t pack_kind);
  ~FrameSealer();
  // nonce ‖ ciphertext ‖ tag of the concatenation of `parts`.
  Bytes Seal(std::span<const ByteView> parts);
  Cipher cipher() const { return cipher_; }
  ByteView key() const { return key_.view(); }  // for its slot

 private:
  const Cipher cipher_;
  const Secret key_;
  Bytes aad_;
  std::atomic<uint64_t> next_{0};
};

// Opens a frame; kCorrupt if it was changed or is of another repository, kind or key. Thread-safe.
Result<Bytes> OpenFrame(Cipher cipher, ByteView key, const RepoId& repo, uint8_t pack_kind,
                        ByteView sealed);

// For values kept locally (cache, journal, spool): a fast seal under a local key with a random
// nonce; 28 bytes longer. `aad` binds the value to its place. A LocalSealer must seal fewer than
// 2^32 values under one key. Thread-safe.
class LocalSealer {
 public:
  explicit LocalSealer(Secret key);
  ~LocalSealer();
  void Seal(ByteView aad, ByteView plaintext, Bytes& out) const;  // appends to out
  Result<Bytes> Open(ByteView aad, ByteView sealed) const;
  static constexpr size_t kOverhead = kAeadNonce + kAeadTag;

 private:
  const Secret key_;
  const Cipher cipher_;
};

// XChaCha20-Poly1305 with a random nonce, for keyfiles.
Bytes SealKeyfile(ByteView key, ByteView aad, ByteView plaintext);
Result<Secret> OpenKeyfile(ByteView key, ByteView aad, ByteView sealed);

}  // namespace bkfs

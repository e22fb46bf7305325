// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/evp.h>

#include "engine/base/bytes.h"
#include "engine/crypto/aead.h"

namespace bkfs {

// OpenSSL's cipher contexts, kept for reuse: making one costs more than sealing a small value. Not
// thread-safe; ForThread() gives each thread its own. OpenSSL's own failures (out of memory) are
// broken invariants here and abort.
class AeadContexts {
 public:
  enum class Use { kOnce, kLocal };  // kLocal: the key is probably that of the last call
  static AeadContexts& ForThread();

  AeadContexts() = default;
  ~AeadContexts();
  AeadContexts(const AeadContexts&) = delete;
  AeadContexts& operator=(const AeadContexts&) = delete;

  // Writes ciphertext and tag of the concatenated parts: their size + kAeadTag bytes.
  void Seal(Use use, Cipher cipher, ByteView key, const uint8_t* nonce, ByteView aad,
            std::span<const ByteView> parts, uint8_t* out);
  // `sealed` holds ciphertext and tag, `out` has room for sealed.size() - kAeadTag bytes. False
  // when it is not authentic; `out` must then not be used.
  bool Open(Use use, Cipher cipher, ByteView key, const uint8_t* nonce, ByteView aad,
            ByteView sealed, uint8_t* out);

 private:
  struct Slot {
    EVP_CIPHER_CTX* context = nullptr;
    Secret key;  // what the context is set up for; Use::kLocal only
  };
  EVP_CIPHER_CTX* Prepare(Use use, Cipher cipher, bool seal, ByteView key, const uint8_t* nonce);

  EVP_CIPHER* ciphers_[2] = {};
  Slot slots_[2][2][2];  // use, cipher, direction
};

}  // namespace bkfs

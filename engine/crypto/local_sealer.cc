// SPDX-License-Identifier: Apache-2.0
#include "engine/crypto/aead.h"
#include "engine/crypto/aead_context.h"
#include "engine/crypto/nonce_source.h"

namespace bkfs {

LocalSealer::LocalSealer(Secret key) : key_(std::move(key)), cipher_(PreferredCipher()) {
  BKFS_CHECK(key_.size() == 32);
}

LocalSealer::~LocalSealer() = default;

void LocalSealer::Seal(ByteView aad, ByteView plaintext, Bytes& out) const {
  // One source a thread for all keys: sharing it among keys costs no uniqueness.
  thread_local NonceSource nonces;
  size_t start = out.size();
  out.resize(start + kOverhead + plaintext.size());
  uint8_t* nonce = out.data() + start;
  nonces.Next(nonce);
  AeadContexts::ForThread().Seal(AeadContexts::Use::kLocal, cipher_, key_.view(), nonce, aad,
                                 std::span(&plaintext, 1), nonce + kAeadNonce);
}

Result<Bytes> LocalSealer::Open(ByteView aad, ByteView sealed) const {
  if (sealed.size() < kOverhead || sealed.size() > INT32_MAX) {
    return Status(Code::kCorrupt, "local value has an impossible length: it has been cut");
  }
  Bytes out(sealed.size() - kOverhead);
  if (!AeadContexts::ForThread().Open(AeadContexts::Use::kLocal, cipher_, key_.view(),
                                      sealed.data(), aad, sealed.subspan(kAeadNonce), out.data())) {
    return Status(Code::kCorrupt,
                  "local value does not open: it was changed, moved, or is of another key");
  }
  return out;
}

}  // namespace bkfs

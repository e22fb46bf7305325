// SPDX-License-Identifier: Apache-2.0
#include "engine/crypto/secret.h"

#include <sodium.h>

namespace bkfs {

Secret::Secret(size_t size) : size_(size) {
  if (size == 0) return;
  // Guard pages, locked and left out of core dumps. Locking may fail under a low RLIMIT_MEMLOCK;
  // libsodium then goes on without, and so does bkfs.
  data_ = static_cast<uint8_t*>(sodium_malloc(size));
  if (data_ == nullptr) Panic("out of memory for secrets", __FILE__, __LINE__);
  sodium_memzero(data_, size);
}

Secret Secret::CopyOf(ByteView plaintext) {
  Secret out(plaintext.size());
  if (!plaintext.empty()) std::memcpy(out.data_, plaintext.data(), plaintext.size());
  return out;
}

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this != &other) {
    if (data_ != nullptr) sodium_free(data_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

Secret::~Secret() {
  if (data_ != nullptr) sodium_free(data_);  // wipes
}

void WipeMemory(MutableByteView memory) {
  if (!memory.empty()) sodium_memzero(memory.data(), memory.size());
}

Status InitCrypto() {
  if (sodium_init() < 0) return {Code::kUnsupported, "libsodium cannot be initialised"};
  return {};
}

void RandomBytes(MutableByteView out) {
  if (!out.empty()) randombytes_buf(out.data(), out.size());
}

Secret RandomSecret(size_t size) {
  Secret out(size);
  RandomBytes(out.mutable_view());
  return out;
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/crypto/hash.h"

#include <blake3.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

namespace bkfs {

namespace {
// A hasher that holds a key: wiped when it goes.
struct KeyedHasher {
  explicit KeyedHasher(ByteView key) {
    BKFS_CHECK(key.size() == BLAKE3_KEY_LEN);
    blake3_hasher_init_keyed(&state, key.data());
  }
  ~KeyedHasher() { Wipe(state); }
  KeyedHasher(const KeyedHasher&) = delete;
  KeyedHasher& operator=(const KeyedHasher&) = delete;

  // The tree stack is most of the state and holds chaining values of large inputs only; the key
  // and the current chunk come first. All of it is wiped: 2 KB cost less than the hash itself.
  static void Wipe(blake3_hasher& hasher) {
    WipeMemory({reinterpret_cast<uint8_t*>(&hasher), sizeof hasher});
  }
  blake3_hasher state;
};

// BLAKE3's C code finds out at its first use what the processor can, and keeps it in a variable
// that nothing guards: so that use comes before there are threads.
[[maybe_unused]] const bool processor_known = [] {
  blake3_hasher state;
  blake3_hasher_init(&state);
  uint8_t out[BLAKE3_OUT_LEN];
  blake3_hasher_finalize(&state, out, sizeof out);
  return true;
}();

Hash256 Finalize(const blake3_hasher& state) {
  Hash256 out;
  blake3_hasher_finalize(&state, out.data(), out.size());
  return out;
}
}  // namespace

Hash256 HashBytes(ByteView data) { return HashParts({data}); }

Hash256 HashParts(std::initializer_list<ByteView> parts) {
  blake3_hasher state;
  blake3_hasher_init(&state);
  for (ByteView part : parts) blake3_hasher_update(&state, part.data(), part.size());
  return Finalize(state);
}

Hash256 KeyedHash(ByteView key, ByteView data) {
  KeyedHasher hasher(key);
  blake3_hasher_update(&hasher.state, data.data(), data.size());
  return Finalize(hasher.state);
}

void KeyedHashExtended(ByteView key, ByteView data, MutableByteView out) {
  KeyedHasher hasher(key);
  blake3_hasher_update(&hasher.state, data.data(), data.size());
  blake3_hasher_finalize(&hasher.state, out.data(), out.size());
}

Secret DeriveKey(std::string_view context, ByteView material) {
  blake3_hasher state;
  blake3_hasher_init_derive_key_raw(&state, context.data(), context.size());
  blake3_hasher_update(&state, material.data(), material.size());
  Secret out(BLAKE3_OUT_LEN);
  blake3_hasher_finalize(&state, out.mutable_view().data(), out.size());
  KeyedHasher::Wipe(state);
  return out;
}

struct Hasher::State {
  blake3_hasher hasher;
};

Hasher::Hasher() : state_(std::make_unique<State>()) { blake3_hasher_init(&state_->hasher); }
Hasher::~Hasher() = default;
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;

void Hasher::Update(ByteView data) {
  blake3_hasher_update(&state_->hasher, data.data(), data.size());
}

Hash256 Hasher::Finish() const { return Finalize(state_->hasher); }

namespace {
template <typename Hash>
Hash Digest(const EVP_MD* kind, std::span<const ByteView> parts) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        &EVP_MD_CTX_free);
  BKFS_CHECK(context != nullptr && EVP_DigestInit_ex(context.get(), kind, nullptr) == 1);
  for (ByteView part : parts) {
    BKFS_CHECK(EVP_DigestUpdate(context.get(), part.data(), part.size()) == 1);
  }
  Hash out;
  unsigned int size = 0;
  BKFS_CHECK(EVP_DigestFinal_ex(context.get(), out.data(), &size) == 1 && size == out.size());
  return out;
}
}  // namespace

Hash256 Sha256(std::span<const ByteView> parts) { return Digest<Hash256>(EVP_sha256(), parts); }

Hash256 Sha256(ByteView data) { return Sha256(std::span(&data, 1)); }

Hash128 Md5(std::span<const ByteView> parts) { return Digest<Hash128>(EVP_md5(), parts); }

Hash128 Md5(ByteView data) { return Md5(std::span(&data, 1)); }

Hash256 HmacSha256(ByteView key, ByteView data) {
  Hash256 out;
  unsigned int size = 0;
  BKFS_CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), data.data(), data.size(),
                  out.data(), &size) != nullptr &&
             size == out.size());
  return out;
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string_view>

#include "engine/base/bytes.h"
#include "engine/crypto/secret.h"

namespace bkfs {

using Hash256 = std::array<uint8_t, 32>;

// BLAKE3-256 (doc/format.md section 1).
Hash256 HashBytes(ByteView data);
Hash256 HashParts(std::initializer_list<ByteView> parts);
// Keyed BLAKE3-256; `key` is 32 bytes.
Hash256 KeyedHash(ByteView key, ByteView data);
// Extended output of the keyed hash.
void KeyedHashExtended(ByteView key, ByteView data, MutableByteView out);
// BLAKE3 derive_key: 32 bytes bound to the context.
Secret DeriveKey(std::string_view context, ByteView material);

// Incremental BLAKE3-256. Not thread-safe.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;
  void Update(ByteView data);
  Hash256 Finish() const;  // of all so far; more may follow

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What other people's protocols ask for (S3 signs with these); bkfs's own formats use BLAKE3.
using Hash128 = std::array<uint8_t, 16>;
Hash256 Sha256(std::span<const ByteView> parts);
Hash256 Sha256(ByteView data);
Hash256 HmacSha256(ByteView key, ByteView data);
// Against accidents on the way only: MD5 resists nobody.
Hash128 Md5(std::span<const ByteView> parts);
Hash128 Md5(ByteView data);

}  // namespace bkfs

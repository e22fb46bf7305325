// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <compare>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>

#include "engine/base/bytes.h"

namespace bkfs {

// A fixed-size identifier. Tag makes ids of different things different types, so that a pack id can
// never be handed where a blob id belongs.
template <typename Tag, size_t kBytes>
struct Id {
  static constexpr size_t kSize = kBytes;
  std::array<uint8_t, kBytes> bytes{};

  static Result<Id> FromBytes(ByteView raw) {
    if (raw.size() != kBytes) return Status(Code::kInvalid, "identifier has the wrong length");
    Id id;
    std::memcpy(id.bytes.data(), raw.data(), kBytes);
    return id;
  }
  static Result<Id> FromHex(std::string_view hex) {
    if (hex.size() != 2 * kBytes) return Status(Code::kInvalid, "identifier has the wrong length");
    auto raw = ParseHex(hex);
    if (!raw.ok()) return raw.status();
    return FromBytes(*raw);
  }
  ByteView view() const { return bytes; }
  std::string hex() const { return ToHex(bytes); }
  std::string short_hex() const { return ToHex(ByteView(bytes).first(4)); }
  bool is_zero() const {
    for (uint8_t b : bytes) {
      if (b != 0) return false;
    }
    return true;
  }
  auto operator<=>(const Id&) const = default;
};

using BlobId = Id<struct BlobTag, 32>;          // keyed BLAKE3 of a blob's plaintext
using PackId = Id<struct PackTag, 32>;          // BLAKE3 of a pack object's bytes
using IndexId = Id<struct IndexTag, 32>;        // BLAKE3 of an index segment's bytes
using SnapshotId = Id<struct SnapshotTag, 16>;  // first half of BLAKE3 of a snapshot record's bytes
using KeyId = Id<struct KeyTag, 16>;            // first half of BLAKE3 of a public signing key
using LeaseId = Id<struct LeaseTag, 16>;        // random, made by its holder
using RemovalId = Id<struct RemovalTag, 16>;    // first half of BLAKE3 of a removal's bytes
using RepoId = Id<struct RepoTag, 16>;          // random, made by init

// Ids are hash outputs or random, so any of their bytes is a good hash.
struct IdHash {
  template <typename Tag, size_t kBytes>
  size_t operator()(const Id<Tag, kBytes>& id) const {
    size_t h;
    std::memcpy(&h, id.bytes.data(), sizeof h);
    return h;
  }
};

}  // namespace bkfs

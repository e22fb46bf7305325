// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "engine/cache/index_cache.h"
#include "engine/crypto/aead.h"

namespace bkfs {

// Keys and values of the index cache's rows. The first byte of a key is its kind:
//
//   !                          identity: schema, repository, salt, and who may use it
//   #                          the pack numbers below this one may have been given out
//   b BlobId ~number           a place of a blob (number big endian and inverted: newest first)
//   i H(PackId)                number of a pack
//   n H(name)                  a note
//   p number                   a pack (number big endian)
//   s IndexId                  a loaded segment and its packs
//
// Keys are at least RowStore::kPrefix bytes long, short ones end in zeros.
// Every value but the identity is sealed with its key as associated data, so that a row can be
// neither read nor forged nor moved; what would tell a name is hashed with a key. Decoders are
// total.
class Records {
 public:
  // A seal of its own for each life of a cache: `salt` is new whenever it is emptied.
  Records(const Secret& local_key, ByteView salt);

  static constexpr uint8_t kBlob = 'b';

  static Bytes CounterKey();
  static Bytes BlobPrefix(const BlobId& id);
  static Bytes BlobKey(const BlobId& id, uint32_t number);
  static Bytes PackKey(uint32_t number);
  static Bytes SegmentsFrom();  // before the first segment's key
  static Bytes SegmentKey(const IndexId& id);
  Bytes PackIdKey(const PackId& id) const;
  Bytes NoteKey(std::string_view name) const;

  // The number in a key of kind 'b' or 'p'; nullopt if it is none.
  static std::optional<uint32_t> NumberOf(ByteView key);

  // Values, sealed to `key`. Appended to `out`, which the many small ones reuse.
  void SealBlob(ByteView key, const PackFrame& frame, const PackBlob& blob, uint32_t ordinal,
                Bytes& out) const;
  Result<BlobLocation> OpenBlob(ByteView key, ByteView sealed) const;
  Bytes SealPack(ByteView key, const CachedPack& pack) const;
  Result<CachedPack> OpenPack(ByteView key, ByteView sealed) const;
  Bytes SealNumber(ByteView key, uint32_t number) const;
  Result<uint32_t> OpenNumber(ByteView key, ByteView sealed) const;
  Bytes SealPackIds(ByteView key, const std::vector<PackId>& packs) const;
  Result<std::vector<PackId>> OpenPackIds(ByteView key, ByteView sealed) const;
  Bytes SealBytes(ByteView key, ByteView plaintext) const;
  Result<Bytes> OpenBytes(ByteView key, ByteView sealed) const;

 private:
  Bytes HashedKey(uint8_t kind, ByteView what) const;

  const LocalSealer sealer_;
  const Secret name_key_;
};

// The identity row: whether a cache on disk is of this schema, repository and local key.
constexpr size_t kCacheSalt = 32;
Bytes IdentityKey();
Bytes EncodeIdentity(const RepoId& repo, const Secret& local_key, ByteView salt);
// The salt; nullopt when it is not.
std::optional<Bytes> CheckIdentity(ByteView identity, const RepoId& repo, const Secret& local_key);

}  // namespace bkfs

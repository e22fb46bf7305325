// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "engine/base/ids.h"
#include "engine/crypto/aead.h"
#include "engine/crypto/keys.h"

namespace bkfs {

enum class PackKind : uint8_t { kContents = 1, kTrees = 2 };

constexpr size_t kPackHeader = 16;
constexpr size_t kPackTrailer = 16;
constexpr uint32_t kMaxFrameLength = 17 << 20;
constexpr uint64_t kMaxPack = uint64_t{512} << 20;
constexpr uint64_t kBlobInFooter = 44;                    // bytes for each blob
constexpr uint64_t kMaxIndexPlain = uint64_t{256} << 20;  // of an index segment's body

struct PackSlot {
  uint32_t epoch = 1;
  Cipher cipher = Cipher::kAes256Gcm;
  KeyId writer;
  Bytes box;  // the data key, sealed; 80 bytes
};
struct PackFrame {
  uint32_t offset = 0;  // in the object
  uint32_t length = 0;  // sealed
  uint32_t plain = 0;   // plaintext
  uint32_t slot = 0;
};
struct PackBlob {
  BlobId id;
  uint32_t frame = 0;
  uint32_t offset = 0;  // in the frame's plaintext
  uint32_t length = 0;
};

// doc/format.md section 6.
struct PackFooter {
  PackKind kind = PackKind::kContents;
  KeyId signer;
  std::array<uint8_t, 32> data_hash{};
  std::vector<PackSlot> slots;
  std::vector<PackFrame> frames;
  std::vector<PackBlob> blobs;
};

// A footer with the signature that belongs to its exact bytes, as packs and index segments hold it.
struct SignedFooter {
  Bytes body;
  Signature signature{};
};

Bytes EncodePackHeader(PackKind kind);                    // kPackHeader bytes
Result<PackKind> DecodePackHeader(ByteView first_bytes);  // needs kPackHeader bytes

SignedFooter SignFooter(const PackFooter& footer, const RepoId& repo, const SigningKey& signer);
// The bytes that end a pack: sealed footer and trailer.
Bytes EncodePackEnd(const SignedFooter& footer, Cipher cipher, ByteView index_key,
                    const RepoId& repo);
// Length of the whole pack end (sealed footer and trailer), from the last kPackTrailer bytes.
Result<uint32_t> DecodePackTrailer(ByteView last_bytes);
Result<SignedFooter> DecodePackEnd(ByteView pack_end, ByteView index_key, const RepoId& repo);
// Checks every bound, order and overlap that section 6 states against an object of `pack_size`
// bytes; kCorrupt otherwise.
Result<PackFooter> DecodeFooterBody(ByteView body, uint64_t pack_size);
// Signature by `signer_public`, whose id must be the footer's signer. Who may sign, the caller
// knows.
Status VerifyFooter(const SignedFooter& footer, const RepoId& repo, const PublicKey& signer_public);

// index/<IndexId> (section 7).
struct IndexedPack {
  PackId id;
  uint64_t size = 0;
  SignedFooter footer;
};
struct IndexSegment {
  std::vector<IndexedPack> packs;
  std::vector<IndexId> replaces;
  uint64_t as_of = 0;  // last entry of the maintenance log that its maker had read
};
Bytes EncodeIndexSegment(const IndexSegment& segment, Cipher cipher, ByteView index_key,
                         const RepoId& repo);
Result<IndexSegment> DecodeIndexSegment(ByteView object, ByteView index_key, const RepoId& repo);

// Object names.
std::string PackName(const PackId& id);  // packs/ab/abcd...
std::string IndexName(const IndexId& id);
// The id in an object name of that class; kInvalid for anything else.
Result<PackId> ParsePackName(std::string_view name);
Result<IndexId> ParseIndexName(std::string_view name);

}  // namespace bkfs

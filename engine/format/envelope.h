// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <string_view>

#include "engine/base/bytes.h"
#include "engine/base/ids.h"
#include "engine/crypto/hash.h"
#include "engine/crypto/keys.h"

// The forms that several objects share (doc/format.md sections 2 and 4). Private to this folder.
namespace bkfs {

constexpr uint32_t kFormatVersion = 1;
constexpr size_t kMagicSize = 8;

// Takes magic and version off the front. kCorrupt if it is no such object, kUnsupported if it is
// one of a newer version. `what` begins the messages: "repository header".
Status TakeMagic(ByteReader& reader, std::string_view magic, std::string_view what);
Status CheckVersion(uint32_t version, std::string_view what);

// magic ‖ version ‖ n ‖ body ‖ signature.
Bytes EncodeSigned(std::string_view magic, const RepoId& repo, ByteView body,
                   const SigningKey& signer);
struct SignedObject {
  ByteView body;  // valid as long as the object's bytes
  Signature signature{};
};
// The form only; VerifySigned checks the signature, for which a header's body must be read first.
Result<SignedObject> SplitSigned(ByteView object, std::string_view magic, std::string_view what);
Status VerifySigned(ByteView object, const RepoId& repo, const PublicKey& signer,
                    std::string_view what);

// What a signature is made of: `context`, which names the kind of object, then the repository's id,
// then the bytes before the signature.
Bytes SignedMessage(std::string_view context, const RepoId& repo, ByteView before_signature);

// The first 16 bytes of the object's BLAKE3, as the id it is named by.
template <typename IdType>
IdType ShortIdOf(ByteView object) {
  static_assert(IdType::kSize < sizeof(Hash256));
  const Hash256 hash = HashBytes(object);
  IdType id;
  std::memcpy(id.bytes.data(), hash.data(), id.bytes.size());
  return id;
}

// UTF-8 without control characters (C0, DEL, C1).
bool IsCleanText(std::string_view text);

}  // namespace bkfs

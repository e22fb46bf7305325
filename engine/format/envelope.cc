// SPDX-License-Identifier: Apache-2.0
#include "engine/format/envelope.h"

namespace bkfs {

namespace {
constexpr std::string_view kSignedContext = "bkfs signed object v1";
constexpr uint32_t kMaxSignedBody = 16 << 20;

// Length of the UTF-8 sequence at the front and its code point; 0 if it is none.
size_t TakeCodePoint(std::string_view text, uint32_t& code_point) {
  auto byte = [text](size_t i) { return static_cast<uint8_t>(text[i]); };
  uint8_t lead = byte(0);
  size_t length = lead < 0x80       ? 1
                  : lead >> 5 == 6  ? 2
                  : lead >> 4 == 14 ? 3
                  : lead >> 3 == 30 ? 4
                                    : 0;
  if (length == 0 || length > text.size()) return 0;
  constexpr uint8_t kLeadBits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
  code_point = lead & kLeadBits[length];
  for (size_t i = 1; i < length; ++i) {
    if (byte(i) >> 6 != 2) return 0;
    code_point = code_point << 6 | (byte(i) & 0x3f);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  bool surrogate = code_point >= 0xd800 && code_point <= 0xdfff;
  if (code_point < kSmallest[length] || code_point > 0x10ffff || surrogate) return 0;
  return length;
}
}  // namespace

Bytes SignedMessage(std::string_view context, const RepoId& repo, ByteView before_signature) {
  Bytes message;
  message.reserve(context.size() + RepoId::kSize + before_signature.size());
  Append(message, AsBytes(context));
  Append(message, repo.view());
  Append(message, before_signature);
  return message;
}

Status CheckVersion(uint32_t version, std::string_view what) {
  if (version == kFormatVersion) return {};
  if (version > kFormatVersion) {
    return {Code::kUnsupported, std::string(what) + " has format version " +
                                    std::to_string(version) +
                                    ", which this program is too old to read (it knows version 1)"};
  }
  return {Code::kCorrupt, std::string(what) + " has format version 0: it is damaged"};
}

Status TakeMagic(ByteReader& reader, std::string_view magic, std::string_view what) {
  BKFS_CHECK(magic.size() == kMagicSize);
  if (AsText(reader.TakeBytes(kMagicSize)) != magic) {
    return {Code::kCorrupt,
            "not a " + std::string(what) + ": it does not begin with " + std::string(magic)};
  }
  uint32_t version = reader.Take<uint32_t>();
  if (!reader.ok()) return {Code::kCorrupt, std::string(what) + " is too short: it has been cut"};
  return CheckVersion(version, what);
}

Bytes EncodeSigned(std::string_view magic, const RepoId& repo, ByteView body,
                   const SigningKey& signer) {
  BKFS_CHECK(magic.size() == kMagicSize && body.size() <= kMaxSignedBody);
  Bytes out;
  Append(out, AsBytes(magic));
  AppendInt(out, kFormatVersion);
  AppendInt(out, static_cast<uint32_t>(body.size()));
  Append(out, body);
  Append(out, signer.Sign(SignedMessage(kSignedContext, repo, out)));
  return out;
}

Result<SignedObject> SplitSigned(ByteView object, std::string_view magic, std::string_view what) {
  ByteReader reader(object);
  BKFS_TRY(TakeMagic(reader, magic, what));
  uint32_t size = reader.Take<uint32_t>();
  SignedObject out;
  if (size <= kMaxSignedBody) out.body = reader.TakeBytes(size);
  ByteView signature = reader.TakeBytes(out.signature.size());
  if (size > kMaxSignedBody || !reader.ok() || reader.remaining() != 0) {
    return Status(Code::kCorrupt,
                  std::string(what) + " has the wrong length: it was cut or added to");
  }
  std::memcpy(out.signature.data(), signature.data(), signature.size());
  return out;
}

Status VerifySigned(ByteView object, const RepoId& repo, const PublicKey& signer,
                    std::string_view what) {
  Signature signature;
  BKFS_CHECK(object.size() >= signature.size());
  size_t covered = object.size() - signature.size();
  std::memcpy(signature.data(), object.data() + covered, signature.size());
  if (VerifySignature(signer, SignedMessage(kSignedContext, repo, object.first(covered)),
                      signature))
    return {};
  return {Code::kCorrupt, std::string(what) +
                              " has a bad signature: it was changed, or the master key of this "
                              "repository did not make it"};
}

bool IsCleanText(std::string_view text) {
  while (!text.empty()) {
    uint32_t code_point = 0;
    size_t length = TakeCodePoint(text, code_point);
    if (length == 0 || code_point < 0x20 || (code_point >= 0x7f && code_point <= 0x9f))
      return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace bkfs

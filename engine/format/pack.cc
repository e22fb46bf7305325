// SPDX-License-Identifier: Apache-2.0
#include "engine/format/pack.h"

#include "engine/codec/frame_codec.h"
#include "engine/format/envelope.h"
#include "engine/format/flatbuffer.h"
#include "pack_generated.h"

namespace bkfs {

namespace {
constexpr std::string_view kMagic = "BKFSPACK";
constexpr std::string_view kEndMagic = "PACKBKFS";
constexpr std::string_view kSignedContext = "bkfs pack v1";
constexpr uint8_t kSealKind = 'F';
constexpr size_t kBoxedKey = 32 + kBoxOverhead;
constexpr size_t kBytesPerSlot = 100;             // its box alone takes 80
constexpr uint32_t kSmallestFrame = 12 + 16 + 8;  // nonce, tag, header of the inner

static_assert(sizeof(fb::Frame) == 16 && sizeof(fb::Blob) == kBlobInFooter);

Status Damaged(std::string_view why) {
  return {Code::kCorrupt, "pack footer is damaged: " + std::string(why)};
}

bool ParseKind(uint8_t raw, PackKind& out) {
  out = static_cast<PackKind>(raw);
  return out == PackKind::kContents || out == PackKind::kTrees;
}

Result<PackSlot> ReadSlot(const fb::Slot& from) {
  PackSlot out;
  out.epoch = from.epoch();
  BKFS_ASSIGN(out.cipher, ParseCipher(from.cipher()));
  FromStruct(from.writer(), out.writer.bytes);
  ByteView box = BytesOf(from.box());
  if (box.size() != kBoxedKey || from.epoch() == 0 || from.writer() == nullptr) {
    return Damaged("a key slot is incomplete");
  }
  out.box.assign(box.begin(), box.end());
  return out;
}

// Frames lie one after the other within [kPackHeader, frames_end).
Status ReadFrames(const fb::PackFooter& from, uint64_t frames_end, PackFooter& out) {
  if (from.frames() == nullptr) return {};
  uint64_t free_from = kPackHeader;
  out.frames.reserve(from.frames()->size());
  for (const fb::Frame* frame : *from.frames()) {
    if (frame->length() < kSmallestFrame || frame->length() > kMaxFrameLength) {
      return Damaged("a frame has an impossible length");
    }
    uint64_t end = uint64_t{frame->offset()} + frame->length();
    if (frame->offset() < free_from || end > frames_end) {
      return Damaged("a frame lies outside its place");
    }
    if (frame->plain() > kMaxFramePlain) return Damaged("a frame's plaintext is above 16 MiB");
    if (frame->slot() >= out.slots.size()) return Damaged("a frame names a slot that is not there");
    free_from = end;
    out.frames.push_back({frame->offset(), frame->length(), frame->plain(), frame->slot()});
  }
  return {};
}

Status ReadBlobs(const fb::PackFooter& from, PackFooter& out) {
  if (from.blobs() == nullptr) return {};
  uint32_t frame = 0;
  uint64_t free_from = 0;
  out.blobs.reserve(from.blobs()->size());
  for (const fb::Blob* raw : *from.blobs()) {
    PackBlob blob;
    std::memcpy(blob.id.bytes.data(), raw, BlobId::kSize);  // the struct's first member
    blob.frame = raw->frame();
    blob.offset = raw->offset();
    blob.length = raw->length();
    if (blob.frame >= out.frames.size()) return Damaged("a blob names a frame that is not there");
    if (blob.frame < frame) return Damaged("blobs are out of order");
    if (blob.frame > frame) free_from = 0;
    frame = blob.frame;
    uint64_t end = uint64_t{blob.offset} + blob.length;
    if (blob.offset < free_from) return Damaged("blobs overlap or are out of order");
    if (end > out.frames[frame].plain) return Damaged("a blob goes beyond its frame");
    if (blob.length == 0 || blob.id.is_zero()) return Damaged("a blob is empty or has no id");
    free_from = end;
    out.blobs.push_back(blob);
  }
  return {};
}
}  // namespace

Bytes EncodePackHeader(PackKind kind) {
  Bytes out;
  Append(out, AsBytes(kMagic));
  AppendInt(out, kFormatVersion);
  out.push_back(static_cast<uint8_t>(kind));
  out.resize(kPackHeader);
  return out;
}

Result<PackKind> DecodePackHeader(ByteView first_bytes) {
  ByteReader reader(first_bytes);
  BKFS_TRY(TakeMagic(reader, kMagic, "pack"));
  PackKind kind{};
  uint8_t raw = reader.Take<uint8_t>();
  uint32_t zero = reader.Take<uint8_t>();
  zero |= reader.Take<uint16_t>();
  if (!reader.ok() || zero != 0 || !ParseKind(raw, kind)) {
    return Status(Code::kCorrupt, "pack header is damaged");
  }
  return kind;
}

SignedFooter SignFooter(const PackFooter& footer, const RepoId& repo, const SigningKey& signer) {
  BKFS_CHECK(footer.signer == signer.id());
  flatbuffers::FlatBufferBuilder builder(1024 + footer.blobs.size() * sizeof(fb::Blob) +
                                         footer.frames.size() * sizeof(fb::Frame));
  std::vector<flatbuffers::Offset<fb::Slot>> slots;
  for (const PackSlot& slot : footer.slots) {
    auto box = builder.CreateVector(slot.box.data(), slot.box.size());
    auto writer = ToStruct<fb::Id16>(slot.writer.bytes);
    slots.push_back(
        fb::CreateSlot(builder, slot.epoch, static_cast<uint8_t>(slot.cipher), &writer, box));
  }
  auto slots_at = builder.CreateVector(slots);
  fb::Frame* frames = nullptr;
  auto frames_at = builder.CreateUninitializedVectorOfStructs(footer.frames.size(), &frames);
  for (size_t i = 0; i < footer.frames.size(); ++i) {
    const PackFrame& frame = footer.frames[i];
    frames[i] = fb::Frame(frame.offset, frame.length, frame.plain, frame.slot);
  }
  fb::Blob* blobs = nullptr;
  auto blobs_at = builder.CreateUninitializedVectorOfStructs(footer.blobs.size(), &blobs);
  for (size_t i = 0; i < footer.blobs.size(); ++i) {
    const PackBlob& blob = footer.blobs[i];
    blobs[i] = fb::Blob(ToStruct<fb::Id32>(blob.id.bytes), blob.frame, blob.offset, blob.length);
  }
  auto signer_id = ToStruct<fb::Id16>(footer.signer.bytes);
  auto data_hash = ToStruct<fb::Id32>(footer.data_hash);
  builder.Finish(fb::CreatePackFooter(builder, static_cast<uint8_t>(footer.kind), &signer_id,
                                      &data_hash, slots_at, frames_at, blobs_at));
  SignedFooter out;
  out.body = BuilderBytes(builder);
  out.signature = signer.Sign(SignedMessage(kSignedContext, repo, out.body));
  return out;
}

Bytes EncodePackEnd(const SignedFooter& footer, Cipher cipher, ByteView index_key,
                    const RepoId& repo) {
  Bytes plain;
  plain.reserve(footer.body.size() + footer.signature.size());
  Append(plain, footer.body);
  Append(plain, footer.signature);
  Bytes out = SealSalted(cipher, index_key, repo, kSealKind, plain);
  auto length = static_cast<uint32_t>(out.size());
  AppendInt(out, length);
  AppendInt(out, kFormatVersion);
  Append(out, AsBytes(kEndMagic));
  return out;
}

Result<uint32_t> DecodePackTrailer(ByteView last_bytes) {
  ByteReader reader(last_bytes);
  uint32_t length = reader.Take<uint32_t>();
  uint32_t version = reader.Take<uint32_t>();
  if (!reader.ok() || AsText(reader.TakeBytes(kMagicSize)) != kEndMagic ||
      reader.remaining() != 0) {
    return Status(Code::kCorrupt, "pack does not end as a pack does: it was cut or added to");
  }
  BKFS_TRY(CheckVersion(version, "pack"));
  if (length < kSealOverhead + sizeof(Signature) || length > kMaxPack - kPackTrailer) {
    return Status(Code::kCorrupt, "pack is damaged: its footer has an impossible length");
  }
  return length + static_cast<uint32_t>(kPackTrailer);
}

Result<SignedFooter> DecodePackEnd(ByteView pack_end, ByteView index_key, const RepoId& repo) {
  if (pack_end.size() < kPackTrailer) {
    return Status(Code::kCorrupt, "pack is too short: it has been cut");
  }
  BKFS_ASSIGN(uint32_t length, DecodePackTrailer(pack_end.last(kPackTrailer)));
  if (length != pack_end.size()) {
    return Status(Code::kCorrupt, "pack is damaged: its footer has another length than it says");
  }
  Result<Bytes> plain =
      OpenSalted(index_key, repo, kSealKind, pack_end.first(length - kPackTrailer));
  if (!plain.ok()) return plain.status().WithContext("pack footer");
  SignedFooter out;
  if (plain->size() < out.signature.size()) return Damaged("it is too short");
  size_t body = plain->size() - out.signature.size();
  std::memcpy(out.signature.data(), plain->data() + body, out.signature.size());
  out.body = std::move(*plain);
  out.body.resize(body);
  return out;
}

Result<PackFooter> DecodeFooterBody(ByteView body, uint64_t pack_size) {
  const uint64_t end = body.size() + sizeof(Signature) + kSealOverhead + kPackTrailer;
  if (pack_size > kMaxPack || pack_size < kPackHeader + end) {
    return Damaged("it does not fit the pack's size");
  }
  AlignedView aligned(body);
  const auto* root = VerifiedRoot<fb::PackFooter>(aligned.view(), kBytesPerSlot);
  if (root == nullptr || root->signer() == nullptr || root->data_hash() == nullptr) {
    return Damaged("its fields do not parse");
  }
  PackFooter out;
  if (!ParseKind(root->kind(), out.kind)) return Damaged("unknown kind of pack");
  FromStruct(root->signer(), out.signer.bytes);
  FromStruct(root->data_hash(), out.data_hash);
  if (root->slots() != nullptr) {
    out.slots.reserve(root->slots()->size());
    for (const fb::Slot* slot : *root->slots()) {
      BKFS_ASSIGN(PackSlot read, ReadSlot(*slot));
      out.slots.push_back(std::move(read));
    }
  }
  BKFS_TRY(ReadFrames(*root, pack_size - end, out));
  BKFS_TRY(ReadBlobs(*root, out));
  return out;
}

Status VerifyFooter(const SignedFooter& footer, const RepoId& repo,
                    const PublicKey& signer_public) {
  AlignedView aligned(footer.body);
  const auto* root = VerifiedRoot<fb::PackFooter>(aligned.view(), kBytesPerSlot);
  if (root == nullptr || root->signer() == nullptr) return Damaged("its fields do not parse");
  KeyId named;
  FromStruct(root->signer(), named.bytes);
  if (named != KeyIdOf(signer_public)) {
    return {Code::kCorrupt,
            "pack footer names another signer than key " + KeyIdOf(signer_public).hex()};
  }
  if (VerifySignature(signer_public, SignedMessage(kSignedContext, repo, footer.body),
                      footer.signature))
    return {};
  return {Code::kCorrupt, "pack footer has a bad signature: it was changed, or key " + named.hex() +
                              " did not make it"};
}

}  // namespace bkfs

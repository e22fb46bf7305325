// SPDX-License-Identifier: Apache-2.0
#include "engine/staging/spool_records.h"

#include <algorithm>

namespace bkfs {

namespace {
enum RecordType : uint8_t { kStart = 1, kFrame = 2, kEnd = 3 };
constexpr size_t kKeySize = 32;
constexpr size_t kBlobRecord = BlobId::kSize + 8;
}  // namespace

Bytes EncodeSpoolStart(const SpoolStart& start, ByteView key) {
  Bytes out{kStart, static_cast<uint8_t>(start.kind), static_cast<uint8_t>(start.slot.cipher)};
  AppendInt(out, start.slot.epoch);
  Append(out, start.slot.writer.view());
  Append(out, key);
  Append(out, start.slot.box);
  return out;
}

bool DecodeSpoolStart(ByteView record, SpoolStart& start, Secret& key) {
  ByteReader in(record);
  if (in.Take<uint8_t>() != kStart) return false;
  start.kind = static_cast<PackKind>(in.Take<uint8_t>());
  auto cipher = ParseCipher(in.Take<uint8_t>());
  start.slot.epoch = in.Take<uint32_t>();
  auto writer = KeyId::FromBytes(in.TakeBytes(KeyId::kSize));
  ByteView raw_key = in.TakeBytes(kKeySize);
  if (!in.ok() || !cipher.ok() || !writer.ok()) return false;
  start.slot.cipher = *cipher;
  start.slot.writer = *writer;
  key = Secret::CopyOf(raw_key);
  ByteView box = in.TakeBytes(in.remaining());
  start.slot.box.assign(box.begin(), box.end());
  return true;
}

Bytes EncodeSpoolFrame(const PackFrame& frame, std::span<const PackBlob> blobs) {
  Bytes out{kFrame};
  for (uint32_t value : {frame.offset, frame.length, frame.plain, frame.slot})
    AppendInt(out, value);
  for (const auto& blob : blobs) {
    Append(out, blob.id.view());
    AppendInt(out, blob.offset);
    AppendInt(out, blob.length);
  }
  return out;
}

bool DecodeSpoolFrame(ByteView record, std::vector<PackFrame>& frames,
                      std::vector<PackBlob>& blobs) {
  ByteReader in(record);
  if (in.Take<uint8_t>() != kFrame) return false;
  PackFrame frame;
  frame.offset = in.Take<uint32_t>();
  frame.length = in.Take<uint32_t>();
  frame.plain = in.Take<uint32_t>();
  frame.slot = in.Take<uint32_t>();
  if (!in.ok() || in.remaining() % kBlobRecord != 0) return false;
  const auto number = static_cast<uint32_t>(frames.size());
  while (in.remaining() > 0) {
    auto id = BlobId::FromBytes(in.TakeBytes(BlobId::kSize));
    if (!id.ok()) return false;
    PackBlob blob{*id, number, in.Take<uint32_t>(), 0};
    blob.length = in.Take<uint32_t>();
    blobs.push_back(blob);
  }
  frames.push_back(frame);
  return true;
}

Bytes EncodeSpoolEnd(uint64_t pack_size, const SignedFooter& footer) {
  Bytes out{kEnd};
  AppendInt(out, pack_size);
  Append(out, footer.signature);
  Append(out, footer.body);
  return out;
}

bool DecodeSpoolEnd(ByteView record, SpoolEnd& end) {
  ByteReader in(record);
  if (in.Take<uint8_t>() != kEnd) return false;
  end.pack_size = in.Take<uint64_t>();
  ByteView signature = in.TakeBytes(end.footer.signature.size());
  if (!in.ok()) return false;
  std::copy(signature.begin(), signature.end(), end.footer.signature.begin());
  ByteView body = in.TakeBytes(in.remaining());
  end.footer.body.assign(body.begin(), body.end());
  return true;
}

Bytes SpoolAad(uint64_t offset) {
  Bytes out;
  AppendInt(out, offset);
  return out;
}

}  // namespace bkfs

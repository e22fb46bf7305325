// SPDX-License-Identifier: Apache-2.0
#include "backends/sftp/wire.h"

#include <sys/stat.h>

namespace bkfs {

namespace {
constexpr uint32_t kHasSize = 0x01;
constexpr uint32_t kHasOwner = 0x02;
constexpr uint32_t kHasMode = 0x04;
constexpr uint32_t kHasTimes = 0x08;
constexpr uint32_t kHasExtended = 0x80000000;
}  // namespace

WireWriter& WireWriter::U8(uint8_t value) {
  out_.push_back(value);
  return *this;
}

WireWriter& WireWriter::U32(uint32_t value) {
  AppendInt(out_, __builtin_bswap32(value));
  return *this;
}

WireWriter& WireWriter::U64(uint64_t value) {
  AppendInt(out_, __builtin_bswap64(value));
  return *this;
}

WireWriter& WireWriter::Text(std::string_view text) {
  U32(static_cast<uint32_t>(text.size()));
  Append(out_, AsBytes(text));
  return *this;
}

ByteView WireReader::Take(size_t count) {
  if (data_.size() < count) {
    ok_ = false;
    data_ = {};
    return {};
  }
  ByteView out = data_.first(count);
  data_ = data_.subspan(count);
  return out;
}

uint8_t WireReader::U8() {
  ByteView raw = Take(1);
  return raw.empty() ? 0 : raw[0];
}

uint32_t WireReader::U32() {
  ByteView raw = Take(4);
  return raw.empty() ? 0 : __builtin_bswap32(Load<uint32_t>(raw.data()));
}

uint64_t WireReader::U64() {
  ByteView raw = Take(8);
  return raw.empty() ? 0 : __builtin_bswap64(Load<uint64_t>(raw.data()));
}

ByteView WireReader::Blob() { return Take(U32()); }

bool SftpAttributes::IsRegular() const { return mode && S_ISREG(*mode); }
bool SftpAttributes::IsFolder() const { return mode && S_ISDIR(*mode); }

SftpAttributes TakeAttributes(WireReader& reader) {
  SftpAttributes out;
  const uint32_t flags = reader.U32();
  if ((flags & kHasSize) != 0) out.size = reader.U64();
  if ((flags & kHasOwner) != 0) reader.U64();
  if ((flags & kHasMode) != 0) out.mode = reader.U32();
  if ((flags & kHasTimes) != 0) {
    reader.U32();
    out.modified = reader.U32();
  }
  if ((flags & kHasExtended) != 0) {
    for (uint32_t left = reader.U32(); left > 0 && reader.ok(); --left) {
      reader.Blob();
      reader.Blob();
    }
  }
  return out;
}

}  // namespace bkfs

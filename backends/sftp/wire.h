// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "engine/base/bytes.h"

namespace bkfs {

// Packets of SSH and of SFTP version 3 (draft-ietf-secsh-filexfer-02): big-endian numbers, and
// strings behind their length.

enum class SftpType : uint8_t {
  kInit = 1,
  kVersion = 2,
  kOpen = 3,
  kClose = 4,
  kRead = 5,
  kWrite = 6,
  kLstat = 7,
  kFstat = 8,
  kOpenDir = 11,
  kReadDir = 12,
  kRemove = 13,
  kMkdir = 14,
  kStat = 17,
  kRename = 18,
  kStatus = 101,
  kHandle = 102,
  kData = 103,
  kName = 104,
  kAttributes = 105,
  kExtended = 200,
  kExtendedReply = 201,
};

enum class SftpCode : uint32_t {
  kOk = 0,
  kEof = 1,
  kNoSuchFile = 2,
  kPermissionDenied = 3,
  kFailure = 4,
  kNoConnection = 6,
  kConnectionLost = 7,
  kUnsupported = 8,
  // Of later versions; some servers use them in this one.
  kNoSuchPath = 10,
  kFileExists = 11,
  kWriteProtected = 12,
  kNoSpace = 14,
  kQuotaExceeded = 15,
};

constexpr uint32_t kSftpRead = 0x01;
constexpr uint32_t kSftpWrite = 0x02;
constexpr uint32_t kSftpCreate = 0x08;
constexpr uint32_t kSftpExclusive = 0x20;

// Appends to a buffer.
class WireWriter {
 public:
  explicit WireWriter(Bytes& out) : out_(out) {}
  WireWriter& U8(uint8_t value);
  WireWriter& U32(uint32_t value);
  WireWriter& U64(uint64_t value);
  WireWriter& Text(std::string_view text);
  WireWriter& Blob(ByteView bytes) { return Text(AsText(bytes)); }

 private:
  Bytes& out_;
};

// Takes off the front of a packet. After a take that found too little, `ok()` is false and all
// further takes give zeros and empty views.
class WireReader {
 public:
  explicit WireReader(ByteView data) : data_(data) {}
  uint8_t U8();
  uint32_t U32();
  uint64_t U64();
  ByteView Blob();
  std::string_view Text() { return AsText(Blob()); }
  size_t remaining() const { return data_.size(); }
  bool ok() const { return ok_; }

 private:
  ByteView Take(size_t count);
  ByteView data_;
  bool ok_ = true;
};

// What a server says of a file; it need not say all.
struct SftpAttributes {
  std::optional<uint64_t> size;
  std::optional<uint32_t> mode;
  std::optional<uint32_t> modified;  // seconds since 1970

  bool IsRegular() const;
  bool IsFolder() const;
};
SftpAttributes TakeAttributes(WireReader& reader);

}  // namespace bkfs

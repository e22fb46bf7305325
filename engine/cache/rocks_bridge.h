// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <rocksdb/env.h>
#include <rocksdb/slice.h>
#include <rocksdb/status.h>

#include <exception>
#include <string>

#include "engine/base/bytes.h"
#include "engine/base/status.h"

// What the files that wrap RocksDB share. Included by .cc files only.
namespace bkfs::rocks {

inline rocksdb::Slice ToSlice(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline ByteView ToView(const rocksdb::Slice& slice) {
  return {reinterpret_cast<const uint8_t*>(slice.data()), slice.size()};
}

// `what` is the store, as the user knows it.
inline Status ToStatus(const rocksdb::Status& status, const char* what) {
  if (status.ok()) return {};
  const std::string message = std::string(what) + ": " + status.ToString();
  // A full disk often arrives as a plain I/O error with the system's text in it.
  if (status.IsNoSpace() || status.subcode() == rocksdb::Status::kNoSpace ||
      message.find("No space left") != std::string::npos) {
    return {Code::kNoSpace, message};
  }
  // What is missing, not understood, or not as it was written: the data are at fault.
  if (status.IsCorruption() || status.IsInvalidArgument() || status.IsNotSupported() ||
      status.IsNotFound() || status.IsPathNotFound()) {
    return {Code::kCorrupt, message};
  }
  return {Code::kIo, message};
}

// Runs what calls RocksDB; what it throws becomes a Status.
template <typename Body>
auto Guarded(const char* what, const Body& body) -> decltype(body()) try {
  return body();
} catch (const std::exception& error) {
  return Status(Code::kIo, std::string(what) + ": " + error.what());
}

// RocksDB's own log would grow beside the store and tell nobody anything.
class SilentLogger final : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

}  // namespace bkfs::rocks

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "engine/base/bytes.h"
#include "engine/base/status.h"

namespace bkfs {

// Owns a file descriptor.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(std::exchange(other.fd_, -1));
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  void Reset(int fd = -1);
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

// All of these retry EINTR and name `path` in their errors.
Result<UniqueFd> OpenFile(const std::string& path, int flags, int mode = 0600);
Status WriteAll(int fd, ByteView data, const std::string& path);
Status PwriteAll(int fd, ByteView data, uint64_t offset, const std::string& path);
// Fills `out`; kCorrupt when the file ends before.
Status PreadAll(int fd, MutableByteView out, uint64_t offset, const std::string& path);
Status SyncFd(int fd, const std::string& path);
// Makes renames and creations in the directory durable.
Status SyncDirectory(const std::string& path);
// The whole file; kTooLarge above `limit` bytes.
Result<Bytes> ReadWholeFile(const std::string& path, uint64_t limit = uint64_t{1} << 30);
// Creates `path` with the data (kExists if taken), synced with its directory.
Status WriteNewFile(const std::string& path, ByteView data, int mode);
// kNoSpace if fewer than `bytes` are free where `directory` is; `what` says what they are for.
Status CheckRoom(const std::string& directory, uint64_t bytes, const std::string& what);
// mkdir -p; directories it makes get `mode`.
Status MakeDirectories(const std::string& path, int mode = 0755);
// rm -rf without following links; a path that is not there is OK.
Status RemoveTree(const std::string& path);

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/base/fd.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

namespace bkfs {

void UniqueFd::Reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Result<UniqueFd> OpenFile(const std::string& path, int flags, int mode) {
  for (;;) {
    int fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
    if (fd >= 0) return UniqueFd(fd);
    if (errno != EINTR) return Status::FromErrno(errno, path);
  }
}

Status WriteAll(int fd, ByteView data, const std::string& path) {
  while (!data.empty()) {
    ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::FromErrno(errno, "write " + path);
    data = data.subspan(static_cast<size_t>(n));
  }
  return {};
}

Status PwriteAll(int fd, ByteView data, uint64_t offset, const std::string& path) {
  while (!data.empty()) {
    ssize_t n = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::FromErrno(errno, "write " + path);
    data = data.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

Status PreadAll(int fd, MutableByteView out, uint64_t offset, const std::string& path) {
  while (!out.empty()) {
    ssize_t n = ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::FromErrno(errno, "read " + path);
    if (n == 0) return {Code::kCorrupt, path + " ends too early: it has been cut"};
    out = out.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

Status SyncFd(int fd, const std::string& path) {
  if (::fdatasync(fd) != 0) return Status::FromErrno(errno, "sync " + path);
  return {};
}

Status SyncDirectory(const std::string& path) {
  BKFS_ASSIGN(UniqueFd fd, OpenFile(path, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) != 0) return Status::FromErrno(errno, "sync " + path);
  return {};
}

Result<Bytes> ReadWholeFile(const std::string& path, uint64_t limit) {
  BKFS_ASSIGN(UniqueFd fd, OpenFile(path, O_RDONLY));
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return Status::FromErrno(errno, path);
  if (S_ISDIR(st.st_mode)) return Status(Code::kIsDirectory, path + " is a directory");
  // The limit comes before the reservation: a sparse file may claim any size.
  if (st.st_size > 0 && static_cast<uint64_t>(st.st_size) > limit) {
    return Status(Code::kTooLarge, path + " is larger than expected");
  }
  Bytes out;
  out.reserve(static_cast<size_t>(st.st_size > 0 ? st.st_size : 0));
  uint8_t buffer[65536];
  for (;;) {
    ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::FromErrno(errno, "read " + path);
    if (n == 0) return out;
    if (out.size() + static_cast<size_t>(n) > limit) {
      return Status(Code::kTooLarge, path + " is larger than expected");
    }
    out.insert(out.end(), buffer, buffer + n);
  }
}

Status WriteNewFile(const std::string& path, ByteView data, int mode) {
  BKFS_ASSIGN(UniqueFd fd, OpenFile(path, O_WRONLY | O_CREAT | O_EXCL, mode));
  Status status = WriteAll(fd.get(), data, path);
  if (status.ok()) status = SyncFd(fd.get(), path);
  if (!status.ok()) {
    ::unlink(path.c_str());
    return status;
  }
  std::string parent = std::filesystem::path(path).parent_path().string();
  return SyncDirectory(parent.empty() ? "." : parent);
}

Status CheckRoom(const std::string& directory, uint64_t bytes, const std::string& what) {
  struct statvfs st {};
  if (::statvfs(directory.c_str(), &st) != 0) return Status::FromErrno(errno, directory);
  if (uint64_t{st.f_bavail} * st.f_frsize >= bytes) return {};
  return {Code::kNoSpace, "no space left for " + what + " in " + directory};
}

Status MakeDirectories(const std::string& path, int mode) {
  for (size_t at = 1; at <= path.size(); ++at) {
    if (at != path.size() && path[at] != '/') continue;
    std::string prefix = path.substr(0, at);
    if (::mkdir(prefix.c_str(), static_cast<mode_t>(mode)) != 0 && errno != EEXIST) {
      int error = errno;
      struct stat st {};
      if (::stat(prefix.c_str(), &st) == 0 && S_ISDIR(st.st_mode)) continue;
      return Status::FromErrno(error, "mkdir " + prefix);
    }
  }
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return Status::FromErrno(errno, path);
  if (!S_ISDIR(st.st_mode)) return {Code::kNotDirectory, path + " is not a directory"};
  return {};
}

Status RemoveTree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) return Status::FromErrno(error.value(), "remove " + path);
  return {};
}

}  // namespace bkfs

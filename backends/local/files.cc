// SPDX-License-Identifier: Apache-2.0
#include "backends/local/files.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string_view>

#include "engine/base/transfer.h"

namespace bkfs {

namespace {
constexpr int kFolder = O_RDONLY | O_DIRECTORY;

int OpenWithoutLinks(int root, const char* relative, int flags) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH;
  long fd = ::syscall(SYS_openat2, root, relative, &how, sizeof how);
  // A kernel before 5.6, or a container's filter that does not know the call.
  if (fd < 0 && (errno == ENOSYS || errno == EPERM)) {
    return ::openat(root, relative, flags | O_NOFOLLOW | O_CLOEXEC);
  }
  return static_cast<int>(fd);
}

}  // namespace

Status LocalError(int system_errno, const std::string& path) {
  Status status = Status::FromErrno(system_errno, path);
  switch (system_errno) {
    case ENOTDIR: return {Code::kNotFound, status.message(), system_errno};
    case EPERM: return {Code::kDenied, status.message(), system_errno};
    case ELOOP:
      return {Code::kDenied, path + ": a symbolic link stands on the way; it is not followed",
              system_errno};
    default: return status;
  }
}

Result<UniqueFd> OpenBelow(int root, const std::string& relative, int flags,
                           const std::string& path) {
  for (;;) {
    int fd = OpenWithoutLinks(root, relative.c_str(), flags);
    if (fd >= 0) return UniqueFd(fd);
    if (errno != EINTR && errno != EAGAIN) return LocalError(errno, path);
  }
}

Result<UniqueFd> MakeFolderBelow(int root, const std::string& relative, const std::string& path) {
  BKFS_ASSIGN(UniqueFd folder, OpenBelow(root, ".", kFolder, path));
  std::string_view rest = relative;
  while (!rest.empty()) {
    std::string word(rest.substr(0, rest.find('/')));
    rest.remove_prefix(std::min(rest.size(), word.size() + 1));
    if (::mkdirat(folder.get(), word.c_str(), 0700) != 0 && errno != EEXIST) {
      return LocalError(errno, path);
    }
    // Also when it was there: whoever made it a moment ago may not have synced it yet.
    BKFS_TRY(SyncFolder(folder.get(), path));
    BKFS_ASSIGN(UniqueFd next, OpenBelow(folder.get(), word, kFolder, path));
    folder = std::move(next);
  }
  return folder;
}

Status WriteParts(int fd, std::span<const ByteView> parts, const std::string& path) {
  uint64_t offset = 0;
  for (ByteView part : parts) {
    while (!part.empty()) {
      const ByteView piece = part.first(std::min(part.size(), kTransferPiece));
      BKFS_TRY(TellSending(piece.size()));
      const ssize_t n = ::pwrite(fd, piece.data(), piece.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return LocalError(errno, path);
      offset += static_cast<uint64_t>(n);
      part = part.subspan(static_cast<size_t>(n));
    }
  }
  return {};
}

Status RenameIfAbsent(int from_folder, const std::string& from, int to_folder,
                      const std::string& to, const std::string& path) {
  if (::renameat2(from_folder, from.c_str(), to_folder, to.c_str(), RENAME_NOREPLACE) == 0) {
    return {};
  }
  // EINVAL, ENOSYS: a filesystem or kernel without that flag. A second link also never replaces.
  if (errno == EINVAL || errno == ENOSYS) {
    if (::linkat(from_folder, from.c_str(), to_folder, to.c_str(), 0) == 0) {
      ::unlinkat(from_folder, from.c_str(), 0);
      return {};
    }
  }
  return LocalError(errno, path);
}

Status SyncFolder(int folder, const std::string& path) {
  if (::fsync(folder) == 0) return {};
  if (errno == EINVAL) return {};  // a filesystem where folders need no sync and have none
  return LocalError(errno, path);
}

Result<UniqueDir> OpenDir(UniqueFd fd, const std::string& path) {
  UniqueDir dir(::fdopendir(fd.get()));
  if (!dir) return LocalError(errno, path);
  (void)fd.Release();  // the stream owns it now
  return dir;
}

Result<const char*> NextName(DIR* dir, const std::string& path) {
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(dir);  // NOLINT(concurrency-mt-unsafe): one thread per stream
    if (entry == nullptr && errno != 0) return LocalError(errno, path);
    if (entry == nullptr) return static_cast<const char*>(nullptr);
    std::string_view name = entry->d_name;
    if (name != "." && name != "..") return static_cast<const char*>(entry->d_name);
  }
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/restore_node.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "engine/crypto/secret.h"
#include "engine/transfer/local_tree.h"

namespace bkfs {

namespace {
constexpr size_t kBlock = 1 << 20;
}

Result<UniqueFd> OpenBelow(int root, const std::string& relative) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  const std::string path = relative.empty() ? "." : relative;
  const long fd = ::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how);
  if (fd < 0) return Status::FromErrno(errno, path);
  return UniqueFd(static_cast<int>(fd));
}

Status RemoveBelow(int dir, const std::string& name) {
  if (::unlinkat(dir, name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return Status::FromErrno(errno, "remove " + name);
  UniqueFd below(::openat(dir, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!below.valid()) return Status::FromErrno(errno, "remove " + name);
  DIR* listing = ::fdopendir(::fcntl(below.get(), F_DUPFD_CLOEXEC, 0));
  if (!listing) return Status::FromErrno(errno, "remove " + name);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(listing)) {
    const std::string_view found = entry->d_name;
    if (found != "." && found != "..") names.emplace_back(found);
  }
  ::closedir(listing);
  for (const auto& found : names) BKFS_TRY(RemoveBelow(below.get(), found));
  if (::unlinkat(dir, name.c_str(), AT_REMOVEDIR) != 0) {
    return Status::FromErrno(errno, "remove " + name);
  }
  return {};
}

Status WriteContents(FileReader& reader, int fd, const std::string& what) {
  const uint64_t size = reader.map().size();
  Bytes buffer(kBlock);
  uint64_t at = 0;
  while (at < size) {
    auto data = reader.SeekData(at);
    if (data.code() == Code::kNotFound) break;
    if (!data.ok()) return data.status();
    at = *data;
    BKFS_ASSIGN(uint64_t hole, reader.SeekHole(at));
    while (at < hole) {
      const size_t want = std::min<uint64_t>(buffer.size(), hole - at);
      BKFS_ASSIGN(size_t n, reader.Read(at, MutableByteView(buffer).first(want)));
      if (n != want) return {Code::kCorrupt, "contents end too early"};
      BKFS_TRY(PwriteAll(fd, ByteView(buffer).first(n), at, what));
      at += n;
    }
  }
  if (::ftruncate(fd, static_cast<off_t>(size)) != 0) return Status::FromErrno(errno, what);
  return {};
}

Result<bool> SameContents(FileReader& reader, int dir, const std::string& name) {
  UniqueFd fd(::openat(dir, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return Status::FromErrno(errno, name);
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return Status::FromErrno(errno, name);
  const uint64_t size = reader.map().size();
  if (!S_ISREG(st.st_mode) || static_cast<uint64_t>(st.st_size) != size) return false;
  Bytes stored(kBlock);
  Bytes local(kBlock);
  for (uint64_t at = 0; at < size;) {
    const size_t want = std::min<uint64_t>(kBlock, size - at);
    BKFS_ASSIGN(size_t n, reader.Read(at, MutableByteView(stored).first(want)));
    if (n != want) return Status(Code::kCorrupt, "contents end too early");
    Status read = PreadAll(fd.get(), MutableByteView(local).first(want), at, name);
    if (read.Is(Code::kCorrupt)) return false;  // became shorter
    BKFS_TRY(read);
    if (!std::equal(stored.begin(), stored.begin() + static_cast<ptrdiff_t>(want), local.begin())) {
      return false;
    }
    at += want;
  }
  return true;
}

Status MakeSpecial(int dir, const std::string& name, const Entry& entry) {
  if (entry.kind == EntryKind::kSymlink) {
    if (::symlinkat(entry.target.c_str(), dir, name.c_str()) != 0) {
      return Status::FromErrno(errno, "symlink");
    }
    return {};
  }
  if (::mknodat(dir, name.c_str(), ModeOfKind(entry.kind) | 0600, entry.rdev) != 0) {
    return Status::FromErrno(errno, "mknod");
  }
  return {};
}

std::string TemporaryName() {
  uint8_t random[8];
  RandomBytes(random);
  return ".bkfs-restore-" + ToHex(random);
}

}  // namespace bkfs

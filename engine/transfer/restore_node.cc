// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/restore_node.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "engine/crypto/secret.h"
#include "engine/transfer/name_list.h"

namespace bkfs {

namespace {
constexpr size_t kBlock = 1 << 20;
constexpr int kDeepest = 10000;  // a descriptor and a stack frame each

Result<UniqueFd> OpenDirectory(int dir, const char* name) {
  UniqueFd fd(::openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return Status::FromErrno(errno, name);
  return fd;
}

Status RemoveTreeBelow(int dir, const std::string& name, const std::set<FileIdentity>& keep,
                       int depth) {
  struct stat st {};
  if (::fstatat(dir, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno == ENOENT ? OkStatus() : Status::FromErrno(errno, "remove " + name);
  }
  if (!S_ISDIR(st.st_mode)) {
    if (::unlinkat(dir, name.c_str(), 0) == 0 || errno == ENOENT) return {};
    return Status::FromErrno(errno, "remove " + name);
  }
  if (keep.contains({st.st_dev, st.st_ino})) {
    return {Code::kNotPermitted, name + " is the repository or a cache of bkfs: it is kept"};
  }
  if (depth == kDeepest) return {Code::kTooLarge, name + " is nested too deeply to be removed"};
  BKFS_ASSIGN(UniqueFd below, OpenDirectory(dir, name.c_str()));
  struct stat opened {};
  struct stat above {};
  if (::fstat(below.get(), &opened) != 0 || ::fstat(dir, &above) != 0) {
    return Status::FromErrno(errno, "remove " + name);
  }
  if (opened.st_dev != above.st_dev) {
    return {Code::kNotPermitted, name + " is another filesystem: it is kept"};
  }
  NameList names;
  BKFS_TRY(names.AddAll(below.get()));
  Status first;
  for (size_t i = 0; i < names.size(); ++i) {
    Status removed = RemoveTreeBelow(below.get(), names[i], keep, depth + 1);
    if (first.ok()) first = removed;
  }
  BKFS_TRY(first);
  if (::unlinkat(dir, name.c_str(), AT_REMOVEDIR) != 0) {
    return Status::FromErrno(errno, "remove " + name);
  }
  return {};
}
}  // namespace

Result<UniqueFd> OpenBelow(int root, const std::string& relative) {
  BKFS_ASSIGN(UniqueFd at, OpenDirectory(root, "."));
  for (size_t from = 0; from < relative.size();) {
    const size_t slash = std::min(relative.find('/', from), relative.size());
    const std::string name = relative.substr(from, slash - from);
    if (!name.empty()) {
      BKFS_ASSIGN(at, OpenDirectory(at.get(), name.c_str()));
    }
    from = slash + 1;
  }
  return at;
}

Status RemoveBelow(int dir, const std::string& name, const std::set<FileIdentity>& keep) {
  return RemoveTreeBelow(dir, name, keep, 0);
}

bool LiesWithin(int dir, const std::set<FileIdentity>& places) {
  UniqueFd at(::openat(dir, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  FileIdentity last;
  for (;;) {
    struct stat st {};
    if (!at.valid() || ::fstat(at.get(), &st) != 0) return false;
    const FileIdentity here{st.st_dev, st.st_ino};
    if (places.contains(here)) return true;
    if (here == last) return false;  // the top
    last = here;
    at = UniqueFd(::openat(at.get(), "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
}

Status WriteContents(FileReader& reader, int fd, const Tick& tick) {
  const uint64_t size = reader.map().size();
  Bytes buffer(std::min<uint64_t>(kBlock, size));
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
      BKFS_TRY(PwriteAll(fd, ByteView(buffer).first(n), at, "contents"));
      at += n;
      BKFS_TRY(tick(n));
    }
  }
  if (::ftruncate(fd, static_cast<off_t>(size)) != 0) return Status::FromErrno(errno, "truncate");
  return {};
}

Result<bool> SameContents(FileReader& reader, int fd, const Tick& tick) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return Status::FromErrno(errno, "stat");
  const uint64_t size = reader.map().size();
  if (!S_ISREG(st.st_mode) || static_cast<uint64_t>(st.st_size) != size) return false;
  Bytes stored(std::min<uint64_t>(kBlock, size));
  Bytes local(stored.size());
  for (uint64_t at = 0; at < size;) {
    const size_t want = std::min<uint64_t>(stored.size(), size - at);
    BKFS_ASSIGN(size_t n, reader.Read(at, MutableByteView(stored).first(want)));
    if (n != want) return Status(Code::kCorrupt, "contents end too early");
    Status read = PreadAll(fd, MutableByteView(local).first(want), at, "contents");
    if (read.Is(Code::kCorrupt)) return false;  // became shorter
    BKFS_TRY(read);
    if (!std::equal(stored.begin(), stored.begin() + static_cast<ptrdiff_t>(want), local.begin())) {
      return false;
    }
    at += want;
    BKFS_TRY(tick(0));
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

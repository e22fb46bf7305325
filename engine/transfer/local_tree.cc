// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/local_tree.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

namespace bkfs {

namespace {

constexpr size_t kMaxXattr = 64 << 10;  // the kernel's, of a value and of the list of names
constexpr size_t kMaxAccountRecord = 16 << 20;
constexpr uint16_t kSetIdBits = S_ISUID | S_ISGID;

// A path to an open file for calls that take no O_PATH descriptor. Of a symlink it leads to the
// symlink itself.
std::string ProcPath(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

bool IsRoot() { return ::geteuid() == 0; }

// nullopt: not there, or not for this user to see.
Result<std::optional<std::string>> GetXattr(const std::string& path, const std::string& name) {
  std::string value(256, '\0');
  for (;;) {
    const ssize_t n = ::getxattr(path.c_str(), name.c_str(), value.data(), value.size());
    if (n >= 0) {
      value.resize(static_cast<size_t>(n));
      return std::optional(std::move(value));
    }
    if (errno == ENODATA || errno == ENOTSUP || (!IsRoot() && (errno == EPERM || errno == EACCES)))
      return std::optional<std::string>();
    if (errno != ERANGE || value.size() > kMaxXattr) {
      return Status::FromErrno(errno, "attribute " + name);
    }
    value.resize(kMaxXattr + 1);
  }
}

Result<std::vector<std::string>> ListXattrs(const std::string& path) {
  std::string names(1024, '\0');
  ssize_t n = ::listxattr(path.c_str(), names.data(), names.size());
  if (n < 0 && errno == ERANGE) {
    names.resize(kMaxXattr);
    n = ::listxattr(path.c_str(), names.data(), names.size());
  }
  if (n < 0 && (errno == ENOTSUP || errno == ENOSYS)) return std::vector<std::string>();
  if (n < 0) return Status::FromErrno(errno, "list of attributes");
  std::vector<std::string> out;
  for (size_t at = 0; at < static_cast<size_t>(n);) {
    out.emplace_back(names.c_str() + at);
    at += out.back().size() + 1;
  }
  std::sort(out.begin(), out.end());
  return out;
}

Result<std::vector<Xattr>> ReadXattrs(const std::string& path) {
  std::vector<Xattr> out;
  BKFS_ASSIGN(auto names, ListXattrs(path));
  for (auto& name : names) {
    BKFS_ASSIGN(auto value, GetXattr(path, name));
    if (value) out.push_back({std::move(name), std::move(*value)});
  }
  return out;
}

// Whether the system lets only root do what failed with this error.
bool ForgivenToUsers(int error) {
  return !IsRoot() && (error == EPERM || error == EACCES || error == ENOTSUP);
}

// Labels that the system's own policy sets are not taken off.
bool IsSystemLabel(const std::string& name) {
  return name == "security.selinux" || name == "security.ima" || name == "security.evm";
}

// Attributes that other users than root cannot set.
bool IsForRoot(const std::string& name) {
  return name.starts_with("security.") || name.starts_with("trusted.");
}

Status ApplyXattrs(const std::string& path, const Entry& entry) {
  BKFS_ASSIGN(auto present, ListXattrs(path));
  Status first;
  for (const auto& xattr : entry.xattrs) {
    auto now = GetXattr(path, xattr.name);
    if (now.ok() && *now == xattr.value) continue;
    if (::setxattr(path.c_str(), xattr.name.c_str(), xattr.value.data(), xattr.value.size(), 0) !=
            0 &&
        !ForgivenToUsers(errno) && first.ok()) {
      first = Status::FromErrno(errno, "set attribute " + xattr.name);
    }
  }
  for (const auto& name : present) {
    const bool wanted = std::any_of(entry.xattrs.begin(), entry.xattrs.end(),
                                    [&](const Xattr& x) { return x.name == name; });
    if (wanted || IsSystemLabel(name)) continue;
    if (::removexattr(path.c_str(), name.c_str()) != 0 && errno != ENODATA &&
        !ForgivenToUsers(errno) && first.ok()) {
      first = Status::FromErrno(errno, "remove attribute " + name);
    }
  }
  return first;
}

// False when the file keeps another owner than the entry's.
bool ApplyOwner(int fd, const Entry& entry, Status& first) {
  if (::fchownat(fd, "", entry.uid, entry.gid, AT_EMPTY_PATH) == 0) return true;
  if (!ForgivenToUsers(errno)) first = Status::FromErrno(errno, "chown");
  // A user may give files to groups of their own.
  const bool group = ::fchownat(fd, "", static_cast<uid_t>(-1), entry.gid, AT_EMPTY_PATH) == 0;
  return group && entry.uid == ::geteuid();
}

std::optional<EntryKind> KindOfMode(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return EntryKind::kFile;
    case S_IFDIR: return EntryKind::kDirectory;
    case S_IFLNK: return EntryKind::kSymlink;
    case S_IFIFO: return EntryKind::kFifo;
    case S_IFSOCK: return EntryKind::kSocket;
    case S_IFCHR: return EntryKind::kCharDevice;
    case S_IFBLK: return EntryKind::kBlockDevice;
    default: return std::nullopt;
  }
}

Timestamp FromStatx(const statx_timestamp& t) { return {t.tv_sec, t.tv_nsec}; }

Result<LocalFile> Stat(int dir, const char* name, int flags, AccountNames& accounts) {
  struct statx sx {};
  if (::statx(dir, name, flags, STATX_BASIC_STATS | STATX_BTIME, &sx) != 0) {
    return Status::FromErrno(errno, "stat");
  }
  const auto kind = KindOfMode(sx.stx_mode);
  if (!kind) return Status(Code::kUnsupported, "a kind of file that bkfs does not know");
  LocalFile file;
  file.identity = {::makedev(sx.stx_dev_major, sx.stx_dev_minor), sx.stx_ino};
  Entry& entry = file.entry;
  entry.kind = *kind;
  entry.mode = sx.stx_mode & 07777;
  entry.uid = sx.stx_uid;
  entry.gid = sx.stx_gid;
  entry.user = accounts.User(entry.uid);
  entry.group = accounts.Group(entry.gid);
  entry.mtime = FromStatx(sx.stx_mtime);
  entry.ctime = FromStatx(sx.stx_ctime);
  if ((sx.stx_mask & STATX_BTIME) != 0) entry.btime = FromStatx(sx.stx_btime);
  entry.nlink = entry.is_directory() ? 1 : sx.stx_nlink;
  if (entry.kind == EntryKind::kFile || entry.kind == EntryKind::kSymlink) entry.size = sx.stx_size;
  if (entry.kind == EntryKind::kCharDevice || entry.kind == EntryKind::kBlockDevice) {
    entry.rdev = ::makedev(sx.stx_rdev_major, sx.stx_rdev_minor);
  }
  return file;
}

// The name in the record that `ask` fetches into a buffer, which grows until the record fits.
template <typename Record>
std::string NameOf(uint32_t id, int (*ask)(uint32_t, Record*, char*, size_t, Record**),
                   char* Record::*name) {
  Record record{};
  Record* found = nullptr;
  std::vector<char> text(4096);
  while (ask(id, &record, text.data(), text.size(), &found) == ERANGE &&
         text.size() < kMaxAccountRecord) {
    text.resize(text.size() * 4);
  }
  return found ? std::string(found->*name) : std::string();
}

}  // namespace

std::string AccountNames::User(uint32_t uid) {
  MutexLock lock(mutex_);
  auto [it, is_new] = users_.try_emplace(uid);
  if (is_new) it->second = NameOf<passwd>(uid, ::getpwuid_r, &passwd::pw_name);
  return it->second;
}

std::string AccountNames::Group(uint32_t gid) {
  MutexLock lock(mutex_);
  auto [it, is_new] = groups_.try_emplace(gid);
  if (is_new) it->second = NameOf<group>(gid, ::getgrgid_r, &group::gr_name);
  return it->second;
}

mode_t ModeOfKind(EntryKind kind) {
  switch (kind) {
    case EntryKind::kFile: return S_IFREG;
    case EntryKind::kDirectory: return S_IFDIR;
    case EntryKind::kSymlink: return S_IFLNK;
    case EntryKind::kFifo: return S_IFIFO;
    case EntryKind::kSocket: return S_IFSOCK;
    case EntryKind::kCharDevice: return S_IFCHR;
    case EntryKind::kBlockDevice: return S_IFBLK;
  }
  return S_IFREG;
}

Result<LocalFile> StatLocal(int dir, const std::string& name, AccountNames& accounts) {
  return Stat(dir, name.c_str(), AT_SYMLINK_NOFOLLOW, accounts);
}

Result<LocalFile> StatOpen(int fd, AccountNames& accounts) {
  return Stat(fd, "", AT_EMPTY_PATH, accounts);
}

Result<LocalFile> ReadLocal(int fd, AccountNames& accounts) {
  BKFS_ASSIGN(LocalFile file, StatOpen(fd, accounts));
  BKFS_TRY(ReadAttributes(fd, file.entry));
  return file;
}

Status ReadAttributes(int fd, Entry& entry) {
  if (entry.kind == EntryKind::kSymlink) {
    std::array<char, 4097> buffer;
    const ssize_t n = ::readlinkat(fd, "", buffer.data(), buffer.size());
    if (n < 0) return Status::FromErrno(errno, "readlink");
    entry.target.assign(buffer.data(), static_cast<size_t>(n));
    entry.size = entry.target.size();
  }
  BKFS_ASSIGN(entry.xattrs, ReadXattrs(ProcPath(fd)));
  return {};
}

Result<UniqueFd> OpenForAttributes(int dir, const std::string& name) {
  UniqueFd fd(::openat(dir, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return Status::FromErrno(errno, "open");
  return fd;
}

Status ApplyEntry(int fd, const Entry& entry) {
  const std::string path = ProcPath(fd);
  Status first;
  // Owner first: changing it clears set-user-id bits and capabilities.
  const bool owned = ApplyOwner(fd, entry, first);
  Status xattrs = ApplyXattrs(path, entry);
  if (first.ok()) first = xattrs;
  if (entry.kind != EntryKind::kSymlink) {
    // Rights that were meant for another owner are not given to this one.
    const auto mode = static_cast<mode_t>(owned ? entry.mode : entry.mode & ~kSetIdBits);
    if (::chmod(path.c_str(), mode) != 0 && first.ok()) first = Status::FromErrno(errno, "chmod");
  }
  const timespec times[2] = {{entry.mtime.seconds, entry.mtime.nanos},
                             {entry.mtime.seconds, entry.mtime.nanos}};
  if (::utimensat(AT_FDCWD, path.c_str(), times, 0) != 0 && first.ok()) {
    first = Status::FromErrno(errno, "set times");
  }
  return first;
}

bool HasMetadata(int fd, const Entry& entry, AccountNames& accounts) {
  auto file = ReadLocal(fd, accounts);
  if (!file.ok()) return false;
  Entry& now = file->entry;
  auto wanted = entry.xattrs;
  const bool owned = now.uid == entry.uid && now.gid == entry.gid;
  if (!IsRoot()) {
    // What this user cannot change makes no difference.
    std::erase_if(wanted, [](const Xattr& x) { return IsForRoot(x.name); });
    std::erase_if(now.xattrs, [](const Xattr& x) { return IsForRoot(x.name); });
  } else {
    if (!owned) return false;
    std::erase_if(now.xattrs, [&](const Xattr& x) {
      return IsSystemLabel(x.name) &&
             std::none_of(wanted.begin(), wanted.end(),
                          [&](const Xattr& y) { return x.name == y.name; });
    });
  }
  const auto mode = static_cast<uint16_t>(owned ? entry.mode : entry.mode & ~kSetIdBits);
  return now.kind == entry.kind && (entry.kind == EntryKind::kSymlink || now.mode == mode) &&
         now.mtime == entry.mtime && now.xattrs == wanted && now.target == entry.target &&
         now.rdev == entry.rdev;
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/local_tree.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace bkfs {

namespace {

constexpr size_t kMaxXattrValue = 64 << 10;

// A path that names `name` in `dir` for calls that take no directory descriptor.
std::string ProcPath(int dir, const std::string& name) {
  if (dir == AT_FDCWD) return name;
  return "/proc/self/fd/" + std::to_string(dir) + "/" + name;
}

Result<std::string> GetXattr(const std::string& path, const std::string& name) {
  std::string value(256, '\0');
  for (;;) {
    const ssize_t n = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    if (n >= 0) {
      value.resize(static_cast<size_t>(n));
      return value;
    }
    if (errno != ERANGE || value.size() > kMaxXattrValue) return Status::FromErrno(errno, name);
    value.resize(kMaxXattrValue * 2);
  }
}

Result<std::vector<std::string>> ListXattrs(const std::string& path) {
  std::string names(1024, '\0');
  ssize_t n = ::llistxattr(path.c_str(), names.data(), names.size());
  if (n < 0 && errno == ERANGE) {
    names.resize(kMaxXattrValue * 2);
    n = ::llistxattr(path.c_str(), names.data(), names.size());
  }
  if (n < 0 && (errno == ENOTSUP || errno == ENOSYS)) return std::vector<std::string>();
  if (n < 0) return Status::FromErrno(errno, "listxattr");
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
    auto value = GetXattr(path, name);
    if (!value.ok()) continue;  // gone meanwhile, or of a namespace that only root reads
    out.push_back({std::move(name), std::move(value).value()});
  }
  return out;
}

// Whether the system only lets root do what failed with this error.
bool ForgivenToUsers(int error) {
  return ::geteuid() != 0 && (error == EPERM || error == EACCES || error == ENOTSUP);
}

Status ApplyXattrs(const std::string& path, const Entry& entry) {
  BKFS_ASSIGN(auto present, ListXattrs(path));
  for (const auto& xattr : entry.xattrs) {
    auto now = GetXattr(path, xattr.name);
    if (now.ok() && *now == xattr.value) continue;
    if (::lsetxattr(path.c_str(), xattr.name.c_str(), xattr.value.data(), xattr.value.size(), 0) ==
        0) {
      continue;
    }
    if (!ForgivenToUsers(errno)) return Status::FromErrno(errno, "set attribute " + xattr.name);
  }
  for (const auto& name : present) {
    const bool wanted = std::any_of(entry.xattrs.begin(), entry.xattrs.end(),
                                    [&](const Xattr& x) { return x.name == name; });
    if (wanted || name == "security.selinux") continue;
    if (::lremovexattr(path.c_str(), name.c_str()) != 0 && errno != ENODATA &&
        !ForgivenToUsers(errno)) {
      return Status::FromErrno(errno, "remove attribute " + name);
    }
  }
  return {};
}

Status ReadTarget(int dir, const std::string& name, Entry& entry) {
  std::array<char, 4097> buffer;
  const ssize_t n = ::readlinkat(dir, name.c_str(), buffer.data(), buffer.size());
  if (n < 0) return Status::FromErrno(errno, name);
  entry.target.assign(buffer.data(), static_cast<size_t>(n));
  entry.size = entry.target.size();
  return {};
}

Timestamp FromStatx(const statx_timestamp& t) { return {t.tv_sec, t.tv_nsec}; }

}  // namespace

std::string AccountNames::User(uint32_t uid) {
  MutexLock lock(mutex_);
  auto [it, is_new] = users_.try_emplace(uid);
  if (is_new) {
    passwd buffer{};
    passwd* found = nullptr;
    std::array<char, 4096> text;
    if (::getpwuid_r(uid, &buffer, text.data(), text.size(), &found) == 0 && found) {
      it->second = found->pw_name;
    }
  }
  return it->second;
}

std::string AccountNames::Group(uint32_t gid) {
  MutexLock lock(mutex_);
  auto [it, is_new] = groups_.try_emplace(gid);
  if (is_new) {
    group buffer{};
    group* found = nullptr;
    std::array<char, 16384> text;
    if (::getgrgid_r(gid, &buffer, text.data(), text.size(), &found) == 0 && found) {
      it->second = found->gr_name;
    }
  }
  return it->second;
}

EntryKind KindOfMode(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR: return EntryKind::kDirectory;
    case S_IFLNK: return EntryKind::kSymlink;
    case S_IFIFO: return EntryKind::kFifo;
    case S_IFSOCK: return EntryKind::kSocket;
    case S_IFCHR: return EntryKind::kCharDevice;
    case S_IFBLK: return EntryKind::kBlockDevice;
    default: return EntryKind::kFile;
  }
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

Result<Entry> ReadEntry(int dir, const std::string& name, AccountNames& accounts, struct stat& st) {
  struct statx sx {};
  if (::statx(dir, name.c_str(), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &sx) != 0 ||
      ::fstatat(dir, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    return Status::FromErrno(errno, name);
  }
  Entry entry;
  entry.kind = KindOfMode(sx.stx_mode);
  entry.mode = sx.stx_mode & 07777;
  entry.uid = sx.stx_uid;
  entry.gid = sx.stx_gid;
  entry.user = accounts.User(entry.uid);
  entry.group = accounts.Group(entry.gid);
  entry.mtime = FromStatx(sx.stx_mtime);
  entry.ctime = FromStatx(sx.stx_ctime);
  if ((sx.stx_mask & STATX_BTIME) != 0) entry.btime = FromStatx(sx.stx_btime);
  entry.nlink = entry.is_directory() ? 1 : sx.stx_nlink;
  if (entry.kind == EntryKind::kFile) entry.size = sx.stx_size;
  if (entry.kind == EntryKind::kCharDevice || entry.kind == EntryKind::kBlockDevice) {
    entry.rdev = st.st_rdev;
  }
  if (entry.kind == EntryKind::kSymlink) BKFS_TRY(ReadTarget(dir, name, entry));
  BKFS_ASSIGN(entry.xattrs, ReadXattrs(ProcPath(dir, name)));
  return entry;
}

Result<Entry> ReadEntryAt(const std::string& path, AccountNames& accounts, struct stat& st) {
  return ReadEntry(AT_FDCWD, path, accounts, st);
}

Status ApplyEntry(int dir, const std::string& name, const Entry& entry) {
  const std::string path = ProcPath(dir, name);
  // Owner first: changing it clears set-user-id bits and capabilities.
  if (::fchownat(dir, name.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0) {
    if (!ForgivenToUsers(errno)) return Status::FromErrno(errno, "chown");
    // A user may give files to groups of their own.
    (void)!::fchownat(dir, name.c_str(), static_cast<uid_t>(-1), entry.gid, AT_SYMLINK_NOFOLLOW);
  }
  if (entry.kind != EntryKind::kSymlink) {
    if (::fchmodat(dir, name.c_str(), entry.mode, 0) != 0) return Status::FromErrno(errno, "chmod");
  }
  BKFS_TRY(ApplyXattrs(path, entry));
  const timespec times[2] = {{entry.mtime.seconds, entry.mtime.nanos},
                             {entry.mtime.seconds, entry.mtime.nanos}};
  if (::utimensat(dir, name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
    return Status::FromErrno(errno, "set times");
  }
  return {};
}

bool HasMetadata(int dir, const std::string& name, const Entry& entry, AccountNames& accounts) {
  struct stat st {};
  auto now = ReadEntry(dir, name, accounts, st);
  if (!now.ok()) return false;
  return now->kind == entry.kind &&
         (entry.kind == EntryKind::kSymlink || now->mode == entry.mode) && now->uid == entry.uid &&
         now->gid == entry.gid && now->mtime == entry.mtime && now->xattrs == entry.xattrs &&
         now->target == entry.target && now->rdev == entry.rdev;
}

}  // namespace bkfs

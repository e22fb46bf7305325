// SPDX-License-Identifier: Apache-2.0
#include "fs/fuse/reply.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cerrno>
#include <cstring>

#include "fs/fuse/errno.h"

namespace bkfs {

namespace {
constexpr double kForeverSeconds = 10.0 * 365 * 24 * 3600;
constexpr unsigned long kBlock = 4096;
constexpr blksize_t kPreferredIo = 128 << 10;

double Seconds(uint32_t keep_ms) {
  return keep_ms == kKeepForever ? kForeverSeconds : keep_ms / 1000.0;
}

timespec SpecOf(const Timestamp& time) {
  timespec spec{};
  spec.tv_sec = time.seconds;
  spec.tv_nsec = time.nanos;
  return spec;
}

// What an operator wants to read about; the rest is a filesystem's daily business.
LogLevel LevelOf(Code code) {
  switch (code) {
    case Code::kCorrupt:
    case Code::kIo:
    case Code::kNoSpace:
    case Code::kQuota:
    case Code::kUnavailable:
    case Code::kWrongKey: return LogLevel::kError;
    case Code::kDenied: return LogLevel::kInfo;
    default: return LogLevel::kDebug;
  }
}
}  // namespace

mode_t TypeOf(EntryKind kind) {
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

struct stat StatOf(const Attr& attr) {
  struct stat st {};
  st.st_ino = attr.ino;
  st.st_mode = TypeOf(attr.kind) | attr.mode;
  st.st_nlink = attr.nlink;
  st.st_uid = attr.uid;
  st.st_gid = attr.gid;
  st.st_rdev = attr.rdev;
  st.st_size = static_cast<off_t>(attr.size);
  st.st_blocks = static_cast<blkcnt_t>((attr.allocated + 511) / 512);
  st.st_blksize = kPreferredIo;
  st.st_atim = SpecOf(attr.atime);
  st.st_mtim = SpecOf(attr.mtime);
  st.st_ctim = SpecOf(attr.ctime);
  return st;
}

fuse_entry_param EntryParam(const Node& node) {
  fuse_entry_param entry{};
  entry.ino = node.attr.ino;
  entry.attr = StatOf(node.attr);
  entry.attr_timeout = entry.entry_timeout = Seconds(node.keep_ms);
  return entry;
}

Reply::~Reply() {
  if (request_ == nullptr) return;
  log_->Error("a request was left without an answer");
  fuse_reply_err(request_, EIO);
}

fuse_req_t Reply::Take() {
  BKFS_CHECK(request_ != nullptr);
  return std::exchange(request_, nullptr);
}

bool Reply::Failed(const Status& status) {
  if (status.ok()) return false;
  LogLevel level = LevelOf(status.code());
  if (level != LogLevel::kDebug) log_->Log(level, status.message());
  fuse_reply_err(Take(), ErrnoOf(status.code()));
  return true;
}

void Reply::Outcome(const Status& status) {
  if (!Failed(status)) fuse_reply_err(Take(), 0);
}

void Reply::Errno(int error) { fuse_reply_err(Take(), error); }
void Reply::None() { fuse_reply_none(Take()); }

void Reply::Entry(const Node& node) {
  fuse_entry_param entry = EntryParam(node);
  fuse_reply_entry(Take(), &entry);
}

void Reply::Absent(uint32_t keep_ms) {
  if (keep_ms == 0) return Errno(ENOENT);
  fuse_entry_param entry{};
  entry.entry_timeout = Seconds(keep_ms);
  fuse_reply_entry(Take(), &entry);
}

void Reply::Attributes(const Node& node) {
  struct stat st = StatOf(node.attr);
  fuse_reply_attr(Take(), &st, Seconds(node.keep_ms));
}

void Reply::Link(const std::string& target) { fuse_reply_readlink(Take(), target.c_str()); }

namespace {
void Fill(const Opened& opened, fuse_file_info* info) {
  info->fh = opened.handle;
  info->direct_io = opened.direct_io;
  info->keep_cache = opened.keep_cache;
  info->noflush = !opened.flush;
}
}  // namespace

void Reply::Open(const Opened& opened, fuse_file_info* info) {
  Fill(opened, info);
  fuse_reply_open(Take(), info);
}

void Reply::OpenDirectory(const Opened& opened, fuse_file_info* info) {
  info->fh = opened.handle;
  info->keep_cache = info->cache_readdir = opened.keep_cache;
  fuse_reply_open(Take(), info);
}

void Reply::Create(const Node& node, const Opened& opened, fuse_file_info* info) {
  fuse_entry_param entry = EntryParam(node);
  Fill(opened, info);
  fuse_reply_create(Take(), &entry, info);
}

void Reply::Data(const void* data, size_t size) {
  fuse_reply_buf(Take(), static_cast<const char*>(data), size);
}

void Reply::Written(size_t size) { fuse_reply_write(Take(), size); }

void Reply::Space(const SpaceInfo& space) {
  struct statvfs st {};
  st.f_bsize = st.f_frsize = kBlock;
  st.f_blocks = space.total / kBlock;
  st.f_bfree = st.f_bavail = space.available / kBlock;
  st.f_namemax = kMaxName;
  fuse_reply_statfs(Take(), &st);
}

void Reply::Xattr(std::string_view value, size_t size) {
  if (size == 0) {
    fuse_reply_xattr(Take(), value.size());
  } else if (size < value.size()) {
    fuse_reply_err(Take(), ERANGE);
  } else {
    fuse_reply_buf(Take(), value.data(), value.size());
  }
}

void Reply::Offset(uint64_t offset) { fuse_reply_lseek(Take(), static_cast<off_t>(offset)); }
void Reply::Ioctl(const void* answer, size_t size) { fuse_reply_ioctl(Take(), 0, answer, size); }

}  // namespace bkfs

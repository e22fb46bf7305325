// SPDX-License-Identifier: Apache-2.0
// Each operation: decode, call the filesystem, reply. This half finds and reads.
#include "fs/fuse/operations.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "engine/base/clock.h"
#include "fs/control.h"

namespace bkfs {

namespace {
constexpr unsigned kMaxRequest = 1 << 20;

void Init(void* userdata, fuse_conn_info* connection) {
  auto& daemon = *static_cast<FuseDaemon*>(userdata);
  auto want = [&](unsigned capability, bool on) {
    if (on && (connection->capable & capability)) {
      connection->want |= capability;
    } else {
      connection->want &= ~capability;
    }
  };
  // bkfs is the only writer, so what the kernel keeps stays right without checking mtimes.
  want(FUSE_CAP_AUTO_INVAL_DATA, false);
  want(FUSE_CAP_WRITEBACK_CACHE, false);
  want(FUSE_CAP_SPLICE_READ, false);
  want(FUSE_CAP_SPLICE_WRITE, false);
  want(FUSE_CAP_SPLICE_MOVE, false);
  want(FUSE_CAP_ASYNC_READ, true);
  want(FUSE_CAP_ASYNC_DIO, true);
  want(FUSE_CAP_PARALLEL_DIROPS, true);
  want(FUSE_CAP_ATOMIC_O_TRUNC, true);
  want(FUSE_CAP_READDIRPLUS, true);
  want(FUSE_CAP_READDIRPLUS_AUTO, true);
  want(FUSE_CAP_IOCTL_DIR, true);
  // A directory's default ACL takes the umask's place, so the umask is applied here.
  want(FUSE_CAP_DONT_MASK, true);
  // Makes the kernel check permissions, which only matters when others may come in.
  want(FUSE_CAP_POSIX_ACL, daemon.allow_other);
  want(FUSE_CAP_HANDLE_KILLPRIV, false);
#ifdef FUSE_CAP_HANDLE_KILLPRIV_V2
  want(FUSE_CAP_HANDLE_KILLPRIV_V2, true);
#endif
  connection->max_write = kMaxRequest;
  connection->max_background = 64;
  connection->congestion_threshold = 48;
}

void Lookup(fuse_req_t request, fuse_ino_t dir, const char* name) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    auto node = daemon.fs.Lookup(CallerOf(request), dir, name);
    if (node.code() == Code::kNotFound) return reply.Absent(daemon.fs.KeepAbsence(dir));
    if (!reply.Failed(node.status())) reply.Entry(*node);
  });
}

void Forget(fuse_req_t request, fuse_ino_t ino, uint64_t lookups) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    daemon.fs.Forget(ino, lookups);
    reply.None();
  });
}

void ForgetMany(fuse_req_t request, size_t count, fuse_forget_data* forgets) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    for (size_t i = 0; i < count; ++i) daemon.fs.Forget(forgets[i].ino, forgets[i].nlookup);
    reply.None();
  });
}

void GetAttr(fuse_req_t request, fuse_ino_t ino, fuse_file_info*) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    auto node = daemon.fs.GetAttr(ino);
    if (!reply.Failed(node.status())) reply.Attributes(*node);
  });
}

void ReadLink(fuse_req_t request, fuse_ino_t ino) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    auto target = daemon.fs.ReadLink(ino);
    if (!reply.Failed(target.status())) reply.Link(*target);
  });
}

void Access(fuse_req_t request, fuse_ino_t ino, int mask) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    // Without default_permissions only the mounting user gets here, who holds the key: all that is
    // left to say is what nobody can do.
    auto node = daemon.fs.GetAttr(ino);
    if (reply.Failed(node.status())) return;
    if ((mask & X_OK) && node->attr.kind == EntryKind::kFile && !(node->attr.mode & 0111)) {
      return reply.Errno(EACCES);
    }
    reply.Outcome((mask & W_OK) ? daemon.fs.CheckWritable(ino) : OkStatus());
  });
}

void OpenDir(fuse_req_t request, fuse_ino_t dir, fuse_file_info* info) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    if (daemon.fs.opens_are_free()) return reply.Errno(ENOSYS);
    auto opened = daemon.fs.OpenDir(dir);
    if (!reply.Failed(opened.status())) reply.OpenDirectory(*opened, info);
  });
}

// Packs entries into the kernel's buffer.
class DirBuffer {
 public:
  DirBuffer(fuse_req_t request, size_t size) : request_(request), buffer_(size) {}

  bool Add(const DirItem& item, bool with_nodes) {
    const std::string name(item.name);
    const size_t room = buffer_.size() - used_;
    char* place = buffer_.data() + used_;
    fuse_entry_param entry{};
    // Without a node the kernel takes name and type only and looks the rest up when it is wanted.
    if (item.node != nullptr) entry = EntryParam(*item.node);
    entry.attr.st_ino = item.ino;
    if (item.node == nullptr) entry.attr.st_mode = TypeOf(item.kind);
    const off_t next = static_cast<off_t>(item.next);
    size_t size = with_nodes
                      ? fuse_add_direntry_plus(request_, place, room, name.c_str(), &entry, next)
                      : fuse_add_direntry(request_, place, room, name.c_str(), &entry.attr, next);
    if (size > room) return false;
    used_ += size;
    return true;
  }
  const char* data() const { return buffer_.data(); }
  size_t used() const { return used_; }

 private:
  fuse_req_t request_;
  std::vector<char> buffer_;
  size_t used_ = 0;
};

void ReadDirEither(fuse_req_t request, fuse_ino_t dir, size_t size, off_t from, bool with_nodes) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    DirBuffer buffer(request, size);
    Status read =
        daemon.fs.ReadDir(dir, static_cast<uint64_t>(from), with_nodes,
                          [&](const DirItem& item) { return buffer.Add(item, with_nodes); });
    // What was read before a failure is delivered; the next call meets the failure first.
    if (buffer.used() == 0 && reply.Failed(read)) return;
    reply.Data(buffer.data(), buffer.used());
  });
}

void ReadDir(fuse_req_t request, fuse_ino_t dir, size_t size, off_t from, fuse_file_info*) {
  ReadDirEither(request, dir, size, from, false);
}

void ReadDirPlus(fuse_req_t request, fuse_ino_t dir, size_t size, off_t from, fuse_file_info*) {
  ReadDirEither(request, dir, size, from, true);
}

void ReleaseDir(fuse_req_t request, fuse_ino_t dir, fuse_file_info* info) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    daemon.fs.ReleaseDir(dir, info->fh);
    reply.Outcome({});
  });
}

void Open(fuse_req_t request, fuse_ino_t ino, fuse_file_info* info) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    if (daemon.fs.opens_are_free()) return reply.Errno(ENOSYS);
    OpenRequest how;
    how.write = (info->flags & O_ACCMODE) != O_RDONLY;
    how.truncate = info->flags & O_TRUNC;
    auto opened = daemon.fs.Open(CallerOf(request), ino, how);
    if (!reply.Failed(opened.status())) reply.Open(*opened, info);
  });
}

void Release(fuse_req_t request, fuse_ino_t ino, fuse_file_info* info) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    daemon.fs.Release(ino, info->fh);
    reply.Outcome({});
  });
}

void Read(fuse_req_t request, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info* info) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    thread_local std::vector<uint8_t> buffer;
    if (buffer.size() < size) buffer.resize(size);
    auto count = daemon.fs.Read(ino, info->fh, static_cast<uint64_t>(offset),
                                MutableByteView(buffer).first(size));
    if (!reply.Failed(count.status())) reply.Data(buffer.data(), *count);
  });
}

void Seek(fuse_req_t request, fuse_ino_t ino, off_t offset, int whence, fuse_file_info*) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    if (whence != SEEK_DATA && whence != SEEK_HOLE) return reply.Errno(EINVAL);
    const auto from = static_cast<uint64_t>(offset);
    auto found =
        whence == SEEK_DATA ? daemon.fs.SeekData(ino, from) : daemon.fs.SeekHole(ino, from);
    if (found.code() == Code::kNotFound) return reply.Errno(ENXIO);  // nothing more behind
    if (!reply.Failed(found.status())) reply.Offset(*found);
  });
}

void StatFs(fuse_req_t request, fuse_ino_t) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    auto space = daemon.fs.Space();
    if (!reply.Failed(space.status())) reply.Space(*space);
  });
}

void GetXattr(fuse_req_t request, fuse_ino_t ino, const char* name, size_t size) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    auto value = daemon.fs.GetXattr(ino, name);
    if (!reply.Failed(value.status())) reply.Xattr(*value, size);
  });
}

void ListXattr(fuse_req_t request, fuse_ino_t ino, size_t size) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    auto names = daemon.fs.ListXattrs(ino);
    if (reply.Failed(names.status())) return;
    const bool root = CallerOf(request).is_root();
    std::string list;
    for (const std::string& name : *names) {
      if (root || !name.starts_with("trusted.")) list.append(name).push_back('\0');
    }
    reply.Xattr(list, size);
  });
}

CommitAnswer CommitFor(FileSystem& fs, Ino ino) {
  CommitAnswer answer{};
  auto id = fs.Commit(ino);
  if (id.ok()) {
    std::copy(id->bytes.begin(), id->bytes.end(), answer.snapshot);
  } else {
    const std::string why = id.status().message();
    fs.log().Warning("no snapshot was made: " + why);
    answer.code = static_cast<uint32_t>(id.code());
    std::memcpy(answer.message, why.data(), std::min(why.size(), sizeof answer.message - 1));
  }
  return answer;
}

void AnswerIdentity(FuseDaemon& daemon, Reply& reply) {
  IdentityAnswer answer{};
  std::memcpy(answer.magic, IdentityAnswer::kMagic, sizeof answer.magic);
  answer.pid = ::getpid();
  answer.writable = daemon.fs.writable();
  std::strncpy(answer.version, BKFS_VERSION, sizeof answer.version - 1);
  reply.Ioctl(&answer, sizeof answer);
}

void AnswerPlace(FuseDaemon& daemon, Reply& reply) {
  PlaceAnswer answer{};
  const std::string place = daemon.fs.own_place();
  if (place.size() < sizeof answer.directory) place.copy(answer.directory, place.size());
  reply.Ioctl(&answer, sizeof answer);
}

void AnswerCommit(FuseDaemon& daemon, Reply& reply, Ino ino) {
  ServeLater(daemon, reply, "making a snapshot", [&daemon, ino](Reply& later) {
    const CommitAnswer answer = CommitFor(daemon.fs, ino);
    later.Ioctl(&answer, sizeof answer);
  });
}

void Ioctl(fuse_req_t request, fuse_ino_t ino, unsigned command, void*, fuse_file_info*, unsigned,
           const void*, size_t, size_t out_size) {
  ServeStoring(request, [&](FuseDaemon& daemon, Reply& reply) {
    if (command == kIdentityIoctl && out_size >= sizeof(IdentityAnswer)) {
      return AnswerIdentity(daemon, reply);
    }
    if (command == kPlaceIoctl && out_size >= sizeof(PlaceAnswer)) {
      return AnswerPlace(daemon, reply);
    }
    if (command == kCommitIoctl && out_size >= sizeof(CommitAnswer)) {
      return AnswerCommit(daemon, reply, ino);
    }
    reply.Errno(ENOTTY);
  });
}
}  // namespace

bool Interruption::operator()() {
  if (ending_) return true;
  if (!reply_.interrupted()) return false;
  const int64_t now = SystemClock().MonotonicNanos();
  if (seen_ns_ == 0) seen_ns_ = now;
  return now - seen_ns_ >= kGraceNs;
}

Caller CallerOf(fuse_req_t request) {
  const fuse_ctx* context = fuse_req_ctx(request);
  return {context->uid, context->gid, static_cast<uint16_t>(context->umask & 0777)};
}

fuse_lowlevel_ops AllOperations() {
  fuse_lowlevel_ops ops{};
  ops.init = Init;
  ops.lookup = Lookup;
  ops.forget = Forget;
  ops.forget_multi = ForgetMany;
  ops.getattr = GetAttr;
  ops.readlink = ReadLink;
  ops.access = Access;
  ops.opendir = OpenDir;
  ops.readdir = ReadDir;
  ops.readdirplus = ReadDirPlus;
  ops.releasedir = ReleaseDir;
  ops.open = Open;
  ops.release = Release;
  ops.read = Read;
  ops.lseek = Seek;
  ops.statfs = StatFs;
  ops.getxattr = GetXattr;
  ops.listxattr = ListXattr;
  ops.ioctl = Ioctl;
  AddWriteOperations(ops);
  return ops;
}

}  // namespace bkfs

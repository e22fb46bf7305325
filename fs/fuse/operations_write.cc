// SPDX-License-Identifier: Apache-2.0
// Each operation: decode, call the filesystem, reply. This half changes things.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <cerrno>

#include "fs/fuse/operations.h"

namespace bkfs {

namespace {
Timestamp TimeOf(const timespec& spec) {
  return {spec.tv_sec, static_cast<uint32_t>(spec.tv_nsec)};
}

Result<EntryKind> KindOf(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return EntryKind::kFile;
    case S_IFDIR: return EntryKind::kDirectory;
    case S_IFLNK: return EntryKind::kSymlink;
    case S_IFIFO: return EntryKind::kFifo;
    case S_IFSOCK: return EntryKind::kSocket;
    case S_IFCHR: return EntryKind::kCharDevice;
    case S_IFBLK: return EntryKind::kBlockDevice;
    default: return Status(Code::kInvalid, "no such kind of file");
  }
}

NewNode NewFor(const Caller& caller, EntryKind kind, mode_t mode) {
  NewNode how;
  how.kind = kind;
  how.mode = mode & 07777;
  how.uid = caller.uid;
  how.gid = caller.gid;
  return how;
}

void CreateNode(fuse_req_t request, fuse_ino_t dir, const char* name, mode_t mode, dev_t rdev,
                const char* target) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    auto kind = KindOf(mode);
    if (reply.Failed(kind.status())) return;
    const Caller caller = CallerOf(request);
    NewNode how = NewFor(caller, *kind, mode);
    how.rdev = rdev;
    how.target = target;
    auto node = daemon.fs.Create(caller, dir, name, how);
    if (!reply.Failed(node.status())) reply.Entry(*node);
  });
}

void MakeNode(fuse_req_t request, fuse_ino_t dir, const char* name, mode_t mode, dev_t rdev) {
  CreateNode(request, dir, name, mode, rdev, "");
}

void MakeDir(fuse_req_t request, fuse_ino_t dir, const char* name, mode_t mode) {
  CreateNode(request, dir, name, S_IFDIR | (mode & 07777), 0, "");
}

void Symlink(fuse_req_t request, const char* target, fuse_ino_t dir, const char* name) {
  CreateNode(request, dir, name, S_IFLNK | 0777, 0, target);
}

void Create(fuse_req_t request, fuse_ino_t dir, const char* name, mode_t mode,
            fuse_file_info* info) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    const Caller caller = CallerOf(request);
    auto node = daemon.fs.Create(caller, dir, name, NewFor(caller, EntryKind::kFile, mode));
    if (reply.Failed(node.status())) return;
    OpenRequest how;
    how.write = (info->flags & O_ACCMODE) != O_RDONLY;
    auto opened = daemon.fs.Open(caller, node->attr.ino, how);
    if (!opened.ok()) daemon.fs.Forget(node->attr.ino, 1);
    if (!reply.Failed(opened.status())) reply.Create(*node, *opened, info);
  });
}

void Link(fuse_req_t request, fuse_ino_t ino, fuse_ino_t dir, const char* name) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    auto node = daemon.fs.Link(ino, dir, name);
    if (!reply.Failed(node.status())) reply.Entry(*node);
  });
}

void Unlink(fuse_req_t request, fuse_ino_t dir, const char* name) {
  Serve(request,
        [&](FuseDaemon& daemon, Reply& reply) { reply.Outcome(daemon.fs.Unlink(dir, name)); });
}

void Rmdir(fuse_req_t request, fuse_ino_t dir, const char* name) {
  Serve(request,
        [&](FuseDaemon& daemon, Reply& reply) { reply.Outcome(daemon.fs.Rmdir(dir, name)); });
}

void Rename(fuse_req_t request, fuse_ino_t dir, const char* name, fuse_ino_t new_dir,
            const char* new_name, unsigned flags) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    reply.Outcome(daemon.fs.Rename(dir, name, new_dir, new_name, flags));
  });
}

SetAttrRequest DecodeSetAttr(const struct stat& attr, int to_set) {
  SetAttrRequest out;
  if (to_set & FUSE_SET_ATTR_MODE) out.change.mode = attr.st_mode & 07777;
  if (to_set & FUSE_SET_ATTR_UID) out.change.uid = attr.st_uid;
  if (to_set & FUSE_SET_ATTR_GID) out.change.gid = attr.st_gid;
  if (to_set & FUSE_SET_ATTR_SIZE) out.change.size = static_cast<uint64_t>(attr.st_size);
  if (to_set & FUSE_SET_ATTR_CTIME) out.change.ctime = TimeOf(attr.st_ctim);
  if (to_set & FUSE_SET_ATTR_MTIME_NOW) {
    out.mtime_now = true;
  } else if (to_set & FUSE_SET_ATTR_MTIME) {
    out.change.mtime = TimeOf(attr.st_mtim);
  }
  return out;
}

void SetAttr(fuse_req_t request, fuse_ino_t ino, struct stat* attr, int to_set, fuse_file_info*) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    auto node = daemon.fs.SetAttr(CallerOf(request), ino, DecodeSetAttr(*attr, to_set));
    if (!reply.Failed(node.status())) reply.Attributes(*node);
  });
}

void Write(fuse_req_t request, fuse_ino_t ino, const char* data, size_t size, off_t offset,
           fuse_file_info* info) {
  ServeStoring(request, [&](FuseDaemon& daemon, Reply& reply) {
    Status written = daemon.fs.Write(CallerOf(request), ino, info->fh,
                                     static_cast<uint64_t>(offset), AsBytes({data, size}));
    if (!reply.Failed(written)) reply.Written(size);
  });
}

void Flush(fuse_req_t request, fuse_ino_t ino, fuse_file_info* info) {
  ServeStoring(request, [&](FuseDaemon& daemon, Reply& reply) {
    // Never ENOSYS here: close() is where errors of storing are told.
    reply.Outcome(daemon.fs.Flush(ino, info->fh));
  });
}

void Fsync(fuse_req_t request, fuse_ino_t ino, int, fuse_file_info* info) {
  ServeStoring(request, [&](FuseDaemon& daemon, Reply& reply) {
    reply.Outcome(daemon.fs.Fsync(ino, info->fh));
  });
}

void SyncDir(fuse_req_t request, fuse_ino_t dir, int, fuse_file_info*) {
  ServeStoring(request, [&](FuseDaemon& daemon, Reply& reply) {
    ServeLater(daemon, reply, "syncing a directory",
               [&daemon, dir](Reply& later) { later.Outcome(daemon.fs.SyncDir(dir)); });
  });
}

void Allocate(fuse_req_t request, fuse_ino_t ino, int mode, off_t offset, off_t length,
              fuse_file_info* info) {
  ServeStoring(request, [&](FuseDaemon& daemon, Reply& reply) {
    reply.Outcome(daemon.fs.Allocate(CallerOf(request), ino, info->fh, mode,
                                     static_cast<uint64_t>(offset), static_cast<uint64_t>(length)));
  });
}

void SetXattr(fuse_req_t request, fuse_ino_t ino, const char* name, const char* value, size_t size,
              int flags) {
  Serve(request, [&](FuseDaemon& daemon, Reply& reply) {
    XattrMode mode = XattrMode::kAny;
    if (flags & XATTR_CREATE) mode = XattrMode::kCreate;
    if (flags & XATTR_REPLACE) mode = XattrMode::kReplace;
    reply.Outcome(daemon.fs.SetXattr(CallerOf(request), ino, name, {value, size}, mode));
  });
}

void RemoveXattr(fuse_req_t request, fuse_ino_t ino, const char* name) {
  Serve(request,
        [&](FuseDaemon& daemon, Reply& reply) { reply.Outcome(daemon.fs.RemoveXattr(ino, name)); });
}
}  // namespace

void AddWriteOperations(fuse_lowlevel_ops& ops) {
  ops.mknod = MakeNode;
  ops.mkdir = MakeDir;
  ops.symlink = Symlink;
  ops.create = Create;
  ops.link = Link;
  ops.unlink = Unlink;
  ops.rmdir = Rmdir;
  ops.rename = Rename;
  ops.setattr = SetAttr;
  ops.write = Write;
  ops.flush = Flush;
  ops.fsync = Fsync;
  ops.fsyncdir = SyncDir;
  ops.fallocate = Allocate;
  ops.setxattr = SetXattr;
  ops.removexattr = RemoveXattr;
}

}  // namespace bkfs

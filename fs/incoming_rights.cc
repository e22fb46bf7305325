// SPDX-License-Identifier: Apache-2.0
// IncomingView's half about rights: attributes, xattrs, ACLs, setuid, setgid and capabilities.
#include <sys/stat.h>

#include "fs/incoming_view.h"
#include "fs/posix_acl.h"

namespace bkfs {

namespace {
constexpr std::string_view kCapabilities = "security.capability";
constexpr uint16_t kPermissions = 0777;

// What write(2), truncate(2) and chown(2) leave of a file's mode: setgid without group execution
// means mandatory locking and stays.
uint16_t WithoutSetIds(uint16_t mode) {
  mode &= static_cast<uint16_t>(~S_ISUID);
  if (mode & S_IXGRP) mode &= static_cast<uint16_t>(~S_ISGID);
  return mode;
}

Status OkIfAbsent(Status status) { return status.Is(Code::kNoData) ? OkStatus() : status; }

// The mode's permissions replaced, the rest kept.
uint16_t WithPermissions(uint16_t mode, uint16_t permissions) {
  return static_cast<uint16_t>((mode & ~kPermissions) | (permissions & kPermissions));
}
}  // namespace

// What the new node gets from its directory, as ext4 and the VFS have it: the group of a setgid
// directory, and either the directory's default ACL or the caller's umask.
Status IncomingView::Inherit(const Caller& caller, const NodeAttr& parent, NewNode& how,
                             std::string& access_acl, std::string& default_acl) {
  if (parent.mode & S_ISGID) {
    how.gid = parent.gid;
    if (how.kind == EntryKind::kDirectory) how.mode |= S_ISGID;
  }
  if (how.kind == EntryKind::kSymlink) return {};
  Acl inherited;
  if (parent.has_xattrs) {
    auto stored = staging_.GetXattr(parent.id, kDefaultAclXattr);
    if (!stored.ok()) BKFS_TRY(OkIfAbsent(stored.status()));
    if (stored.ok()) {
      BKFS_ASSIGN(inherited, ParseAcl(*stored));
      if (how.kind == EntryKind::kDirectory) default_acl = *stored;
    }
  }
  if (inherited.empty()) {
    how.mode &= static_cast<uint16_t>(~caller.umask);
  } else {
    InheritedAcl given = InheritAcl(inherited, how.mode);
    how.mode = given.mode;
    if (given.access) access_acl = EncodeAcl(*given.access);
  }
  const bool stranger = !caller.is_root() && caller.gid != how.gid;
  if ((parent.mode & S_ISGID) && stranger && how.kind != EntryKind::kDirectory &&
      (how.mode & S_IXGRP)) {
    how.mode &= static_cast<uint16_t>(~S_ISGID);
  }
  return {};
}

Status IncomingView::SetAcls(NodeId node, const std::string& access_acl,
                             const std::string& default_acl) {
  if (!access_acl.empty()) {
    BKFS_TRY(staging_.SetXattr(node, kAccessAclXattr, access_acl, XattrMode::kAny));
  }
  if (!default_acl.empty()) {
    BKFS_TRY(staging_.SetXattr(node, kDefaultAclXattr, default_acl, XattrMode::kAny));
  }
  return {};
}

Status IncomingView::DropCapabilities(const NodeAttr& attr) {
  if (!attr.has_xattrs) return {};
  return OkIfAbsent(staging_.RemoveXattr(attr.id, kCapabilities));
}

Status IncomingView::DropPrivileges(const Caller& caller, NodeId node) {
  BKFS_ASSIGN(NodeAttr attr, staging_.GetAttr(node));
  if (attr.kind != EntryKind::kFile) return {};
  BKFS_TRY(DropCapabilities(attr));
  uint16_t mode = caller.is_root() ? attr.mode : WithoutSetIds(attr.mode);
  if (mode == attr.mode) return {};
  AttrChange change;
  change.mode = mode;
  return staging_.SetAttr(node, change).status();
}

Status IncomingView::DropPrivilegesOnce(const Caller& caller, Handle& handle) {
  const uint64_t now = privileges_;
  const bool for_users = !caller.is_root();
  if (handle.cleared_at == now && (handle.cleared_for_users || !for_users)) return {};
  BKFS_TRY(DropPrivileges(caller, handle.node));
  handle.cleared_for_users = for_users;
  handle.cleared_at = now;
  return {};
}

Status IncomingView::ChmodStoredAcl(const NodeAttr& attr, uint16_t mode) {
  if (!attr.has_xattrs) return {};
  auto stored = staging_.GetXattr(attr.id, kAccessAclXattr);
  if (!stored.ok()) return OkIfAbsent(stored.status());
  BKFS_ASSIGN(Acl acl, ParseAcl(*stored));
  ChmodAcl(acl, mode);
  return staging_.SetXattr(attr.id, kAccessAclXattr, EncodeAcl(acl), XattrMode::kAny);
}

Result<Node> IncomingView::SetAttr(const Caller& caller, Ino ino, const SetAttrRequest& request) {
  BKFS_TRY(CheckNode(ino));
  BKFS_ASSIGN(NodeAttr attr, staging_.GetAttr(NumberOf(ino)));
  AttrChange change = request.change;
  const bool chown = change.uid || change.gid;
  if (change.mode) {
    BKFS_TRY(ChmodStoredAcl(attr, *change.mode));
    if (*change.mode & (S_ISUID | S_ISGID)) ++privileges_;
  } else if (attr.kind == EntryKind::kFile && (chown || (change.size && !caller.is_root()))) {
    uint16_t mode = WithoutSetIds(attr.mode);
    if (mode != attr.mode) change.mode = mode;
  }
  if (attr.kind == EntryKind::kFile && (chown || change.size)) BKFS_TRY(DropCapabilities(attr));
  if (request.mtime_now) {
    int64_t now = repo_.clock().WallNanos();
    change.mtime = Timestamp{now / 1'000'000'000, static_cast<uint32_t>(now % 1'000'000'000)};
  }
  if (!change.mode && !chown && !change.size && !change.mtime && !change.ctime) {
    return GetAttr(ino);  // access times alone, which are not kept
  }
  BKFS_TRY(staging_.SetAttr(attr.id, change).status());
  return GetAttr(ino);
}

// -- Extended attributes --

Result<std::string> IncomingView::GetXattr(Ino ino, std::string_view name) {
  if (!IsNode(ino)) return Status(Code::kNoData, "no such attribute");
  if (name == kStateXattr) return staging_.State(NumberOf(ino));
  return staging_.GetXattr(NumberOf(ino), name);
}

Result<std::vector<std::string>> IncomingView::ListXattrs(Ino ino) {
  if (!IsNode(ino)) return std::vector<std::string>();
  return staging_.ListXattrs(NumberOf(ino));
}

Status IncomingView::SetAccessAcl(const Caller& caller, const NodeAttr& attr,
                                  std::string_view value, XattrMode mode) {
  BKFS_ASSIGN(Acl acl, ParseAcl(value));
  if (acl.empty()) return OkIfAbsent(staging_.RemoveXattr(attr.id, kAccessAclXattr));
  AttrChange change;
  change.mode = WithPermissions(attr.mode, ModeOfAcl(acl));
  if (!caller.is_root() && caller.gid != attr.gid) {
    change.mode = static_cast<uint16_t>(*change.mode & ~S_ISGID);
  }
  if (IsTrivial(acl)) {
    BKFS_TRY(OkIfAbsent(staging_.RemoveXattr(attr.id, kAccessAclXattr)));
  } else {
    BKFS_TRY(staging_.SetXattr(attr.id, kAccessAclXattr, EncodeAcl(acl), mode));
  }
  return staging_.SetAttr(attr.id, change).status();
}

Status IncomingView::SetXattr(const Caller& caller, Ino ino, std::string_view name,
                              std::string_view value, XattrMode mode) {
  BKFS_TRY(CheckNode(ino));
  if (name == kStateXattr) return {Code::kNotPermitted, "bkfs says this, nobody sets it"};
  const NodeId node = NumberOf(ino);
  if (name == kCapabilities) ++privileges_;
  if (name != kAccessAclXattr && name != kDefaultAclXattr) {
    return staging_.SetXattr(node, name, value, mode);
  }
  BKFS_ASSIGN(NodeAttr attr, staging_.GetAttr(node));
  if (attr.kind == EntryKind::kSymlink) {
    return {Code::kUnsupported, "a symbolic link has no ACL"};
  }
  if (name == kAccessAclXattr) return SetAccessAcl(caller, attr, value, mode);
  BKFS_ASSIGN(Acl acl, ParseAcl(value));
  if (acl.empty()) return OkIfAbsent(staging_.RemoveXattr(node, name));
  if (attr.kind != EntryKind::kDirectory) {
    return {Code::kDenied, "only a directory has a default ACL"};
  }
  return staging_.SetXattr(node, name, EncodeAcl(acl), mode);
}

Status IncomingView::RemoveXattr(Ino ino, std::string_view name) {
  BKFS_TRY(CheckNode(ino));
  if (name == kStateXattr) return {Code::kNotPermitted, "bkfs says this, nobody removes it"};
  return staging_.RemoveXattr(NumberOf(ino), name);
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "engine/staging/staging_impl.h"

namespace bkfs {

namespace {
constexpr size_t kMaxXattrs = 4 << 20;  // bytes on one node: an entry must fit a tree blob

auto FindXattr(std::vector<Xattr>& xattrs, std::string_view name) {
  return std::lower_bound(xattrs.begin(), xattrs.end(), name,
                          [](const Xattr& x, std::string_view n) { return x.name < n; });
}

uint64_t AllocatedBytes(const Entry& entry) {
  // Long lists are not opened for this: holes in them count as data until the file is.
  if (!entry.lists.empty()) return entry.size;
  uint64_t bytes = 0;
  for (const auto& extent : entry.extents) {
    if (!extent.is_hole()) bytes += extent.length;
  }
  return bytes;
}
}  // namespace

Timestamp StagingImpl::Now() const {
  const int64_t now = repo_.clock().WallNanos();
  return {now / 1'000'000'000, static_cast<uint32_t>(now % 1'000'000'000)};
}

NodeAttr StagingImpl::Attr(const Node& node) const {
  const Entry& entry = node.entry;
  NodeAttr attr;
  attr.id = node.id;
  attr.kind = entry.kind;
  attr.mode = entry.mode;
  attr.uid = entry.uid;
  attr.gid = entry.gid;
  attr.nlink = node.orphan ? 0 : (entry.is_directory() ? 1 : entry.nlink);
  attr.size = entry.is_directory() ? 0 : entry.size;
  attr.allocated = entry.kind == EntryKind::kFile ? AllocatedBytes(entry) : 0;
  attr.rdev = entry.rdev;
  attr.mtime = attr.atime = entry.mtime;
  attr.ctime = entry.ctime;
  attr.btime = entry.btime;
  attr.has_xattrs = !entry.xattrs.empty();
  return attr;
}

Result<NodeAttr> StagingImpl::AttrOf(NodeId id, const FilePtr& file) {
  if (!file) {
    MutexLock lock(tree_mutex_);
    BKFS_ASSIGN(NodePtr node, Load(id));
    return Attr(*node);
  }
  MutexLock holding(file->mutex);
  NodeAttr attr;
  {
    MutexLock lock(tree_mutex_);
    BKFS_ASSIGN(NodePtr node, Load(id));
    attr = Attr(*node);
  }
  if (file->content) {
    attr.size = file->content->size();
    attr.allocated = file->content->allocated();
  }
  if (file->mtime) attr.mtime = attr.ctime = attr.atime = *file->mtime;
  return attr;
}

Result<NodeAttr> StagingImpl::GetAttr(NodeId node) { return AttrOf(node, FindFile(node)); }

// Applies `change` to the node's entry; it returns false when nothing became different.
template <typename Change>
Status StagingImpl::ChangeNode(NodeId id, const Change& change) {
  MutexLock lock(tree_mutex_);
  BKFS_ASSIGN(NodePtr node, Load(id));
  Entry changed = node->entry;
  BKFS_ASSIGN(bool different, change(changed));
  if (!different) return {};
  BKFS_TRY(PrepareLinkChange(*node));
  Journal::Batch batch;
  BKFS_TRY(MarkParentsDirty(*node, batch));
  // The root's own attributes belong to the snapshot too; it has no parent to be marked.
  changed.link_group = node->entry.link_group;
  changed.nlink = node->entry.nlink;
  changed.ctime = Now();
  node->entry = std::move(changed);
  PutNode(node, batch);
  return Save(batch);
}

Result<NodeAttr> StagingImpl::SetAttr(NodeId id, const AttrChange& change) {
  if (change.size) BKFS_TRY(Truncate(id, *change.size));
  if (change.mtime) {
    // An explicit time is newer than what writing would set.
    if (FilePtr file = FindFile(id)) {
      MutexLock holding(file->mutex);
      if (file->mtime) file->mtime = *change.mtime;
    }
  }
  BKFS_TRY(ChangeNode(id, [&](Entry& entry) -> Result<bool> {
    bool different = false;
    auto set = [&](auto& field, const auto& wanted) {
      if (!wanted || field == *wanted) return;
      field = *wanted;
      different = true;
    };
    set(entry.mode, change.mode);
    set(entry.uid, change.uid);
    set(entry.gid, change.gid);
    set(entry.mtime, change.mtime);
    return different;
  }));
  return GetAttr(id);
}

Result<std::string> StagingImpl::ReadLink(NodeId id) {
  MutexLock lock(tree_mutex_);
  BKFS_ASSIGN(NodePtr node, Load(id));
  if (node->entry.kind != EntryKind::kSymlink) {
    return Status(Code::kInvalid, "not a symbolic link");
  }
  return node->entry.target;
}

Result<std::string> StagingImpl::GetXattr(NodeId id, std::string_view name) {
  MutexLock lock(tree_mutex_);
  BKFS_ASSIGN(NodePtr node, Load(id));
  auto found = FindXattr(node->entry.xattrs, name);
  if (found == node->entry.xattrs.end() || found->name != name) {
    return Status(Code::kNoData, "no such attribute");
  }
  return found->value;
}

Result<std::vector<std::string>> StagingImpl::ListXattrs(NodeId id) {
  MutexLock lock(tree_mutex_);
  BKFS_ASSIGN(NodePtr node, Load(id));
  std::vector<std::string> names;
  for (const auto& xattr : node->entry.xattrs) names.push_back(xattr.name);
  return names;
}

Status StagingImpl::SetXattr(NodeId id, std::string_view name, std::string_view value,
                             XattrMode mode) {
  if (name.empty() || name.size() > 255) return {Code::kRange, "attribute names have 1-255 bytes"};
  return ChangeNode(id, [&](Entry& entry) -> Result<bool> {
    auto found = FindXattr(entry.xattrs, name);
    const bool there = found != entry.xattrs.end() && found->name == name;
    if (there && mode == XattrMode::kCreate) return Status(Code::kExists, "attribute exists");
    if (!there && mode == XattrMode::kReplace) return Status(Code::kNoData, "no such attribute");
    if (there && found->value == value) return false;
    size_t total = name.size() + value.size();
    for (const auto& xattr : entry.xattrs) total += xattr.name.size() + xattr.value.size();
    if (total > kMaxXattrs) return Status(Code::kNoSpace, "too many bytes of attributes");
    if (there) {
      found->value = value;
    } else {
      entry.xattrs.insert(found, {std::string(name), std::string(value)});
    }
    return true;
  });
}

Status StagingImpl::RemoveXattr(NodeId id, std::string_view name) {
  return ChangeNode(id, [&](Entry& entry) -> Result<bool> {
    auto found = FindXattr(entry.xattrs, name);
    if (found == entry.xattrs.end() || found->name != name) {
      return Status(Code::kNoData, "no such attribute");
    }
    entry.xattrs.erase(found);
    return true;
  });
}

}  // namespace bkfs

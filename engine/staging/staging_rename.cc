// SPDX-License-Identifier: Apache-2.0
// rename(2) within a series.
#include "engine/staging/staging_impl.h"

namespace bkfs {

Result<bool> StagingImpl::IsBelow(NodeId dir, NodeId ancestor) {
  while (dir != 0) {
    if (dir == ancestor) return true;
    BKFS_ASSIGN(NodePtr node, Load(dir));
    dir = node->parent;
  }
  return false;
}

Status StagingImpl::MoveName(const NodePtr& node, NodeId from, std::string_view name, NodeId to,
                             std::string_view new_name, Journal::Batch& batch) {
  const NameHash old_hash = HashName(name);
  const NameHash new_hash = HashName(new_name);
  if (node->entry.link_group != 0) {
    batch.Delete(journal_keys::LinkKey(node->id, from, old_hash));
    batch.Put(journal_keys::LinkKey(node->id, to, new_hash), {});
  }
  if (node->parent == from && node->name_hash == old_hash) {
    node->parent = to;
    node->name_hash = new_hash;
  }
  node->entry.ctime = Now();
  PutNode(node, batch);
  PutDirent(to, new_name, *node, batch);
  return {};
}

Status StagingImpl::CheckReplace(const Dirent& moved, const Dirent& target) {
  const bool moved_dir = moved.kind == EntryKind::kDirectory;
  const bool target_dir = target.kind == EntryKind::kDirectory;
  if (moved_dir && !target_dir) return {Code::kNotDirectory, "not a directory"};
  if (!moved_dir && target_dir) return {Code::kIsDirectory, "it is a directory"};
  if (!target_dir) return {};
  BKFS_ASSIGN(bool empty, IsEmpty(target.node));
  return empty ? OkStatus() : Status(Code::kNotEmpty, "directory not empty");
}

// `moved` may go to `directory`: that is not itself, nor below it.
Status StagingImpl::CheckNotBelow(NodeId directory, const Dirent& moved) {
  if (moved.kind != EntryKind::kDirectory) return {};
  BKFS_ASSIGN(bool loop, IsBelow(directory, moved.node));
  return loop ? Status(Code::kInvalid, "a directory cannot be moved into itself") : OkStatus();
}

Result<StagingImpl::Renaming> StagingImpl::FindRenaming(NodeId parent, std::string_view name,
                                                        NodeId new_parent,
                                                        std::string_view new_name, unsigned flags) {
  BKFS_TRY(CheckNewName(new_name));
  if ((flags & ~(kNoReplace | kExchange)) != 0 || flags == (kNoReplace | kExchange)) {
    return Status(Code::kInvalid, "unknown rename flags");
  }
  if (SeriesOfNode(parent) != SeriesOfNode(new_parent)) {
    return Status(Code::kCrossDevice, "cannot be moved to another series");
  }
  Renaming found;
  BKFS_ASSIGN(found.from, LoadDirectoryNode(parent));
  BKFS_ASSIGN(found.to, LoadDirectoryNode(new_parent));
  BKFS_ASSIGN(auto source, FindDirent(parent, name));
  if (!source) return Absent();
  found.source = std::move(*source);
  BKFS_ASSIGN(found.target, FindDirent(new_parent, new_name));
  if (found.target && (flags & kNoReplace) != 0) {
    return Status(Code::kExists, "this name is taken");
  }
  if (!found.target && (flags & kExchange) != 0) return Absent();
  return found;
}

Status StagingImpl::Rename(NodeId parent, std::string_view name, NodeId new_parent,
                           std::string_view new_name, unsigned flags) {
  MutexLock lock(tree_mutex_);
  BKFS_ASSIGN(Renaming found, FindRenaming(parent, name, new_parent, new_name, flags));
  const auto& target = found.target;
  // Two names of one file: POSIX does nothing.
  if (target && target->node == found.source.node) return {};
  BKFS_TRY(CheckNotBelow(new_parent, found.source));
  BKFS_ASSIGN(NodePtr node, Load(found.source.node));
  BKFS_TRY(PrepareLinkChange(*node));
  Journal::Batch batch;
  if ((flags & kExchange) != 0) {
    BKFS_TRY(CheckNotBelow(parent, *target));
    BKFS_ASSIGN(NodePtr other, Load(target->node));
    BKFS_TRY(PrepareLinkChange(*other));
    BKFS_TRY(MoveName(other, new_parent, new_name, parent, name, batch));
  } else {
    if (target) {
      BKFS_TRY(CheckReplace(found.source, *target));
      BKFS_TRY(DropName(found.to, *target, batch));
    }
    batch.Delete(journal_keys::DirentKey(parent, HashName(name)));
  }
  BKFS_TRY(MoveName(node, parent, name, new_parent, new_name, batch));
  if (node->entry.link_group != 0) BKFS_TRY(MarkParentsDirty(*node, batch));
  BKFS_TRY(TouchDirectory(found.from, batch));
  BKFS_TRY(TouchDirectory(found.to, batch));
  return Save(batch);
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "engine/staging/staging_impl.h"

namespace bkfs {

namespace {
constexpr size_t kNodesKept = 20000;
constexpr size_t kImportBatch = 1 << 20;  // bytes of journal changes at a time
}  // namespace

Status Absent() { return {Code::kNotFound, "no such file or directory"}; }

Status CheckNewName(std::string_view name) {
  if (name.size() > kMaxName) return {Code::kNameTooLong, "a name may have 255 bytes"};
  if (!IsValidName(name)) return {Code::kInvalid, "not a file name"};
  return {};
}

Result<NodePtr> StagingImpl::Load(NodeId node) {
  auto found = nodes_.find(node);
  if (found != nodes_.end()) {
    node_order_.splice(node_order_.begin(), node_order_, found->second);
    return *found->second;
  }
  BKFS_ASSIGN(auto bytes, journal_->Get(journal_keys::NodeKey(node)));
  if (!bytes) return Status(Code::kStale, "this file is no more");
  BKFS_ASSIGN(Node decoded, DecodeNode(node, *bytes));
  auto loaded = std::make_shared<Node>(std::move(decoded));
  node_order_.push_front(loaded);
  nodes_[node] = node_order_.begin();
  while (node_order_.size() > kNodesKept) {
    nodes_.erase(node_order_.back()->id);
    node_order_.pop_back();
  }
  return loaded;
}

void StagingImpl::Forget(NodeId node) {
  auto found = nodes_.find(node);
  if (found == nodes_.end()) return;
  node_order_.erase(found->second);
  nodes_.erase(found);
}

Result<NodePtr> StagingImpl::LoadDirectoryNode(NodeId node) {
  BKFS_ASSIGN(NodePtr dir, Load(node));
  if (!dir->is_directory()) return Status(Code::kNotDirectory, "not a directory");
  if (!dir->loaded) BKFS_TRY(Import(dir));
  return dir;
}

// Has what a stored directory consists of at hand, so that bringing it into the journal holds
// tree_mutex_ over no journey to the store.
Status StagingImpl::Fetch(NodeId id) {
  BlobId stored;
  {
    MutexLock lock(tree_mutex_);
    BKFS_ASSIGN(NodePtr node, Load(id));
    if (!node->is_directory() || node->loaded) return {};
    stored = node->entry.directory;
  }
  return repo_.trees().ForEach(
      stored, 0, [](uint64_t, const DirectoryPtr&, size_t) -> Result<bool> { return true; });
}

// Brings the entries of a stored directory into the journal, when it is first looked into.
Status StagingImpl::Import(const NodePtr& dir) {
  Journal::Batch batch;
  BKFS_TRY(repo_.trees().ForEach(dir->entry.directory, 0,
                                 [&](uint64_t, const DirectoryPtr& leaf, size_t index)
                                     BKFS_NO_ANALYSIS -> Result<bool> {
                                       BKFS_TRY(ImportEntry(dir, leaf->entry(index), batch));
                                       if (batch.bytes() > kImportBatch)
                                         BKFS_TRY(journal_->Write(batch));
                                       return true;
                                     }));
  dir->loaded = true;
  PutNode(dir, batch);
  Status status = journal_->Write(batch);
  if (!status.ok()) dir->loaded = false;
  return status;
}

Status StagingImpl::ImportEntry(const NodePtr& dir, Entry entry, Journal::Batch& batch) {
  const std::string name = std::move(entry.name);
  entry.name.clear();
  const uint64_t generation = GenerationOf(dir->id);
  NodePtr node;
  if (entry.link_group != 0) {
    BKFS_ASSIGN(auto known, journal_->Get(journal_keys::GroupKey(generation, entry.link_group)));
    if (known && known->size() == sizeof(NodeId)) {
      BKFS_ASSIGN(node, Load(bkfs::Load<NodeId>(known->data())));
    }
  }
  const NameHash hash = HashName(name);
  if (!node) {
    node = std::make_shared<Node>();
    BKFS_ASSIGN(node->id, NewNodeId(generation));
    node->parent = dir->id;
    node->name_hash = hash;
    node->loaded = !entry.is_directory() || entry.directory.is_zero();
    node->clean = entry.is_directory();
    node->entry = std::move(entry);
    batch.Put(journal_keys::NodeKey(node->id), EncodeNode(*node));
    if (node->entry.link_group != 0) {
      Bytes number;
      AppendInt(number, node->id);
      Journal::Batch group;  // at once: the next name of the group looks for it
      group.Put(journal_keys::GroupKey(generation, node->entry.link_group), number);
      group.Put(journal_keys::NodeKey(node->id), EncodeNode(*node));
      BKFS_TRY(journal_->Write(group));
    }
  }
  if (node->entry.link_group != 0) {
    batch.Put(journal_keys::LinkKey(node->id, dir->id, hash), {});
  }
  PutDirent(dir->id, name, *node, batch);
  return {};
}

// Loads every directory below that holds names of multiply linked files.
Status StagingImpl::LoadLinked(NodeId dir_id) {
  BKFS_ASSIGN(NodePtr dir, Load(dir_id));
  if (!dir->loaded) {
    if (dir->entry.totals.linked == 0) return {};
    BKFS_TRY(Import(dir));
  }
  std::vector<NodeId> below;
  BKFS_TRY(journal_->Scan(journal_keys::DirPrefix(dir_id), {},
                          [&](ByteView, ByteView value) -> Result<bool> {
                            BKFS_ASSIGN(Dirent dirent, DecodeDirent(value));
                            if (dirent.kind == EntryKind::kDirectory) below.push_back(dirent.node);
                            return true;
                          }));
  for (NodeId node : below) BKFS_TRY(LoadLinked(node));
  return {};
}

// Before a file with several names changes, all directories that name it must be in the journal, or
// the next snapshot would keep the old state under the names not looked at yet.
Status StagingImpl::PrepareLinkChange(const Node& node) {
  if (node.entry.link_group == 0) return {};
  Series* series = SeriesOfNode(node.id);
  if (!series || series->links_loaded) return {};
  BKFS_TRY(LoadLinked(series->record.root));
  series->links_loaded = true;
  return {};
}

Result<std::optional<Dirent>> StagingImpl::FindDirent(NodeId dir, std::string_view name) {
  BKFS_ASSIGN(auto bytes, journal_->Get(journal_keys::DirentKey(dir, HashName(name))));
  if (!bytes) return std::optional<Dirent>();
  BKFS_ASSIGN(Dirent dirent, DecodeDirent(*bytes));
  return std::optional<Dirent>(std::move(dirent));
}

void StagingImpl::PutNode(const NodePtr& node, Journal::Batch& batch) {
  batch.Put(journal_keys::NodeKey(node->id), EncodeNode(*node));
  if (nodes_.contains(node->id)) return;
  node_order_.push_front(node);
  nodes_[node->id] = node_order_.begin();
}

void StagingImpl::PutDirent(NodeId dir, std::string_view name, const Node& node,
                            Journal::Batch& batch) {
  batch.Put(journal_keys::DirentKey(dir, HashName(name)),
            EncodeDirent({node.id, node.entry.kind, std::string(name)}));
}

Status StagingImpl::MarkDirty(NodeId dir, Journal::Batch& batch) {
  Series* series = SeriesOfNode(dir);
  if (series) {
    ++series->change_count;
    series->last_activity = repo_.clock().MonotonicNanos();
    if (!series->record.changed) {
      series->record.changed = true;
      batch.Put(journal_keys::SeriesKey(HashName(series->record.name)),
                EncodeSeries(series->record));
    }
  }
  while (dir != 0) {
    BKFS_ASSIGN(NodePtr node, Load(dir));
    if (!node->clean) return {};
    node->clean = false;
    PutNode(node, batch);
    dir = node->parent;
  }
  return {};
}

Status StagingImpl::MarkParentsDirty(const Node& node, Journal::Batch& batch) {
  if (node.orphan) return {};
  if (node.is_directory()) return MarkDirty(node.id, batch);
  if (node.entry.link_group == 0) return MarkDirty(node.parent, batch);
  std::vector<NodeId> parents;
  BKFS_TRY(journal_->Scan(journal_keys::LinkPrefix(node.id), {},
                          [&](ByteView key, ByteView) -> Result<bool> {
                            NodeId parent = 0;
                            for (size_t i = 9; i < 17; ++i) parent = parent << 8 | key[i];
                            parents.push_back(parent);
                            return true;
                          }));
  for (NodeId parent : parents) BKFS_TRY(MarkDirty(parent, batch));
  return {};
}

Status StagingImpl::TouchDirectory(const NodePtr& dir, Journal::Batch& batch) {
  BKFS_TRY(MarkDirty(dir->id, batch));
  dir->entry.mtime = dir->entry.ctime = Now();
  PutNode(dir, batch);
  return {};
}

Status StagingImpl::Save(Journal::Batch& batch) {
  Status status = journal_->Write(batch);
  if (status.ok()) return {};
  // What memory holds was not written: forget it, and read the journal's state again.
  nodes_.clear();
  node_order_.clear();
  return status;
}

Result<NodeAttr> StagingImpl::Lookup(NodeId parent, std::string_view name) {
  BKFS_TRY(Fetch(parent));
  NodeId node = 0;
  {
    MutexLock lock(tree_mutex_);
    BKFS_ASSIGN(NodePtr dir, LoadDirectoryNode(parent));
    BKFS_ASSIGN(auto dirent, FindDirent(dir->id, name));
    if (!dirent) return Absent();
    node = dirent->node;
  }
  return GetAttr(node);
}

Result<NodeAttr> StagingImpl::Create(NodeId parent, std::string_view name, const NewNode& how) {
  BKFS_TRY(CheckNewName(name));
  MutexLock lock(tree_mutex_);
  BKFS_ASSIGN(NodePtr dir, LoadDirectoryNode(parent));
  if (dir->orphan) return Absent();
  BKFS_ASSIGN(auto there, FindDirent(parent, name));
  if (there) return Status(Code::kExists, "this name is taken");
  auto node = std::make_shared<Node>();
  BKFS_ASSIGN(node->id, NewNodeId(GenerationOf(parent)));
  node->parent = parent;
  node->name_hash = HashName(name);
  Entry& entry = node->entry;
  entry.kind = how.kind;
  entry.mode = how.mode & 07777;
  entry.uid = how.uid;
  entry.gid = how.gid;
  // As everywhere: a set-group-id directory hands its group down.
  if ((dir->entry.mode & 02000) != 0) {
    entry.gid = dir->entry.gid;
    if (how.kind == EntryKind::kDirectory) entry.mode |= 02000;
  }
  entry.rdev = how.rdev;
  entry.target = how.target;
  if (how.kind == EntryKind::kSymlink) entry.size = how.target.size();
  entry.mtime = entry.ctime = entry.btime = Now();
  Journal::Batch batch;
  PutNode(node, batch);
  PutDirent(parent, name, *node, batch);
  BKFS_TRY(TouchDirectory(dir, batch));
  BKFS_TRY(Save(batch));
  return Attr(*node);
}

Result<NodeAttr> StagingImpl::Link(NodeId id, NodeId parent, std::string_view name) {
  BKFS_TRY(CheckNewName(name));
  {
    MutexLock lock(tree_mutex_);
    BKFS_ASSIGN(NodePtr node, Load(id));
    if (node->is_directory()) return Status(Code::kNotPermitted, "directories cannot be linked");
    if (node->orphan) return Absent();
    if (SeriesOfNode(id) != SeriesOfNode(parent)) {
      return Status(Code::kCrossDevice, "a hard link cannot lead to another series");
    }
    BKFS_ASSIGN(NodePtr dir, LoadDirectoryNode(parent));
    BKFS_ASSIGN(auto there, FindDirent(parent, name));
    if (there) return Status(Code::kExists, "this name is taken");
    BKFS_TRY(PrepareLinkChange(*node));
    Journal::Batch batch;
    if (node->entry.link_group == 0) {
      do {
        RandomBytes({reinterpret_cast<uint8_t*>(&node->entry.link_group), sizeof(uint64_t)});
      } while (node->entry.link_group == 0);
      batch.Put(journal_keys::LinkKey(id, node->parent, node->name_hash), {});
      BKFS_TRY(MarkDirty(node->parent, batch));
    } else {
      BKFS_TRY(MarkParentsDirty(*node, batch));
    }
    ++node->entry.nlink;
    node->entry.ctime = Now();
    batch.Put(journal_keys::LinkKey(id, parent, HashName(name)), {});
    PutNode(node, batch);
    PutDirent(parent, name, *node, batch);
    BKFS_TRY(TouchDirectory(dir, batch));
    BKFS_TRY(Save(batch));
  }
  return GetAttr(id);
}

// Takes a name away; the node goes with its last one, unless it is open.
Status StagingImpl::DropName(const NodePtr& parent, const Dirent& dirent, Journal::Batch& batch) {
  BKFS_ASSIGN(NodePtr node, Load(dirent.node));
  BKFS_TRY(PrepareLinkChange(*node));
  const NameHash hash = HashName(dirent.name);
  BKFS_TRY(MarkParentsDirty(*node, batch));
  batch.Delete(journal_keys::DirentKey(parent->id, hash));
  if (node->entry.link_group != 0) batch.Delete(journal_keys::LinkKey(node->id, parent->id, hash));
  if (!node->is_directory() && node->entry.nlink > 1) {
    --node->entry.nlink;
    node->entry.ctime = Now();
    PutNode(node, batch);
    return {};
  }
  bool open = false;
  {
    MutexLock lock(files_mutex_);
    open = files_.contains(node->id);
  }
  node->orphan = true;
  node->entry.nlink = 0;
  if (open) {
    PutNode(node, batch);
    batch.Put(journal_keys::OrphanKey(node->id), {});
  } else {
    batch.Delete(journal_keys::NodeKey(node->id));
    Forget(node->id);
  }
  return {};
}

Status StagingImpl::Unlink(NodeId parent, std::string_view name) {
  MutexLock lock(tree_mutex_);
  BKFS_ASSIGN(NodePtr dir, LoadDirectoryNode(parent));
  BKFS_ASSIGN(auto dirent, FindDirent(parent, name));
  if (!dirent) return Absent();
  if (dirent->kind == EntryKind::kDirectory) return {Code::kIsDirectory, "it is a directory"};
  Journal::Batch batch;
  BKFS_TRY(DropName(dir, *dirent, batch));
  BKFS_TRY(TouchDirectory(dir, batch));
  return Save(batch);
}

Result<bool> StagingImpl::IsEmpty(NodeId id) {
  BKFS_ASSIGN(NodePtr dir, LoadDirectoryNode(id));
  bool empty = true;
  BKFS_TRY(journal_->Scan(journal_keys::DirPrefix(id), {}, [&](ByteView, ByteView) -> Result<bool> {
    empty = false;
    return false;
  }));
  return empty;
}

Status StagingImpl::Rmdir(NodeId parent, std::string_view name) {
  MutexLock lock(tree_mutex_);
  BKFS_ASSIGN(NodePtr dir, LoadDirectoryNode(parent));
  BKFS_ASSIGN(auto dirent, FindDirent(parent, name));
  if (!dirent) return Absent();
  if (dirent->kind != EntryKind::kDirectory) return {Code::kNotDirectory, "not a directory"};
  BKFS_ASSIGN(bool empty, IsEmpty(dirent->node));
  if (!empty) return {Code::kNotEmpty, "directory not empty"};
  Journal::Batch batch;
  BKFS_TRY(DropName(dir, *dirent, batch));
  BKFS_TRY(TouchDirectory(dir, batch));
  return Save(batch);
}

Status StagingImpl::ReadDir(NodeId id, uint64_t from, const DirVisitor& visit) {
  // Collected under the lock in bounded portions; the visitor is called without it. The cursor is
  // the high half of the name's hash: entries come in hash order, so it stays right whatever comes
  // and goes.
  constexpr size_t kPortion = 256;
  BKFS_TRY(Fetch(id));
  struct Found {
    uint64_t cursor;
    Dirent dirent;
  };
  for (uint64_t cursor = from;;) {
    std::vector<Found> portion;
    {
      MutexLock lock(tree_mutex_);
      BKFS_ASSIGN(NodePtr dir, LoadDirectoryNode(id));
      Bytes start = journal_keys::DirPrefix(id);
      if (cursor > 0) {
        // Positions are 1 + the first 62 bits, so that they fit an off_t and 0 is the start.
        const uint64_t next = cursor << 2;
        for (int shift = 56; shift >= 0; shift -= 8) start.push_back(next >> shift & 0xff);
      }
      BKFS_TRY(journal_->Scan(journal_keys::DirPrefix(id), start,
                              [&](ByteView key, ByteView value) -> Result<bool> {
                                uint64_t hash = 0;
                                for (size_t i = 9; i < 17; ++i) hash = hash << 8 | key[i];
                                BKFS_ASSIGN(Dirent dirent, DecodeDirent(value));
                                portion.push_back({(hash >> 2) + 1, std::move(dirent)});
                                return portion.size() < kPortion;
                              }));
    }
    if (portion.empty()) return {};
    for (const auto& found : portion) {
      auto attr = GetAttr(found.dirent.node);
      if (attr.code() == Code::kStale) continue;  // removed meanwhile
      if (!attr.ok()) return attr.status();
      if (!visit(found.cursor, found.dirent.name, *attr)) return {};
    }
    cursor = portion.back().cursor;
  }
}

Result<NodeId> StagingImpl::Parent(NodeId dir) {
  MutexLock lock(tree_mutex_);
  BKFS_ASSIGN(NodePtr node, Load(dir));
  return node->parent;
}

}  // namespace bkfs

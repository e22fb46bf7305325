// SPDX-License-Identifier: Apache-2.0
#include "fs/snapshots_view.h"

#include <algorithm>

namespace bkfs {

namespace {
constexpr size_t kReaders = 32;
constexpr size_t kRootsKept = 4096;
constexpr size_t kListsForStat = 64;  // extent lists loaded to tell a file's st_blocks

uint64_t DataBytes(const std::vector<Extent>& extents) {
  uint64_t bytes = 0;
  for (const Extent& extent : extents) {
    if (!extent.is_hole()) bytes += extent.length;
  }
  return bytes;
}
}  // namespace

SnapshotsView::SnapshotsView(Repository& repo, CatalogKeeper& catalog, ReaderLease* lease,
                             const Caller& owner)
    : repo_(repo),
      catalog_(catalog),
      lease_(lease),
      owner_(owner),
      started_ns_(repo.clock().WallNanos()),
      readers_(kReaders) {}

Attr SnapshotsView::AttrOf(Ino ino, const Entry& entry) const {
  Attr attr;
  attr.ino = ino;
  attr.kind = entry.kind;
  attr.mode = entry.mode;
  attr.uid = entry.uid;
  attr.gid = entry.gid;
  // 1 tells programs that a directory's link count says nothing about how many are in it.
  attr.nlink = entry.is_directory() ? 1 : std::max<uint32_t>(entry.nlink, 1);
  attr.size = entry.kind == EntryKind::kSymlink ? entry.target.size() : entry.size;
  attr.allocated = entry.lists.empty() ? DataBytes(entry.extents) : entry.size;
  attr.rdev = entry.rdev;
  attr.atime = attr.mtime = entry.mtime;
  attr.ctime = entry.ctime;
  attr.btime = entry.btime;
  return attr;
}

uint64_t SnapshotsView::AllocatedInLists(const Entry& entry) {
  if (entry.lists.size() > kListsForStat) return entry.size;
  uint64_t bytes = 0;
  for (const ListRef& ref : entry.lists) {
    auto list = repo_.trees().LoadList(ref.blob);
    if (!list.ok() || (*list)->level != 0) return entry.size;  // reading the file will tell
    bytes += DataBytes((*list)->extents);
  }
  return bytes;
}

Node SnapshotsView::TopNode() {
  CatalogPtr catalog = catalog_.Peek();
  int64_t newest = catalog ? catalog->newest_ns() : 0;
  Node node;
  node.keep_ms = kKeepShort;
  node.attr.ino = kSnapshotsIno;
  node.attr.kind = EntryKind::kDirectory;
  node.attr.mode = 0555;
  node.attr.nlink = 1;
  node.attr.uid = owner_.uid;
  node.attr.gid = owner_.gid;
  node.attr.mtime.seconds = (newest == 0 ? started_ns_ : newest) / 1'000'000'000;
  node.attr.atime = node.attr.ctime = node.attr.mtime;
  return node;
}

Status SnapshotsView::CheckTrees() const {
  if (repo_.has_index() && MayReadTrees(repo_.key().type)) return {};
  return {Code::kDenied, "a " + std::string(KeyTypeName(repo_.key().type)) +
                             " key cannot read the directories of snapshots"};
}

Result<Entry> SnapshotsView::RootEntry(const SnapshotId& id) {
  {
    MutexLock lock(roots_mutex_);
    auto found = roots_.find(id);
    if (found != roots_.end()) return *found->second;
  }
  CatalogPtr catalog = catalog_.Peek();
  auto snapshot = catalog ? catalog->FindSnapshot(id) : nullptr;
  if (!snapshot) return Status(Code::kStale, "snapshot " + id.hex() + " is gone");
  if (!CheckTrees().ok()) {
    // The log is all this key can read: there is a snapshot, and more cannot be told.
    Entry entry;
    entry.kind = EntryKind::kDirectory;
    entry.mode = 0500;
    entry.uid = owner_.uid;
    entry.gid = owner_.gid;
    entry.mtime.seconds = snapshot->body.time_ns / 1'000'000'000;
    entry.ctime = entry.mtime;
    return entry;
  }
  BKFS_ASSIGN(Entry root, repo_.snapshots().Root(*snapshot));
  MutexLock lock(roots_mutex_);
  if (roots_.size() >= kRootsKept) roots_.clear();
  roots_[id] = std::make_shared<const Entry>(root);
  return root;
}

// An object that ought to be there and is not is damage: "not found" would make the file vanish. In
// a snapshot that was forgotten, which no lease kept, it is what was to be expected.
Status SnapshotsView::Judge(const SnapshotId& snapshot, Status status) {
  if (status.Is(Code::kNotFound)) {
    status = {Code::kCorrupt, "missing in the repository: " + status.message()};
  }
  if (!status.Is(Code::kCorrupt)) return status;
  auto catalog = catalog_.Get();
  if (!catalog.ok() || (*catalog)->FindSnapshot(snapshot) != nullptr) return status;
  return {Code::kStale, "snapshot " + snapshot.hex() + " has been forgotten"};
}

Result<SnapshotsView::Held> SnapshotsView::HeldPlace(Ino ino) {
  auto place = nodes_.Find(ino);
  if (!place) return StaleInode(ino);
  BKFS_ASSIGN(SnapshotHold hold, SnapshotHold::Take(lease_, place->snapshot));
  return Held{*place, std::move(hold)};
}

Result<Entry> SnapshotsView::EntryAt(const Held& at) {
  if (at.place.is_root()) return RootEntry(at.place.snapshot);
  auto leaf = repo_.trees().Load(at.place.leaf);
  if (!leaf.ok()) return Judge(at.place.snapshot, leaf.status());
  if (at.place.index >= (*leaf)->entries()) return Status(Code::kCorrupt, "directory changed");
  return (*leaf)->entry(at.place.index);
}

Result<SnapshotNodes::Directory> SnapshotsView::DirectoryOf(Ino ino) {
  auto dir = nodes_.FindDirectory(ino);
  if (dir) return *dir;
  if (nodes_.Find(ino)) return Status(Code::kNotDirectory, "not a directory");
  return StaleInode(ino);
}

Node SnapshotsView::NodeOf(const Directory& dir, Ino dir_ino, const Leaf& leaf, size_t index,
                           const Entry& entry) {
  SnapshotNodes::Place place;
  place.snapshot = dir.keys.snapshot;
  place.leaf = leaf.id;
  place.index = static_cast<uint32_t>(index);
  place.has_xattrs = !entry.xattrs.empty();
  Node node;
  if (entry.is_directory()) {
    Directory child{ChildKeys(dir.keys, entry.name), entry.directory, dir_ino};
    node.attr = AttrOf(nodes_.Acquire(InoOfDirectory(child.keys), place, &child), entry);
  } else {
    node.attr = AttrOf(nodes_.Acquire(InoOfEntry(dir.keys, entry), place, nullptr), entry);
  }
  return node;
}

Result<Node> SnapshotsView::LookupSnapshot(std::string_view name) {
  auto id = SnapshotId::FromHex(name);
  if (!id.ok()) return Status(Code::kNotFound, "no snapshot '" + std::string(name) + "'");
  BKFS_ASSIGN(CatalogPtr catalog, catalog_.Get());
  auto snapshot = catalog->FindSnapshot(*id);
  if (!snapshot) {
    // Whoever has just made it and asks by its id must find it.
    BKFS_ASSIGN(catalog, catalog_.GetNew());
    snapshot = catalog->FindSnapshot(*id);
  }
  if (!snapshot) return Status(Code::kNotFound, "no snapshot " + id->hex());
  BKFS_ASSIGN(Entry root, RootEntry(*id));
  Directory dir{RootKeys(*id), root.directory, kSnapshotsIno};
  SnapshotNodes::Place place;
  place.snapshot = *id;
  place.has_xattrs = !root.xattrs.empty();
  Node node;
  node.keep_ms = kKeepShort;  // of the name: snapshots may be removed
  node.attr = AttrOf(nodes_.Acquire(InoOfDirectory(dir.keys), place, &dir), root);
  return node;
}

Result<SnapshotsView::Leaf> SnapshotsView::LeafFor(const Directory& dir, std::string_view name) {
  constexpr int kMaxDepth = 8;
  if (dir.blob.is_zero()) return Leaf{};
  Leaf leaf{nullptr, dir.blob};
  for (int depth = 0; depth < kMaxDepth; ++depth) {
    auto view = repo_.trees().Load(leaf.id);
    if (!view.ok()) return Judge(dir.keys.snapshot, view.status());
    leaf.view = *view;
    if (leaf.view->level() == 0) return leaf;
    leaf.id = leaf.view->child(leaf.view->ChildFor(name)).blob;
  }
  return Status(Code::kCorrupt, "directory " + dir.blob.short_hex() + " is nested too deeply");
}

Result<Node> SnapshotsView::Lookup(const Caller&, Ino dir_ino, std::string_view name) {
  if (dir_ino == kSnapshotsIno) return LookupSnapshot(name);
  BKFS_ASSIGN(Directory dir, DirectoryOf(dir_ino));
  BKFS_TRY(CheckTrees());
  BKFS_ASSIGN(const SnapshotHold hold, SnapshotHold::Take(lease_, dir.keys.snapshot));
  BKFS_ASSIGN(Leaf leaf, LeafFor(dir, name));
  auto index = leaf.view ? leaf.view->Find(name) : std::nullopt;
  if (!index) return Status(Code::kNotFound, "no such name");
  Entry entry = leaf.view->entry(*index);
  Node node = NodeOf(dir, dir_ino, leaf, *index, entry);
  if (!entry.lists.empty()) node.attr.allocated = AllocatedInLists(entry);
  return node;
}

void SnapshotsView::Forget(Ino ino, uint64_t lookups) { nodes_.Forget(ino, lookups); }

uint32_t SnapshotsView::KeepAbsence(Ino dir) { return dir == kSnapshotsIno ? 0 : kKeepForever; }

Result<Node> SnapshotsView::GetAttr(Ino ino) {
  if (ino == kSnapshotsIno) return TopNode();
  BKFS_ASSIGN(const Held at, HeldPlace(ino));
  BKFS_ASSIGN(Entry entry, EntryAt(at));
  Node node;
  node.attr = AttrOf(ino, entry);
  if (!entry.lists.empty()) node.attr.allocated = AllocatedInLists(entry);
  return node;
}

Result<std::string> SnapshotsView::ReadLink(Ino ino) {
  BKFS_ASSIGN(const Held at, HeldPlace(ino));
  BKFS_ASSIGN(Entry entry, EntryAt(at));
  if (entry.kind != EntryKind::kSymlink) return Status(Code::kInvalid, "not a symbolic link");
  return entry.target;
}

Result<uint64_t> SnapshotsView::OpenHandle(Ino ino) {
  auto place = nodes_.Open(ino);
  if (!place) return StaleInode(ino);
  auto hold = SnapshotHold::Take(lease_, place->snapshot);
  if (!hold.ok()) {
    nodes_.Close(ino);
    return hold.status();
  }
  MutexLock lock(handles_mutex_);
  const uint64_t number = next_handle_++;
  handles_.emplace(number, Handle{ino, *std::move(hold)});
  return number;
}

void SnapshotsView::Release(Ino, uint64_t handle) {
  MutexLock lock(handles_mutex_);
  auto found = handles_.find(handle);
  if (found == handles_.end()) return;  // of /snapshots itself
  nodes_.Close(found->second.ino);
  handles_.erase(found);
}

Result<Opened> SnapshotsView::OpenDir(Ino dir) {
  if (dir == kSnapshotsIno) {
    BKFS_ASSIGN([[maybe_unused]] CatalogPtr catalog, catalog_.Get());
    return Opened{};
  }
  BKFS_TRY(DirectoryOf(dir).status());
  BKFS_TRY(CheckTrees());
  Opened opened;
  BKFS_ASSIGN(opened.handle, OpenHandle(dir));
  opened.keep_cache = true;
  return opened;
}

Status SnapshotsView::ReadTop(uint64_t from, const DirSink& sink) {
  BKFS_ASSIGN(CatalogPtr catalog, catalog_.Get());
  if (!EmitDots(from, kSnapshotsIno, kRootIno, sink)) return {};
  const auto& all = catalog->snapshots();
  for (auto it = all.lower_bound(from < kDots ? 0 : from - kDots + 1); it != all.end(); ++it) {
    // Names only: attributes would mean opening every record for a plain listing.
    const SnapshotId& id = it->second->id;
    Ino ino = InoOfDirectory(RootKeys(id)).ino;
    if (!sink({id.hex(), it->first + kDots, ino, EntryKind::kDirectory, nullptr})) break;
  }
  return {};
}

Status SnapshotsView::ReadLeaf(const Directory& dir, Ino dir_ino, const TreeSource::Place& place,
                               uint64_t ordinal, bool with_nodes, const DirSink& sink, bool& more) {
  const Leaf leaf{place.leaf, place.leaf_id};
  for (size_t index = place.index; index < leaf.view->entries() && more; ++index, ++ordinal) {
    Entry entry = leaf.view->entry(index);
    DirItem item{entry.name, ordinal + 1 + kDots, 0, entry.kind, nullptr};
    // Long files are left to a lookup: their st_blocks may take loading lists.
    if (!with_nodes || !entry.lists.empty()) {
      item.ino = entry.is_directory() ? InoOfDirectory(ChildKeys(dir.keys, entry.name)).ino
                                      : InoOfEntry(dir.keys, entry).ino;
      more = sink(item);
      continue;
    }
    Node node = NodeOf(dir, dir_ino, leaf, index, entry);
    item.ino = node.attr.ino;
    item.node = &node;
    more = sink(item);
    if (!more) nodes_.Forget(item.ino, 1);
  }
  return {};
}

Status SnapshotsView::ReadDir(Ino dir_ino, uint64_t from, bool with_nodes, const DirSink& sink) {
  if (dir_ino == kSnapshotsIno) return ReadTop(from, sink);
  BKFS_ASSIGN(Directory dir, DirectoryOf(dir_ino));
  BKFS_TRY(CheckTrees());
  if (!EmitDots(from, dir_ino, dir.parent, sink)) return {};
  if (dir.blob.is_zero()) return {};
  BKFS_ASSIGN(const SnapshotHold hold, SnapshotHold::Take(lease_, dir.keys.snapshot));
  auto count = repo_.trees().Count(dir.blob);
  if (!count.ok()) return Judge(dir.keys.snapshot, count.status());
  uint64_t ordinal = from < kDots ? 0 : from - kDots;
  bool more = true;
  while (more && ordinal < *count) {
    auto place = repo_.trees().Locate(dir.blob, ordinal);
    if (!place.ok()) return Judge(dir.keys.snapshot, place.status());
    BKFS_TRY(ReadLeaf(dir, dir_ino, *place, ordinal, with_nodes, sink, more));
    ordinal += place->leaf->entries() - place->index;
  }
  return {};
}

Result<Opened> SnapshotsView::Open(const Caller&, Ino ino, const OpenRequest& request) {
  if (!nodes_.Find(ino)) return StaleInode(ino);
  if (request.write || request.truncate) {
    return Status(Code::kReadOnly, "snapshots never change");
  }
  if (!MayReadContents(repo_.key().type)) {
    return Status(Code::kDenied, "a " + std::string(KeyTypeName(repo_.key().type)) +
                                     " key cannot read the contents of files");
  }
  Opened opened;
  BKFS_ASSIGN(opened.handle, OpenHandle(ino));
  opened.keep_cache = true;
  return opened;
}

Result<SnapshotsView::Reading> SnapshotsView::ReadingOf(Ino ino) {
  if (!repo_.has_index()) return CheckTrees();
  BKFS_ASSIGN(Held at, HeldPlace(ino));
  auto reader = readers_.GetOrMake(ino, [&]() -> Result<ReaderCache::ReaderPtr> {
    BKFS_ASSIGN(Entry entry, EntryAt(at));
    if (entry.is_directory()) return Status(Code::kIsDirectory, "not a file");
    BKFS_ASSIGN(auto map, FileMap::Open(repo_.trees(), entry));
    return std::make_shared<FileReader>(repo_.blobs(), std::move(map));
  });
  if (!reader.ok()) return reader.status();
  return Reading{std::move(at), *std::move(reader)};
}

Result<size_t> SnapshotsView::Read(Ino ino, uint64_t, uint64_t offset, MutableByteView out) {
  BKFS_ASSIGN(const Reading reading, ReadingOf(ino));
  auto read = reading.reader->Read(offset, out);
  if (!read.ok()) return Judge(reading.at.place.snapshot, read.status());
  return read;
}

Result<uint64_t> SnapshotsView::SeekData(Ino ino, uint64_t offset) {
  BKFS_ASSIGN(const Reading reading, ReadingOf(ino));
  return reading.reader->SeekData(offset);
}

Result<uint64_t> SnapshotsView::SeekHole(Ino ino, uint64_t offset) {
  BKFS_ASSIGN(const Reading reading, ReadingOf(ino));
  return reading.reader->SeekHole(offset);
}

Result<std::string> SnapshotsView::GetXattr(Ino ino, std::string_view name) {
  auto place = nodes_.Find(ino);
  if (!place && ino != kSnapshotsIno) return StaleInode(ino);
  // The kernel asks for ACLs and capabilities of everything; mostly there are none.
  if (!place || !place->has_xattrs) return Status(Code::kNoData, "no such attribute");
  BKFS_ASSIGN(const Held at, HeldPlace(ino));
  BKFS_ASSIGN(Entry entry, EntryAt(at));
  for (const Xattr& xattr : entry.xattrs) {
    if (xattr.name == name) return xattr.value;
  }
  return Status(Code::kNoData, "no such attribute");
}

Result<std::vector<std::string>> SnapshotsView::ListXattrs(Ino ino) {
  std::vector<std::string> names;
  auto place = nodes_.Find(ino);
  if (!place && ino != kSnapshotsIno) return StaleInode(ino);
  if (!place || !place->has_xattrs) return names;
  BKFS_ASSIGN(const Held at, HeldPlace(ino));
  BKFS_ASSIGN(Entry entry, EntryAt(at));
  for (const Xattr& xattr : entry.xattrs) names.push_back(xattr.name);
  return names;
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/tree_source.h"

namespace bkfs {

namespace {
constexpr int kMaxDepth = 8;  // 16^8 pieces: no honest tree is deeper

Status DamagedTree(const BlobId& id, const std::string& why) {
  return {Code::kCorrupt, "tree blob " + id.hex() + ": " + why};
}
}  // namespace

Result<Bytes> TreeSource::Fetch(const BlobId& id) {
  if (local_) {
    auto local = local_->Get(id);
    if (local.ok() && *local) return std::move(**local);
  }
  BKFS_ASSIGN(BlobData data, blobs_.Read(PackKind::kTrees, id));
  return Bytes(data.bytes.begin(), data.bytes.end());
}

Result<DirectoryPtr> TreeSource::Load(const BlobId& id) {
  {
    MutexLock lock(mutex_);
    auto found = map_.find(id);
    if (found != map_.end()) {
      order_.splice(order_.begin(), order_, found->second);
      return found->second->second;
    }
  }
  BKFS_ASSIGN(Bytes blob, Fetch(id));
  auto parsed = DirectoryView::Parse(std::move(blob));
  if (!parsed.ok()) return DamagedTree(id, parsed.status().message());
  DirectoryPtr view = *parsed;
  MutexLock lock(mutex_);
  auto found = map_.find(id);
  if (found != map_.end()) return found->second->second;
  order_.emplace_front(id, view);
  map_[id] = order_.begin();
  bytes_ += view->bytes();
  while (bytes_ > limit_ && order_.size() > 1) {
    bytes_ -= order_.back().second->bytes();
    map_.erase(order_.back().first);
    order_.pop_back();
  }
  return view;
}

Result<Entry> TreeSource::Lookup(const BlobId& dir, std::string_view name) {
  const Status absent(Code::kNotFound, "no such file or directory");
  if (dir.is_zero()) return absent;
  BlobId at = dir;
  for (int depth = 0; depth < kMaxDepth; ++depth) {
    BKFS_ASSIGN(DirectoryPtr view, Load(at));
    if (view->level() == 0) {
      auto index = view->Find(name);
      if (!index) return absent;
      return view->entry(*index);
    }
    at = view->child(view->ChildFor(name)).blob;
  }
  return DamagedTree(dir, "nested too deeply");
}

Status TreeSource::ForEach(const BlobId& dir, uint64_t from, const Visitor& visit) {
  if (dir.is_zero()) return {};
  BKFS_ASSIGN(DirectoryPtr view, Load(dir));
  bool more = true;
  return Walk(view, 0, from, visit, more, 0);
}

Status TreeSource::Walk(const DirectoryPtr& dir, uint64_t base, uint64_t from, const Visitor& visit,
                        bool& more, int depth) {
  if (depth >= kMaxDepth) return {Code::kCorrupt, "directory blobs are nested too deeply"};
  if (dir->level() == 0) {
    for (size_t i = from > base ? from - base : 0; i < dir->entries() && more; ++i) {
      BKFS_ASSIGN(more, visit(base + i, dir, i));
    }
    return {};
  }
  for (size_t i = 0; i < dir->children() && more; ++i) {
    Child child = dir->child(i);
    if (base + child.entries > from) {
      BKFS_ASSIGN(DirectoryPtr below, Load(child.blob));
      if (below->level() >= dir->level() || below->count() != child.entries) {
        return DamagedTree(child.blob, "does not fit its place in the directory");
      }
      BKFS_TRY(Walk(below, base, from, visit, more, depth + 1));
    }
    base += child.entries;
  }
  return {};
}

Result<uint64_t> TreeSource::Count(const BlobId& dir) {
  if (dir.is_zero()) return uint64_t{0};
  BKFS_ASSIGN(DirectoryPtr view, Load(dir));
  return view->count();
}

Result<TreeSource::Place> TreeSource::Locate(const BlobId& dir, uint64_t ordinal) {
  if (dir.is_zero()) return Status(Code::kNotFound, "an empty directory has no entries");
  BlobId at = dir;
  for (int depth = 0; depth < kMaxDepth; ++depth) {
    BKFS_ASSIGN(DirectoryPtr view, Load(at));
    if (view->level() == 0) {
      if (ordinal >= view->entries()) return Status(Code::kNotFound, "past the last entry");
      return Place{view, at, static_cast<size_t>(ordinal)};
    }
    size_t index = 0;
    Child child = view->child(0);
    while (ordinal >= child.entries) {
      ordinal -= child.entries;
      if (++index >= view->children()) return Status(Code::kNotFound, "past the last entry");
      child = view->child(index);
    }
    at = child.blob;
  }
  return DamagedTree(dir, "nested too deeply");
}

Result<std::shared_ptr<const ExtentListBlob>> TreeSource::LoadList(const BlobId& id) {
  BKFS_ASSIGN(Bytes blob, Fetch(id));
  auto list = DecodeExtentList(blob);
  if (!list.ok()) return DamagedTree(id, list.status().message());
  return std::make_shared<const ExtentListBlob>(std::move(list).value());
}

namespace {
// Appends the extents below `refs`, each piece checked against the bytes its reference states.
Status CollectExtents(TreeSource& trees, const std::vector<ListRef>& refs, std::vector<Extent>& out,
                      int depth) {
  if (depth >= kMaxDepth) return {Code::kCorrupt, "extent lists are nested too deeply"};
  for (const auto& ref : refs) {
    BKFS_ASSIGN(auto list, trees.LoadList(ref.blob));
    const size_t before = out.size();
    if (list->level == 0) {
      out.insert(out.end(), list->extents.begin(), list->extents.end());
    } else {
      BKFS_TRY(CollectExtents(trees, list->lists, out, depth + 1));
    }
    uint64_t bytes = 0;
    for (size_t i = before; i < out.size(); ++i) bytes += out[i].length;
    if (bytes != ref.bytes) return DamagedTree(ref.blob, "covers other bytes than it should");
  }
  return {};
}
}  // namespace

Result<std::vector<Extent>> TreeSource::LoadExtents(const Entry& entry) {
  if (entry.lists.empty()) return entry.extents;
  std::vector<Extent> out;
  BKFS_TRY(CollectExtents(*this, entry.lists, out, 0));
  uint64_t bytes = 0;
  for (const auto& extent : out) bytes += extent.length;
  if (bytes != entry.size) {
    return Status(Code::kCorrupt, "the pieces of a file do not add up to its size");
  }
  return out;
}

Result<Entry> TreeSource::Resolve(const Entry& root, std::string_view path) {
  Entry at = root;
  while (true) {
    while (path.starts_with('/')) path.remove_prefix(1);
    if (path.empty()) return at;
    std::string_view name = path.substr(0, path.find('/'));
    path.remove_prefix(name.size());
    if (name == ".") continue;
    if (!at.is_directory()) {
      return Status(Code::kNotDirectory, "'" + at.name + "' is not a directory");
    }
    auto next = Lookup(at.directory, name);
    if (!next.ok()) return next.status().WithContext(std::string(name));
    at = std::move(next).value();
  }
}

}  // namespace bkfs

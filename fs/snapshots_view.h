// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <unordered_map>

#include "fs/catalog_keeper.h"
#include "fs/reader_cache.h"
#include "fs/snapshot_nodes.h"
#include "fs/view.h"

namespace bkfs {

// /snapshots/<id>/...: the trees of the repository. Immutable but for its top directory, which
// follows the catalog. What the key cannot open is kDenied; what is damaged is kCorrupt, never "not
// there".
class SnapshotsView final : public View {
 public:
  // References must outlive it.
  SnapshotsView(Repository& repo, CatalogKeeper& catalog, const Caller& owner);

  Result<Node> Lookup(const Caller& caller, Ino dir, std::string_view name) override;
  void Forget(Ino ino, uint64_t lookups) override;
  uint32_t KeepAbsence(Ino dir) override;
  Result<Node> GetAttr(Ino ino) override;
  Result<std::string> ReadLink(Ino ino) override;
  Result<Opened> OpenDir(Ino dir) override;
  Status ReadDir(Ino dir, uint64_t from, bool with_nodes, const DirSink& sink) override;
  Result<Opened> Open(const Caller& caller, Ino ino, const OpenRequest& request) override;
  Result<size_t> Read(Ino ino, uint64_t handle, uint64_t offset, MutableByteView out) override;
  Result<uint64_t> SeekData(Ino ino, uint64_t offset) override;
  Result<uint64_t> SeekHole(Ino ino, uint64_t offset) override;
  Result<std::string> GetXattr(Ino ino, std::string_view name) override;
  Result<std::vector<std::string>> ListXattrs(Ino ino) override;

  size_t nodes() { return nodes_.size(); }  // for tests

 private:
  using Directory = SnapshotNodes::Directory;
  struct Leaf {
    DirectoryPtr view;
    BlobId id;
  };

  Result<Node> LookupSnapshot(std::string_view name);
  Result<Leaf> LeafFor(const BlobId& dir, std::string_view name);
  // Counts a lookup.
  Node NodeOf(const Directory& dir, Ino dir_ino, const Leaf& leaf, size_t index,
              const Entry& entry);
  Result<Entry> EntryOf(Ino ino);
  Result<Entry> EntryAt(const SnapshotNodes::Place& place);
  Result<Entry> RootEntry(const SnapshotId& id) BKFS_EXCLUDES(roots_mutex_);
  Result<Directory> DirectoryOf(Ino ino);
  Result<ReaderCache::ReaderPtr> ReaderOf(Ino ino);
  Status ReadTop(uint64_t from, const DirSink& sink);
  Status ReadLeaf(const Directory& dir, Ino dir_ino, const TreeSource::Place& place,
                  uint64_t ordinal, bool with_nodes, const DirSink& sink, bool& more);
  Attr AttrOf(Ino ino, const Entry& entry) const;
  Node TopNode();
  uint64_t AllocatedInLists(const Entry& entry);
  Status CheckTrees() const;

  Repository& repo_;
  CatalogKeeper& catalog_;
  const Caller owner_;
  const int64_t started_ns_;
  SnapshotNodes nodes_;
  ReaderCache readers_;
  Mutex roots_mutex_;  // a leaf
  std::unordered_map<SnapshotId, std::shared_ptr<const Entry>, IdHash> roots_
      BKFS_GUARDED_BY(roots_mutex_);  // opened root records; shared with readers at work
};

}  // namespace bkfs

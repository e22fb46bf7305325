// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <unordered_map>

#include "engine/repo/reader_lease.h"
#include "fs/catalog_keeper.h"
#include "fs/reader_cache.h"
#include "fs/snapshot_nodes.h"
#include "fs/view.h"

namespace bkfs {

// /snapshots/<id>/...: the trees of the repository. Immutable but for its top directory, which
// follows the catalog. What the key cannot open is kDenied; what is damaged is kCorrupt, never "not
// there". What was looked up in a snapshot that has been forgotten since is kStale, unless
// something of it is open: what is open, the lease pins.
class SnapshotsView final : public View {
 public:
  // References must outlive it, and `lease`, which may be null.
  SnapshotsView(Repository& repo, CatalogKeeper& catalog, ReaderLease* lease, const Caller& owner);

  Result<Node> Lookup(const Caller& caller, Ino dir, std::string_view name) override;
  void Forget(Ino ino, uint64_t lookups) override;
  uint32_t KeepAbsence(Ino dir) override;
  Result<Node> GetAttr(Ino ino) override;
  Result<std::string> ReadLink(Ino ino) override;
  Result<Opened> OpenDir(Ino dir) override;
  void ReleaseDir(Ino dir, uint64_t handle) override { Release(dir, handle); }
  Status ReadDir(Ino dir, uint64_t from, bool with_nodes, const DirSink& sink) override;
  Result<Opened> Open(const Caller& caller, Ino ino, const OpenRequest& request) override;
  void Release(Ino ino, uint64_t handle) override;
  Result<size_t> Read(Ino ino, uint64_t handle, uint64_t offset, MutableByteView out) override;
  Result<uint64_t> SeekData(Ino ino, uint64_t offset) override;
  Result<uint64_t> SeekHole(Ino ino, uint64_t offset) override;
  Result<std::string> GetXattr(Ino ino, std::string_view name) override;
  Result<std::vector<std::string>> ListXattrs(Ino ino) override;

  size_t nodes() { return nodes_.size(); }  // for tests

 private:
  using Directory = SnapshotNodes::Directory;
  // Where an inode is, and the snapshot that it is in in use.
  struct Held {
    SnapshotNodes::Place place;
    SnapshotHold hold;
  };
  // An open file or directory.
  struct Handle {
    Ino ino = 0;
    SnapshotHold hold;
  };
  struct Reading {
    Held at;
    ReaderCache::ReaderPtr reader;
  };
  struct Leaf {
    DirectoryPtr view;
    BlobId id;
  };

  Result<Node> LookupSnapshot(std::string_view name);
  Result<Leaf> LeafFor(const Directory& dir, std::string_view name);
  // Counts a lookup.
  Node NodeOf(const Directory& dir, Ino dir_ino, const Leaf& leaf, size_t index,
              const Entry& entry);
  Result<Held> HeldPlace(Ino ino);
  Result<Entry> EntryAt(const Held& at);
  Result<Entry> RootEntry(const SnapshotId& id) BKFS_EXCLUDES(roots_mutex_);
  Result<Directory> DirectoryOf(Ino ino);
  Result<Reading> ReadingOf(Ino ino);
  Result<uint64_t> OpenHandle(Ino ino) BKFS_EXCLUDES(handles_mutex_);
  // What a failure to read something of this snapshot means.
  Status Judge(const SnapshotId& snapshot, Status status);
  Status ReadTop(uint64_t from, const DirSink& sink);
  Status ReadLeaf(const Directory& dir, Ino dir_ino, const TreeSource::Place& place,
                  uint64_t ordinal, bool with_nodes, const DirSink& sink, bool& more);
  Attr AttrOf(Ino ino, const Entry& entry) const;
  Node TopNode();
  uint64_t AllocatedInLists(const Entry& entry);
  Status CheckTrees() const;

  Repository& repo_;
  CatalogKeeper& catalog_;
  ReaderLease* const lease_;
  const Caller owner_;
  const int64_t started_ns_;
  SnapshotNodes nodes_;
  ReaderCache readers_;
  Mutex roots_mutex_;  // a leaf
  std::unordered_map<SnapshotId, std::shared_ptr<const Entry>, IdHash> roots_
      BKFS_GUARDED_BY(roots_mutex_);  // opened root records; shared with readers at work
  Mutex handles_mutex_;               // a leaf
  std::unordered_map<uint64_t, Handle> handles_ BKFS_GUARDED_BY(handles_mutex_);
  uint64_t next_handle_ BKFS_GUARDED_BY(handles_mutex_) = 1;
};

}  // namespace bkfs

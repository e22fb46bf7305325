// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>

#include "engine/base/mutex.h"
#include "engine/format/tree.h"
#include "engine/repo/blob_reader.h"

namespace bkfs {

using DirectoryPtr = std::shared_ptr<const DirectoryView>;

// Tree blobs kept on this machine, sealed: all that a WriteOnly key can look at of what it wrote.
class LocalTrees {
 public:
  virtual ~LocalTrees() = default;
  virtual Result<std::optional<Bytes>> Get(const BlobId& id) = 0;
  virtual Status Put(const BlobId& id, ByteView blob) = 0;
};

// Reads directories and extent lists. Parsed blobs are kept in a cache bounded in bytes and shared
// by all readers. Thread-safe.
class TreeSource {
 public:
  // `local` may be null; it is asked before the store.
  TreeSource(BlobReader& blobs, LocalTrees* local, uint64_t cache_bytes)
      : blobs_(blobs), local_(local), limit_(cache_bytes) {}
  void SetLocal(LocalTrees* local) { local_ = local; }

  // One directory blob of any level. kCorrupt names the blob.
  Result<DirectoryPtr> Load(const BlobId& id) BKFS_EXCLUDES(mutex_);
  // The entry of that name in the directory rooted at blob `dir` (zero: empty). kNotFound if
  // absent.
  Result<Entry> Lookup(const BlobId& dir, std::string_view name);
  // Entries from ordinal `from` on, in name order, until `visit` returns false.
  using Visitor =
      std::function<Result<bool>(uint64_t ordinal, const DirectoryPtr& leaf, size_t index)>;
  Status ForEach(const BlobId& dir, uint64_t from, const Visitor& visit);
  // Number of entries.
  Result<uint64_t> Count(const BlobId& dir);
  // The leaf that holds the entry with this ordinal, and its index there.
  struct Place {
    DirectoryPtr leaf;
    BlobId leaf_id;
    size_t index = 0;
  };
  Result<Place> Locate(const BlobId& dir, uint64_t ordinal);

  Result<std::shared_ptr<const ExtentListBlob>> LoadList(const BlobId& id);
  // One tree blob's bytes, as they are stored.
  Result<Bytes> Fetch(const BlobId& id);
  // All extents of a file, in order.
  Result<std::vector<Extent>> LoadExtents(const Entry& entry);
  // The entry at a path below `root` ("" or "/" is root itself); does not follow symlinks.
  Result<Entry> Resolve(const Entry& root, std::string_view path);

 private:
  Status Walk(const DirectoryPtr& dir, uint64_t base, uint64_t from, const Visitor& visit,
              bool& more, int depth);

  BlobReader& blobs_;
  LocalTrees* local_;
  const uint64_t limit_;
  Mutex mutex_;
  uint64_t bytes_ BKFS_GUARDED_BY(mutex_) = 0;
  std::list<std::pair<BlobId, DirectoryPtr>> order_ BKFS_GUARDED_BY(mutex_);
  std::unordered_map<BlobId, std::list<std::pair<BlobId, DirectoryPtr>>::iterator, IdHash> map_
      BKFS_GUARDED_BY(mutex_);
};

}  // namespace bkfs

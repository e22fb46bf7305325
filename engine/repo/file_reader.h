// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "engine/base/mutex.h"
#include "engine/repo/blob_reader.h"
#include "engine/repo/tree_source.h"

namespace bkfs {

// The place of every byte of a file: which extent covers an offset. Pieces of long lists are loaded
// when they are needed, a few kept. Thread-safe.
class FileMap {
 public:
  // The entry must be a regular file. References must outlive it.
  static Result<std::unique_ptr<FileMap>> Open(TreeSource& trees, const Entry& entry);

  struct Piece {
    uint64_t start = 0;  // file offset of the extent
    Extent extent;
  };
  // The extent that covers `offset`, which must be below size().
  Result<Piece> Find(uint64_t offset) BKFS_EXCLUDES(mutex_);
  uint64_t size() const { return size_; }

 private:
  struct Run {  // extents with their file offsets
    uint64_t start = 0;
    uint64_t end = 0;
    std::vector<uint64_t> starts;
    std::vector<Extent> extents;
  };
  FileMap(TreeSource& trees, uint64_t size) : trees_(trees), size_(size) {}
  Result<std::shared_ptr<const Run>> LoadRun(uint64_t offset);
  static std::shared_ptr<const Run> MakeRun(uint64_t start, std::vector<Extent> extents);

  TreeSource& trees_;
  const uint64_t size_;
  std::vector<ListRef> lists_;  // empty when the extents stand in the entry
  Mutex mutex_;
  std::vector<std::shared_ptr<const Run>> runs_ BKFS_GUARDED_BY(mutex_);  // most recent first
};

// Reads a stored file's contents; reads ahead when it is read in order. Thread-safe.
class FileReader {
 public:
  FileReader(BlobReader& blobs, std::unique_ptr<FileMap> map)
      : blobs_(blobs), map_(std::move(map)) {}

  // Fills `out` from `offset`, less only at the end of the file: returns the count. Holes read as
  // zeros. kCorrupt for damage, never fewer bytes than there are.
  Result<size_t> Read(uint64_t offset, MutableByteView out);
  // The next offset >= `offset` that is data (hole); kNotFound past the last data; the end of the
  // file counts as a hole. As lseek(2) SEEK_DATA and SEEK_HOLE.
  Result<uint64_t> SeekData(uint64_t offset);
  Result<uint64_t> SeekHole(uint64_t offset);
  FileMap& map() { return *map_; }

 private:
  void ReadAhead(uint64_t end);

  BlobReader& blobs_;
  std::unique_ptr<FileMap> map_;
  Mutex mutex_;
  uint64_t expected_ BKFS_GUARDED_BY(mutex_) = 0;  // where a reader in order comes next
  uint64_t ahead_ BKFS_GUARDED_BY(mutex_) = 0;     // prefetched up to here
  uint64_t window_ BKFS_GUARDED_BY(mutex_) = 0;    // bytes that are prefetched beyond the reader
};

}  // namespace bkfs

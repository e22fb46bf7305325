// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "engine/format/tree.h"
#include "engine/repo/blob_writer.h"
#include "engine/repo/tree_source.h"

namespace bkfs {

// The result of writing a directory: what its parent's Entry needs.
struct DirectoryRef {
  BlobId blob;  // zero for an empty directory
  uint64_t count = 0;
  TreeTotals totals;
};

// Writes one directory: Add its entries in name order, then Finish. Memory is one piece at a time
// plus 80 bytes per piece. The cut rule is doc/format.md section 8. Not thread-safe.
class DirectoryWriter {
 public:
  // `local`, if not null, keeps a copy of every blob. References must outlive it.
  DirectoryWriter(BlobWriter& blobs, ByteView chunker_key, LocalTrees* local);
  // kInvalid when the name is not above the one before.
  Status Add(const Entry& entry);
  Result<DirectoryRef> Finish();

 private:
  Status CutPiece();
  Result<BlobId> Put(Bytes blob);

  BlobWriter& blobs_;
  ByteView chunker_key_;
  LocalTrees* local_;
  DirectoryEncoder encoder_;
  std::string piece_first_;
  std::string last_name_;
  std::vector<Child> pieces_;
  TreeTotals totals_;
  uint64_t count_ = 0;
};

// Takes a file's extents in order and puts them into its entry: in place when they are few, as list
// blobs when they are many. Memory is one piece of the list plus 40 bytes for each piece before it,
// however long the file is. Not thread-safe.
class ExtentWriter {
 public:
  // `local`, if not null, keeps a copy of every blob. References must outlive it.
  ExtentWriter(BlobWriter& blobs, LocalTrees* local) : blobs_(blobs), local_(local) {}
  Status Add(const Extent& extent);
  // Sets the entry's extents or lists, and nothing else.
  Status Finish(Entry& entry);
  uint64_t bytes() const { return bytes_; }  // covered so far

 private:
  Status CutPiece();

  BlobWriter& blobs_;
  LocalTrees* local_;
  std::vector<Extent> piece_;
  std::vector<ListRef> pieces_;
  uint64_t bytes_ = 0;
  bool cut_due_ = false;  // before the next extent, if there is one
};

// The same for extents that are all there already.
Status SetExtents(Entry& entry, const std::vector<Extent>& extents, BlobWriter& blobs,
                  LocalTrees* local);

}  // namespace bkfs

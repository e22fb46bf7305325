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

// Puts `extents` into the entry: in place when they are few, as list blobs when they are many.
Status SetExtents(Entry& entry, const std::vector<Extent>& extents, BlobWriter& blobs,
                  LocalTrees* local);

}  // namespace bkfs

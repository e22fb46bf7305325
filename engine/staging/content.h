// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "engine/codec/chunker.h"
#include "engine/format/tree.h"
#include "engine/repo/blob_reader.h"
#include "engine/repo/blob_writer.h"

namespace bkfs {

// The contents of a file open in the staging tree: extents already cut into blobs, and over them
// dirty ranges that are not. Not thread-safe: its OpenFile's lock guards it.
class Content {
 public:
  // References must outlive it. `extents` cover exactly `size` bytes.
  Content(BlobWriter& writer, BlobReader& reader, const Chunker& chunker,
          const std::vector<Extent>& extents, uint64_t size);

  uint64_t size() const { return size_; }
  uint64_t dirty_bytes() const { return dirty_bytes_; }
  bool has_dirty() const { return !dirty_.empty() || size_ != settled_size(); }
  uint64_t allocated() const;

  // Fills `out`, less only at the end. kDenied where stored contents are needed and cannot be read.
  Result<size_t> Read(uint64_t offset, MutableByteView out);
  // Cuts what a stream has brought so far when there is enough of it; may wait for the writer.
  Status Write(uint64_t offset, ByteView data);
  Status Truncate(uint64_t size);
  Status PunchHole(uint64_t offset, uint64_t length);
  // Everything dirty becomes blobs. On an error what is dirty stays so.
  Status Settle();
  // Valid after Settle: covers size() bytes.
  std::vector<Extent> Extents() const;

  Result<uint64_t> SeekData(uint64_t offset) const;
  Result<uint64_t> SeekHole(uint64_t offset) const;

 private:
  struct Piece {
    uint64_t start = 0;
    Extent extent;
    uint64_t end() const { return start + extent.length; }
  };
  using Dirty = std::map<uint64_t, Bytes>;

  uint64_t settled_size() const { return pieces_.empty() ? 0 : pieces_.back().end(); }
  size_t PieceAt(
      uint64_t offset) const;  // index of the piece that covers it; pieces_.size() if none
  Status ReadPiece(const Piece& piece, uint64_t from, MutableByteView out);
  // Replaces [begin, end) of the settled pieces, slicing those at its borders. A gap before `begin`
  // becomes a hole.
  void Splice(uint64_t begin, uint64_t end, const std::vector<Extent>& with);
  Status SettleRange(uint64_t start, const Bytes& data);
  Status SettleStream(uint64_t start, Bytes& data);
  Result<uint64_t> PrependContext(uint64_t start, Bytes& buffer);
  Result<uint64_t> CutAll(uint64_t begin, Bytes& buffer, std::vector<Extent>& out);
  Result<bool> AppendContext(uint64_t& end, Bytes& buffer);
  Result<Extent> Store(ByteView data);
  void DropDirty(uint64_t begin, uint64_t end);
  static void PushExtent(std::vector<Extent>& out, const Extent& extent);

  BlobWriter& writer_;
  BlobReader& reader_;
  const Chunker& chunker_;
  std::vector<Piece> pieces_;
  uint64_t size_;
  Dirty dirty_;  // disjoint, not adjacent
  uint64_t dirty_bytes_ = 0;
  uint64_t natural_end_ =
      0;  // where the last piece ended by content, so that going on needs no look back
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/staging/content.h"

#include <algorithm>
#include <cstring>

namespace bkfs {

namespace {
constexpr size_t kStreamAt = 1 << 20;  // unsettled bytes at the end before a stream is cut
constexpr size_t kDirtyLimit = 8 << 20;
}  // namespace

Content::Content(BlobWriter& writer, BlobReader& reader, const Chunker& chunker,
                 const std::vector<Extent>& extents, uint64_t size)
    : writer_(writer), reader_(reader), chunker_(chunker), size_(size) {
  uint64_t at = 0;
  pieces_.reserve(extents.size());
  for (const auto& extent : extents) {
    if (extent.length == 0) continue;
    pieces_.push_back({at, extent});
    at += extent.length;
  }
}

size_t Content::PieceAt(uint64_t offset) const {
  auto after = std::upper_bound(pieces_.begin(), pieces_.end(), offset,
                                [](uint64_t at, const Piece& piece) { return at < piece.start; });
  if (after == pieces_.begin()) return pieces_.size();
  const auto index = static_cast<size_t>(after - pieces_.begin()) - 1;
  return offset < pieces_[index].end() ? index : pieces_.size();
}

uint64_t Content::allocated() const {
  uint64_t bytes = 0;
  for (const auto& piece : pieces_) {
    if (!piece.extent.is_hole()) bytes += piece.extent.length;
  }
  for (const auto& [start, data] : dirty_) {
    if (start + data.size() > settled_size()) bytes += data.size();
  }
  return std::min(bytes, size_);
}

Status Content::ReadPiece(const Piece& piece, uint64_t from, MutableByteView out) {
  if (piece.extent.is_hole()) {
    std::memset(out.data(), 0, out.size());
    return {};
  }
  BKFS_ASSIGN(BlobData blob, reader_.Read(PackKind::kContents, piece.extent.blob));
  const uint64_t skip = piece.extent.offset + (from - piece.start);
  if (skip + out.size() > blob.bytes.size()) {
    return {Code::kCorrupt, "blob " + piece.extent.blob.hex() + " is too short"};
  }
  std::memcpy(out.data(), blob.bytes.data() + skip, out.size());
  return {};
}

Result<size_t> Content::Read(uint64_t offset, MutableByteView out) {
  if (offset >= size_) return size_t{0};
  const size_t want = std::min<uint64_t>(out.size(), size_ - offset);
  const uint64_t end = offset + want;
  // Bytes under a dirty range need not be read: a WriteOnly key could not.
  for (uint64_t at = offset; at < end;) {
    auto dirty = dirty_.upper_bound(at);
    if (dirty != dirty_.begin()) {
      auto before = std::prev(dirty);
      const uint64_t dirty_end = before->first + before->second.size();
      if (at < dirty_end) {
        const size_t take = std::min(end, dirty_end) - at;
        std::memcpy(out.data() + (at - offset), before->second.data() + (at - before->first), take);
        at += take;
        continue;
      }
    }
    uint64_t until = dirty == dirty_.end() ? end : std::min(end, dirty->first);
    const size_t index = PieceAt(at);
    MutableByteView part;
    if (index == pieces_.size()) {
      std::memset(out.data() + (at - offset), 0, until - at);
    } else {
      until = std::min(until, pieces_[index].end());
      part = out.subspan(at - offset, until - at);
      BKFS_TRY(ReadPiece(pieces_[index], at, part));
    }
    at = until;
  }
  return want;
}

void Content::DropDirty(uint64_t begin, uint64_t end) {
  auto it = dirty_.upper_bound(begin);
  if (it != dirty_.begin()) --it;
  while (it != dirty_.end() && it->first < end) {
    const uint64_t start = it->first;
    const uint64_t stop = start + it->second.size();
    if (stop <= begin) {
      ++it;
      continue;
    }
    Bytes data = std::move(it->second);
    it = dirty_.erase(it);
    dirty_bytes_ -= data.size();
    if (start < begin) {
      dirty_[start] = Bytes(data.begin(), data.begin() + static_cast<ptrdiff_t>(begin - start));
      dirty_bytes_ += begin - start;
    }
    if (stop > end) {
      dirty_[end] = Bytes(data.begin() + static_cast<ptrdiff_t>(end - start), data.end());
      dirty_bytes_ += stop - end;
    }
  }
}

Status Content::Write(uint64_t offset, ByteView data) {
  if (data.empty()) return {};
  const uint64_t end = offset + data.size();
  // The common case, a stream: grows the range that ends here.
  auto next = dirty_.upper_bound(offset);
  auto range = dirty_.end();
  if (next != dirty_.begin() && (next == dirty_.end() || next->first > end)) {
    auto before = std::prev(next);
    if (before->first + before->second.size() >= offset) range = before;
  }
  if (range != dirty_.end()) {
    const size_t at = offset - range->first;
    const size_t old = range->second.size();
    const size_t overlap = std::min(old - at, data.size());
    std::memcpy(range->second.data() + at, data.data(), overlap);
    Append(range->second, data.subspan(overlap));
    dirty_bytes_ += data.size() - overlap;
  } else {
    DropDirty(offset, end);
    Bytes merged(data.begin(), data.end());
    // Join neighbours, so that ranges stay apart from each other.
    auto after = dirty_.find(end);
    if (after != dirty_.end()) {
      Append(merged, after->second);
      dirty_.erase(after);
    }
    auto before = dirty_.lower_bound(offset);
    if (before != dirty_.begin() &&
        std::prev(before)->first + std::prev(before)->second.size() == offset) {
      Append(std::prev(before)->second, merged);
      range = std::prev(before);
    } else {
      range = dirty_.emplace(offset, std::move(merged)).first;
    }
    dirty_bytes_ += data.size();
  }
  size_ = std::max(size_, end);
  // With other ranges unsettled, looking back could miss their bytes: those wait for Settle.
  const bool stream = dirty_.size() == 1 && range->first + range->second.size() == size_;
  if (stream && range->second.size() >= kStreamAt) {
    const uint64_t start = range->first;
    Bytes data_so_far = std::move(range->second);
    dirty_.erase(range);
    dirty_bytes_ -= data_so_far.size();
    return SettleStream(start, data_so_far);
  }
  if (dirty_bytes_ > kDirtyLimit) return Settle();
  return {};
}

void Content::PushExtent(std::vector<Extent>& out, const Extent& extent) {
  if (extent.length == 0) return;
  if (!out.empty() && out.back().is_hole() && extent.is_hole()) {
    out.back().length += extent.length;
  } else {
    out.push_back(extent);
  }
}

Result<Extent> Content::Store(ByteView data) {
  Extent extent;
  extent.length = data.size();
  BKFS_ASSIGN(extent.blob, writer_.Add(PackKind::kContents, data));
  return extent;
}

void Content::Splice(uint64_t begin, uint64_t end, const std::vector<Extent>& with) {
  std::vector<Extent> middle;
  // The first piece that is touched.
  const auto first = static_cast<size_t>(
      std::partition_point(pieces_.begin(), pieces_.end(),
                           [&](const Piece& piece) { return piece.end() <= begin; }) -
      pieces_.begin());
  uint64_t at = first < pieces_.size() ? pieces_[first].start : settled_size();
  const uint64_t start = std::min(at, begin);
  if (first < pieces_.size() && pieces_[first].start < begin) {
    Extent head = pieces_[first].extent;
    head.length = begin - pieces_[first].start;
    PushExtent(middle, head);
  } else if (at < begin) {
    PushExtent(middle, {begin - at, 0, {}});
  }
  for (const auto& extent : with) PushExtent(middle, extent);
  size_t last = first;  // first piece that stays whole behind
  while (last < pieces_.size() && pieces_[last].end() <= end) ++last;
  if (last < pieces_.size() && pieces_[last].start < end) {
    Extent tail = pieces_[last].extent;
    const uint64_t cut = end - pieces_[last].start;
    if (!tail.is_hole()) tail.offset += static_cast<uint32_t>(cut);
    tail.length -= cut;
    PushExtent(middle, tail);
    ++last;
  }
  std::vector<Piece> fresh;
  at = first < pieces_.size() ? std::min(pieces_[first].start, start) : start;
  for (const auto& extent : middle) {
    fresh.push_back({at, extent});
    at += extent.length;
  }
  auto where = pieces_.erase(pieces_.begin() + static_cast<ptrdiff_t>(first),
                             pieces_.begin() + static_cast<ptrdiff_t>(last));
  pieces_.insert(where, fresh.begin(), fresh.end());
}

// Looks back to the beginning of the piece in which `start` lies, so that its new cut depends on
// its content alone. Stays at `start` where the old bytes cannot be read: the piece is sliced then.
Result<uint64_t> Content::PrependContext(uint64_t start, Bytes& buffer) {
  if (start == 0 || start == natural_end_ || pieces_.empty()) return start;
  size_t index = PieceAt(start);
  if (index == pieces_.size()) {
    if (start != settled_size()) return start;  // behind a gap
    index = pieces_.size() - 1;
    if (pieces_[index].extent.length >= chunker_.sizes().max) return start;
  }
  const Piece& piece = pieces_[index];
  if (piece.start == start || piece.extent.is_hole()) return start;
  Bytes before(start - piece.start);
  Status read = ReadPiece(piece, piece.start, before);
  if (read.Is(Code::kDenied)) return start;
  BKFS_TRY(read);
  Append(before, buffer);
  buffer = std::move(before);
  return piece.start;
}

// Takes the rest of the piece in which `end` lies into the buffer. False where there is nothing to
// take.
Result<bool> Content::AppendContext(uint64_t& end, Bytes& buffer) {
  const size_t index = PieceAt(end);
  if (index == pieces_.size() || pieces_[index].extent.is_hole()) return false;
  const Piece& piece = pieces_[index];
  const size_t before = buffer.size();
  buffer.resize(before + (piece.end() - end));
  Status read = ReadPiece(piece, end, MutableByteView(buffer).subspan(before));
  if (read.Is(Code::kDenied)) {
    buffer.resize(before);
    return false;
  }
  BKFS_TRY(read);
  end = piece.end();
  return true;
}

// Cuts the whole buffer, whose first byte is at `begin` and whose last is dirty, going on into old
// pieces until a new cut meets an old one. Returns where it ended.
Result<uint64_t> Content::CutAll(uint64_t begin, Bytes& buffer, std::vector<Extent>& out) {
  const uint64_t data_end = begin + buffer.size();
  uint64_t end = data_end;
  size_t at = 0;
  bool more = true;
  while (at < buffer.size()) {
    // Short of a full look-ahead: the piece may reach into what follows, unless a boundary is here
    // already.
    if (more && buffer.size() - at < chunker_.sizes().max) {
      const size_t index = PieceAt(end);
      const bool inside = index < pieces_.size() && pieces_[index].start < end;
      const bool follows = index < pieces_.size() && !pieces_[index].extent.is_hole();
      if (inside || follows) {
        BKFS_ASSIGN(more, AppendContext(end, buffer));
        continue;
      }
      more = false;
    }
    const size_t length = chunker_.Cut(ByteView(buffer).subspan(at));
    BKFS_ASSIGN(Extent extent, Store(ByteView(buffer).subspan(at, length)));
    out.push_back(extent);
    at += length;
    // A cut on an old boundary behind the change: all that follows would be cut as it is.
    const uint64_t position = begin + at;
    const size_t index = PieceAt(position);
    if (position >= data_end && index < pieces_.size() && pieces_[index].start == position) {
      return position;
    }
  }
  return end;
}

Status Content::SettleRange(uint64_t start, const Bytes& data) {
  Bytes buffer = data;
  BKFS_ASSIGN(uint64_t begin, PrependContext(start, buffer));
  std::vector<Extent> extents;
  BKFS_ASSIGN(uint64_t end, CutAll(begin, buffer, extents));
  Splice(begin, end, extents);
  natural_end_ = 0;
  return {};
}

// A stream at the end of the file: cuts all but the last piece, which may go on.
Status Content::SettleStream(uint64_t start, Bytes& data) {
  const uint64_t data_end = start + data.size();
  auto begin = PrependContext(start, data);
  uint64_t at_file = start;
  Status status = begin.status();
  std::vector<Extent> extents;
  size_t at = 0;
  if (begin.ok()) {
    at_file = *begin;
    while (status.ok() && data.size() - at >= chunker_.sizes().max) {
      const size_t length = chunker_.Cut(ByteView(data).subspan(at));
      auto extent = Store(ByteView(data).subspan(at, length));
      status = extent.status();
      if (!status.ok()) break;
      extents.push_back(*extent);
      at += length;
    }
  }
  if (!extents.empty()) {
    // What lay under the stream is replaced; settled bytes beyond the cut are under the dirty rest.
    Splice(at_file, at_file + at, extents);
    natural_end_ = at_file + at;
  }
  Bytes rest(data.begin() + static_cast<ptrdiff_t>(at), data.end());
  const uint64_t rest_start = data_end - rest.size();
  dirty_bytes_ += rest.size();
  if (!rest.empty()) dirty_[rest_start] = std::move(rest);
  return status;
}

Status Content::Settle() {
  while (!dirty_.empty()) {
    auto first = dirty_.begin();
    BKFS_TRY(SettleRange(first->first, first->second));
    dirty_bytes_ -= first->second.size();
    dirty_.erase(first);
  }
  if (settled_size() < size_) Splice(size_, size_, {});
  return {};
}

Status Content::Truncate(uint64_t size) {
  if (size < size_) {
    DropDirty(size, size_);
    if (settled_size() > size) {
      Splice(size, settled_size(), {});
      natural_end_ = 0;
    }
  }
  size_ = size;
  return {};
}

Status Content::PunchHole(uint64_t offset, uint64_t length) {
  if (offset >= size_) return {};
  const uint64_t end = offset + std::min(length, size_ - offset);
  DropDirty(offset, end);
  if (offset < settled_size()) {
    const uint64_t settled_end = std::min(end, settled_size());
    Splice(offset, settled_end, {{settled_end - offset, 0, {}}});
    natural_end_ = 0;
  }
  return {};
}

std::vector<Extent> Content::Extents() const {
  std::vector<Extent> out;
  out.reserve(pieces_.size());
  for (const auto& piece : pieces_) out.push_back(piece.extent);
  return out;
}

Result<uint64_t> Content::SeekData(uint64_t offset) const {
  for (uint64_t at = offset; at < size_;) {
    auto dirty = dirty_.upper_bound(at);
    if (dirty != dirty_.begin()) {
      auto before = std::prev(dirty);
      if (at < before->first + before->second.size()) return at;
    }
    const size_t index = PieceAt(at);
    if (index < pieces_.size() && !pieces_[index].extent.is_hole()) return at;
    uint64_t next = index < pieces_.size() ? pieces_[index].end() : size_;
    if (dirty != dirty_.end()) next = std::min(next, dirty->first);
    at = next;
  }
  return Status(Code::kNotFound, "no data after this offset");
}

Result<uint64_t> Content::SeekHole(uint64_t offset) const {
  if (offset >= size_) return Status(Code::kNotFound, "past the end of the file");
  for (uint64_t at = offset; at < size_;) {
    auto dirty = dirty_.upper_bound(at);
    if (dirty != dirty_.begin()) {
      auto before = std::prev(dirty);
      const uint64_t end = before->first + before->second.size();
      if (at < end) {
        at = end;
        continue;
      }
    }
    const size_t index = PieceAt(at);
    if (index == pieces_.size() || pieces_[index].extent.is_hole()) return at;
    at = pieces_[index].end();
  }
  return size_;
}

}  // namespace bkfs

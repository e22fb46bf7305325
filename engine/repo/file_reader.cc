// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/file_reader.h"

#include <algorithm>
#include <cstring>

namespace bkfs {

namespace {
constexpr size_t kRunsKept = 4;
}  // namespace

std::shared_ptr<const FileMap::Run> FileMap::MakeRun(uint64_t start, std::vector<Extent> extents) {
  auto run = std::make_shared<Run>();
  run->start = start;
  uint64_t at = start;
  run->starts.reserve(extents.size());
  for (const auto& extent : extents) {
    run->starts.push_back(at);
    at += extent.length;
  }
  run->end = at;
  run->extents = std::move(extents);
  return run;
}

Result<std::unique_ptr<FileMap>> FileMap::Open(TreeSource& trees, const Entry& entry) {
  if (entry.kind != EntryKind::kFile) {
    return Status(Code::kInvalid, "'" + entry.name + "' is not a regular file");
  }
  std::unique_ptr<FileMap> map(new FileMap(trees, entry.size));
  if (!entry.lists.empty()) {
    uint64_t bytes = 0;
    for (const auto& ref : entry.lists) bytes += ref.bytes;
    if (bytes != entry.size) {
      return Status(Code::kCorrupt, "the pieces of a file do not add up to its size");
    }
    map->lists_ = entry.lists;
  } else {
    auto run = MakeRun(0, entry.extents);
    if (run->end != entry.size) {
      return Status(Code::kCorrupt, "the pieces of a file do not add up to its size");
    }
    MutexLock lock(map->mutex_);
    map->runs_.push_back(std::move(run));
  }
  return map;
}

// Descends to the level 0 list that covers `offset`.
Result<std::shared_ptr<const FileMap::Run>> FileMap::LoadRun(uint64_t offset) {
  std::vector<ListRef> refs = lists_;
  uint64_t start = 0;
  for (int depth = 0; depth < 8; ++depth) {
    size_t i = 0;
    while (i < refs.size() && offset >= start + refs[i].bytes) start += refs[i++].bytes;
    if (i == refs.size()) break;
    BKFS_ASSIGN(auto list, trees_.LoadList(refs[i].blob));
    if (list->level == 0) {
      auto run = MakeRun(start, list->extents);
      if (run->end - start != refs[i].bytes) break;
      return run;
    }
    refs = list->lists;
  }
  return Status(Code::kCorrupt, "a file's extent lists do not cover it");
}

Result<FileMap::Piece> FileMap::Find(uint64_t offset) {
  std::shared_ptr<const Run> run;
  {
    MutexLock lock(mutex_);
    for (auto& known : runs_) {
      if (offset >= known->start && offset < known->end) {
        run = known;
        break;
      }
    }
  }
  if (!run) {
    BKFS_ASSIGN(run, LoadRun(offset));
    MutexLock lock(mutex_);
    runs_.insert(runs_.begin(), run);
    if (runs_.size() > kRunsKept) runs_.pop_back();
  }
  auto after = std::upper_bound(run->starts.begin(), run->starts.end(), offset);
  if (after == run->starts.begin()) return Status(Code::kCorrupt, "a file's extents have a gap");
  const auto index = static_cast<size_t>(after - run->starts.begin()) - 1;
  return Piece{run->starts[index], run->extents[index]};
}

Result<size_t> FileReader::Read(uint64_t offset, MutableByteView out) {
  const uint64_t size = map_->size();
  if (offset >= size) return size_t{0};
  const size_t want = std::min<uint64_t>(out.size(), size - offset);
  size_t done = 0;
  while (done < want) {
    BKFS_ASSIGN(FileMap::Piece piece, map_->Find(offset + done));
    const uint64_t skip = offset + done - piece.start;
    const size_t take = std::min<uint64_t>(want - done, piece.extent.length - skip);
    uint8_t* to = out.data() + done;
    if (piece.extent.is_hole()) {
      std::memset(to, 0, take);
    } else {
      BKFS_ASSIGN(BlobData blob, blobs_.Read(PackKind::kContents, piece.extent.blob));
      if (blob.bytes.size() < piece.extent.offset + skip + take) {
        return Status(Code::kCorrupt, "blob " + piece.extent.blob.hex() + " is too short");
      }
      std::memcpy(to, blob.bytes.data() + piece.extent.offset + skip, take);
    }
    done += take;
  }
  bool in_order = false;
  {
    MutexLock lock(mutex_);
    in_order = offset == expected_ && offset + done < size;
    expected_ = offset + done;
  }
  if (in_order) ReadAhead(offset + done);
  return done;
}

void FileReader::ReadAhead(uint64_t end) {
  uint64_t from = 0;
  uint64_t until = 0;
  {
    MutexLock lock(mutex_);
    if (window_ != 0 && ahead_ >= end + window_ / 2) return;
    // The further a reader goes, the likelier it is that it goes on.
    window_ = window_ == 0 ? blobs_.first_ahead() : std::min(window_ * 2, blobs_.most_ahead());
    from = std::max(ahead_, end);
    until = std::min(end + window_, map_->size());
    if (from >= until) return;
    ahead_ = until;
  }
  std::vector<BlobId> ids;
  while (from < until) {
    auto piece = map_->Find(from);
    if (!piece.ok()) break;  // met again by Read
    if (!piece->extent.is_hole()) ids.push_back(piece->extent.blob);
    from = piece->start + piece->extent.length;
  }
  blobs_.Prefetch(PackKind::kContents, ids);
}

Result<uint64_t> FileReader::SeekData(uint64_t offset) {
  while (offset < map_->size()) {
    BKFS_ASSIGN(FileMap::Piece piece, map_->Find(offset));
    if (!piece.extent.is_hole()) return offset;
    offset = piece.start + piece.extent.length;
  }
  return Status(Code::kNotFound, "no data after this offset");
}

Result<uint64_t> FileReader::SeekHole(uint64_t offset) {
  if (offset >= map_->size()) return Status(Code::kNotFound, "past the end of the file");
  while (offset < map_->size()) {
    BKFS_ASSIGN(FileMap::Piece piece, map_->Find(offset));
    if (piece.extent.is_hole()) return offset;
    offset = piece.start + piece.extent.length;
  }
  return map_->size();
}

}  // namespace bkfs

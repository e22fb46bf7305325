// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/file_contents.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "engine/repo/tree_writer.h"

namespace bkfs {

namespace {
constexpr uint64_t kReadSize = 1 << 20;
constexpr int kMaxLevels = 8;

// As pread(2) until `out` is full or the file ends; the count, or -1.
ssize_t ReadSome(int fd, MutableByteView out, uint64_t offset) {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n =
        ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return static_cast<ssize_t>(done);
}
}  // namespace

// One file on its way.
struct ContentsStorer::Reading {
  int fd;
  const Tick& tick;
  Status& source;
  ExtentWriter out;
  Bytes buffer;        // read and not cut yet
  bool ended = false;  // the file is shorter than it was
};

// Cuts the pieces that are sure: their length depends on no byte that has not been read.
Status ContentsStorer::CutBuffer(Reading& reading, bool last) {
  size_t used = 0;
  while (used < reading.buffer.size() &&
         (last || reading.buffer.size() - used >= chunker_.sizes().max)) {
    const ByteView rest = ByteView(reading.buffer).subspan(used);
    const size_t length = chunker_.Cut(rest);
    BKFS_ASSIGN(BlobId id, blobs_.Add(PackKind::kContents, rest.first(length)));
    BKFS_TRY(reading.out.Add({length, 0, id}));
    used += length;
  }
  reading.buffer.erase(reading.buffer.begin(),
                       reading.buffer.begin() + static_cast<ptrdiff_t>(used));
  return {};
}

// A range of data between holes. It is cut by itself: the same data behind a hole of another length
// gives the same pieces.
Status ContentsStorer::StoreRange(Reading& reading, uint64_t from, uint64_t to) {
  uint64_t at = from;
  while (at < to && !reading.ended) {
    const size_t before = reading.buffer.size();
    const auto want = static_cast<size_t>(std::min(kReadSize, to - at));
    reading.buffer.resize(before + want);
    const ssize_t n = ReadSome(reading.fd, MutableByteView(reading.buffer).subspan(before), at);
    if (n < 0) {
      reading.source = Status::FromErrno(errno, "read");
      return {};
    }
    reading.buffer.resize(before + static_cast<size_t>(n));
    at += static_cast<uint64_t>(n);
    reading.ended = static_cast<size_t>(n) < want;
    BKFS_TRY(reading.tick(static_cast<uint64_t>(n)));
    BKFS_TRY(CutBuffer(reading, at == to || reading.ended));
  }
  return {};
}

Status ContentsStorer::Store(int fd, uint64_t size, const Tick& tick, Entry& entry,
                             Status& source) {
  Reading reading{fd, tick, source, ExtentWriter(blobs_, local_), {}, false};
  const auto end = static_cast<off_t>(size);
  for (off_t at = 0; at < end && !reading.ended;) {
    off_t data = ::lseek(fd, at, SEEK_DATA);
    if (data < 0) data = errno == ENXIO ? end : at;  // nothing but a hole; it cannot tell
    data = std::min(data, end);
    if (data > at) BKFS_TRY(reading.out.Add({static_cast<uint64_t>(data - at), 0, {}}));
    if (data == end) break;
    off_t hole = ::lseek(fd, data, SEEK_HOLE);
    if (hole <= data || hole > end) hole = end;
    BKFS_TRY(StoreRange(reading, static_cast<uint64_t>(data), static_cast<uint64_t>(hole)));
    if (!source.ok()) return {};
    at = hole;
  }
  entry.size = reading.out.bytes();
  return reading.out.Finish(entry);
}

Result<bool> ContentsStorer::AreStored(const std::vector<Extent>& extents) {
  for (const auto& extent : extents) {
    if (extent.is_hole()) continue;
    BKFS_ASSIGN(bool there, blobs_.Has(PackKind::kContents, extent.blob));
    if (!there) return false;
  }
  return true;
}

Result<bool> ContentsStorer::AreListsStored(const std::vector<ListRef>& lists, TreeSource& trees,
                                            int depth) {
  if (depth == kMaxLevels) return false;
  for (const auto& ref : lists) {
    BKFS_ASSIGN(bool there, blobs_.Has(PackKind::kTrees, ref.blob));
    if (!there) return false;
    auto list = trees.LoadList(ref.blob);
    if (!list.ok()) return false;  // it can be read from the file instead
    BKFS_ASSIGN(there, AreStored((*list)->extents));
    if (!there) return false;
    BKFS_ASSIGN(there, AreListsStored((*list)->lists, trees, depth + 1));
    if (!there) return false;
  }
  return true;
}

Result<bool> ContentsStorer::IsStored(const Entry& entry, TreeSource& trees) {
  BKFS_ASSIGN(bool there, AreStored(entry.extents));
  if (!there) return false;
  return AreListsStored(entry.lists, trees, 0);
}

}  // namespace bkfs

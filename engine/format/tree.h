// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/bytes.h"
#include "engine/base/ids.h"

namespace bkfs {

enum class EntryKind : uint8_t {
  kFile = 1,
  kDirectory = 2,
  kSymlink = 3,
  kFifo = 4,
  kSocket = 5,
  kCharDevice = 6,
  kBlockDevice = 7,
};

struct Timestamp {
  int64_t seconds = 0;
  uint32_t nanos = 0;
  auto operator<=>(const Timestamp&) const = default;
};

struct TreeTotals {
  uint64_t files = 0;        // everything that is no directory
  uint64_t directories = 0;  // not counting the one itself
  uint64_t bytes = 0;        // sizes of regular files
  uint64_t linked = 0;       // entries with a link group
  auto operator<=>(const TreeTotals&) const = default;
  TreeTotals& operator+=(const TreeTotals& other);
};

struct Extent {
  uint64_t length = 0;
  uint32_t offset = 0;  // into the blob
  BlobId blob;          // zero: a hole
  bool is_hole() const { return blob.is_zero(); }
  auto operator<=>(const Extent&) const = default;
};

struct ListRef {
  uint64_t bytes = 0;
  BlobId blob;
  auto operator<=>(const ListRef&) const = default;
};

struct Xattr {
  std::string name;
  std::string value;
  auto operator<=>(const Xattr&) const = default;
};

// One directory entry, doc/format.md section 8. Names are raw bytes.
struct Entry {
  std::string name;
  EntryKind kind = EntryKind::kFile;
  uint16_t mode = 0;  // low 12 bits
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::string user;
  std::string group;
  Timestamp mtime;
  Timestamp ctime;
  Timestamp btime;
  uint64_t size = 0;
  uint64_t rdev = 0;  // as stat(2)'s st_rdev
  uint32_t nlink = 1;
  uint64_t link_group = 0;
  std::string target;
  std::vector<Xattr> xattrs;  // sorted by name
  std::vector<Extent> extents;
  std::vector<ListRef> lists;
  BlobId directory;  // of a directory; zero: empty directory
  TreeTotals totals;

  bool is_directory() const { return kind == EntryKind::kDirectory; }
};

constexpr size_t kMaxTreeBlob = 8 << 20;
constexpr size_t kMaxName = 255;

struct Child {
  std::string first_name;
  BlobId blob;
  uint64_t entries = 0;
};

// A verified directory blob. Entries are decoded one at a time; names are found by binary search
// without decoding. Owns its bytes. Immutable, thread-safe.
class DirectoryView {
 public:
  // kCorrupt unless every rule of section 8 that one blob can show holds (names, order, kinds, sums
  // of extents).
  static Result<std::shared_ptr<const DirectoryView>> Parse(Bytes blob);
  ~DirectoryView();

  uint8_t level() const;
  uint64_t count() const;  // entries of the whole directory below this blob
  TreeTotals totals() const;
  size_t bytes() const;  // memory held

  size_t entries() const;                     // at level 0
  std::string_view name(size_t index) const;  // valid as long as the view
  EntryKind kind(size_t index) const;
  Entry entry(size_t index) const;
  std::optional<size_t> Find(std::string_view name) const;
  // Index of the first entry whose name is not below `name`; entries() if none.
  size_t LowerBound(std::string_view name) const;

  size_t children() const;  // above level 0
  Child child(size_t index) const;
  // The child that holds `name` if any does.
  size_t ChildFor(std::string_view name) const;

 private:
  DirectoryView();
  struct Rep;
  std::unique_ptr<Rep> rep_;
};

// Makes level 0 blobs: Add entries in name order, then Finish.
class DirectoryEncoder {
 public:
  DirectoryEncoder();
  ~DirectoryEncoder();
  void Add(const Entry& entry);
  size_t size() const;  // bytes so far, about
  size_t entries() const;
  Bytes Finish();  // ready for the next one after
 private:
  struct Rep;
  std::unique_ptr<Rep> rep_;
};
// Level >= 1.
Bytes EncodeDirectoryNode(uint8_t level, const std::vector<Child>& children,
                          const TreeTotals& totals);

// A single Entry with no limits on its place: for the root in a snapshot and for local journals.
// Its contents need not add up to its size, and its name is not checked.
Bytes EncodeEntry(const Entry& entry);
Result<Entry> DecodeEntry(ByteView bytes);
// Names of 1 to 255 bytes without '/' and NUL, not "." or "..".
bool IsValidName(std::string_view name);

struct ExtentListBlob {
  uint8_t level = 0;
  std::vector<Extent> extents;  // level 0
  std::vector<ListRef> lists;   // above
};
Bytes EncodeExtentList(const ExtentListBlob& list);
Result<ExtentListBlob> DecodeExtentList(ByteView blob);

}  // namespace bkfs

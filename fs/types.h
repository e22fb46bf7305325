// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "engine/format/tree.h"
#include "engine/staging/staging.h"

namespace bkfs {

// Inode numbers. The top four bits name the view an inode belongs to, so that every operation finds
// its view without a table; the rest is the view's own. They are never pointers: a number that is
// not known (any more) is kStale.
using Ino = uint64_t;
enum class ViewTag : uint8_t { kTop = 0, kSnapshots = 1, kLinks = 2, kIncoming = 3 };
constexpr int kTagShift = 60;
constexpr Ino kNumberMask = (Ino{1} << kTagShift) - 1;
constexpr Ino MakeIno(ViewTag tag, uint64_t number) {
  return Ino{static_cast<uint8_t>(tag)} << kTagShift | (number & kNumberMask);
}
constexpr ViewTag TagOf(Ino ino) { return static_cast<ViewTag>(ino >> kTagShift); }
constexpr uint64_t NumberOf(Ino ino) { return ino & kNumberMask; }

constexpr Ino kRootIno = 1;  // FUSE wants it so
constexpr Ino kSnapshotsIno = MakeIno(ViewTag::kSnapshots, 0);
constexpr Ino kLatestIno = MakeIno(ViewTag::kLinks, 1);
constexpr Ino kByNameIno = MakeIno(ViewTag::kLinks, 2);
constexpr Ino kIncomingIno = MakeIno(ViewTag::kIncoming, 0);

// Who asks.
struct Caller {
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint16_t umask = 0;
  bool is_root() const { return uid == 0; }
};

// What stat(2) shows.
struct Attr {
  Ino ino = 0;
  EntryKind kind = EntryKind::kFile;
  uint16_t mode = 0;  // low 12 bits
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 1;
  uint64_t size = 0;
  uint64_t allocated = 0;  // bytes
  uint64_t rdev = 0;
  Timestamp atime;
  Timestamp mtime;
  Timestamp ctime;
  Timestamp btime;
};

// How long the kernel may keep what it was told.
constexpr uint32_t kKeepForever = UINT32_MAX;
constexpr uint32_t kKeepShort = 1000;

struct Node {
  Attr attr;
  uint32_t keep_ms = kKeepForever;  // name and attributes
};

struct DirItem {
  std::string_view name;
  uint64_t next = 0;  // where reading goes on after this one
  Ino ino = 0;
  EntryKind kind = EntryKind::kFile;
  const Node* node = nullptr;  // with its lookup counted; null: name and kind only
};
// False: it did not fit; reading stops, and what was counted for it is given back.
using DirSink = std::function<bool(const DirItem&)>;

struct SetAttrRequest {
  AttrChange change;
  bool mtime_now = false;
};

struct OpenRequest {
  bool write = false;
  bool truncate = false;
};

// How an open file or directory is to be treated.
struct Opened {
  uint64_t handle = 0;
  bool direct_io = false;
  bool keep_cache = false;
  bool flush = false;  // close() must ask
};

// statfs(2), in bytes; zeros: the store cannot tell.
struct SpaceInfo {
  uint64_t total = 0;
  uint64_t available = 0;
};

}  // namespace bkfs

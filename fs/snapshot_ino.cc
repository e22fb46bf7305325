// SPDX-License-Identifier: Apache-2.0
#include "fs/snapshot_ino.h"

#include <algorithm>

#include "engine/crypto/hash.h"

namespace bkfs {

namespace {
PathKey KeyOf(std::string_view what, ByteView parent, ByteView name) {
  Hash256 hash = HashParts({AsBytes(what), parent, name});
  PathKey key;
  std::copy_n(hash.begin(), key.size(), key.begin());
  return key;
}

HashedIno Numbered(const Hash256& hash) {
  return {MakeIno(ViewTag::kSnapshots, Load<uint64_t>(hash.data())),
          Load<uint64_t>(hash.data() + 8)};
}

void AppendText(Bytes& out, std::string_view text) {
  AppendInt(out, static_cast<uint32_t>(text.size()));
  Append(out, AsBytes(text));
}

void AppendTime(Bytes& out, const Timestamp& time) {
  AppendInt(out, time.seconds);
  AppendInt(out, time.nanos);
}

// Everything about the entry that can be seen through the mount, but its name.
void AppendIdentity(Bytes& out, const Entry& entry) {
  out.push_back(static_cast<uint8_t>(entry.kind));
  AppendInt(out, entry.mode);
  AppendInt(out, entry.uid);
  AppendInt(out, entry.gid);
  AppendInt(out, entry.nlink);
  AppendInt(out, entry.size);
  AppendInt(out, entry.rdev);
  AppendTime(out, entry.mtime);
  AppendTime(out, entry.ctime);
  AppendTime(out, entry.btime);
  AppendText(out, entry.target);
  AppendInt(out, static_cast<uint32_t>(entry.xattrs.size()));
  for (const Xattr& xattr : entry.xattrs) {
    AppendText(out, xattr.name);
    AppendText(out, xattr.value);
  }
  AppendInt(out, static_cast<uint32_t>(entry.extents.size()));
  for (const Extent& extent : entry.extents) {
    AppendInt(out, extent.length);
    AppendInt(out, extent.offset);
    Append(out, extent.blob.view());
  }
  for (const ListRef& list : entry.lists) {
    AppendInt(out, list.bytes);
    Append(out, list.blob.view());
  }
}
}  // namespace

DirKeys RootKeys(const SnapshotId& snapshot) {
  return {snapshot, KeyOf("snapshot", snapshot.view(), {}), PathKey{}};
}

DirKeys ChildKeys(const DirKeys& parent, std::string_view name) {
  return {parent.snapshot, KeyOf("dir", parent.with_snapshot, AsBytes(name)),
          KeyOf("path", parent.without_snapshot, AsBytes(name))};
}

HashedIno InoOfDirectory(const DirKeys& keys) {
  return Numbered(HashParts({AsBytes("directory"), keys.with_snapshot}));
}

HashedIno InoOfEntry(const DirKeys& parent, const Entry& entry) {
  Bytes bytes;
  bytes.reserve(256);
  if (entry.link_group != 0) {
    Append(bytes, AsBytes("linked"));
    Append(bytes, parent.snapshot.view());
    AppendInt(bytes, entry.link_group);
  } else {
    Append(bytes, AsBytes("entry"));
    Append(bytes, parent.without_snapshot);
    AppendText(bytes, entry.name);
    AppendIdentity(bytes, entry);
  }
  return Numbered(HashBytes(bytes));
}

}  // namespace bkfs

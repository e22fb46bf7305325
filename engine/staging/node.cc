// SPDX-License-Identifier: Apache-2.0
#include "engine/staging/node.h"

#include <algorithm>
#include <bit>

namespace bkfs {

namespace {
constexpr uint8_t kNodeVersion = 1;
constexpr uint8_t kSeriesVersion = 2;  // 1: without last.lease, lost and inherited
constexpr uint8_t kLoaded = 1;
constexpr uint8_t kClean = 2;
constexpr uint8_t kOrphan = 4;

Status Unreadable(const char* what) {
  return {Code::kCorrupt, std::string("journal: a ") + what + " record is unreadable"};
}

void AppendBigEndian(Bytes& out, uint64_t value) {
  for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<uint8_t>(value >> shift));
}
}  // namespace

Bytes EncodeNode(const Node& node) {
  Bytes out{kNodeVersion,
            static_cast<uint8_t>((node.loaded ? kLoaded : 0) | (node.clean ? kClean : 0) |
                                 (node.orphan ? kOrphan : 0))};
  AppendInt(out, node.parent);
  Append(out, node.name_hash);
  Append(out, EncodeEntry(node.entry));
  return out;
}

Result<Node> DecodeNode(NodeId id, ByteView bytes) {
  ByteReader in(bytes);
  Node node;
  node.id = id;
  if (in.Take<uint8_t>() != kNodeVersion) return Unreadable("node");
  const auto flags = in.Take<uint8_t>();
  node.loaded = (flags & kLoaded) != 0;
  node.clean = (flags & kClean) != 0;
  node.orphan = (flags & kOrphan) != 0;
  node.parent = in.Take<uint64_t>();
  ByteView hash = in.TakeBytes(node.name_hash.size());
  if (!in.ok()) return Unreadable("node");
  std::copy(hash.begin(), hash.end(), node.name_hash.begin());
  // FlatBuffers wants aligned memory.
  ByteView rest = in.TakeBytes(in.remaining());
  const Bytes aligned(rest.begin(), rest.end());
  BKFS_ASSIGN(node.entry, DecodeEntry(aligned));
  return node;
}

Bytes EncodeDirent(const Dirent& dirent) {
  Bytes out;
  AppendInt(out, dirent.node);
  out.push_back(static_cast<uint8_t>(dirent.kind));
  Append(out, AsBytes(dirent.name));
  return out;
}

Result<Dirent> DecodeDirent(ByteView bytes) {
  ByteReader in(bytes);
  Dirent dirent;
  dirent.node = in.Take<uint64_t>();
  dirent.kind = static_cast<EntryKind>(in.Take<uint8_t>());
  if (!in.ok()) return Unreadable("directory");
  dirent.name = AsText(in.TakeBytes(in.remaining()));
  return dirent;
}

Bytes EncodeSeries(const SeriesRecord& series) {
  Bytes out{kSeriesVersion, static_cast<uint8_t>(series.ended),
            static_cast<uint8_t>(series.changed)};
  AppendInt(out, series.root);
  Append(out, series.last.snapshot.view());
  AppendInt(out, series.last_snapshot_ns);
  AppendInt(out, static_cast<uint32_t>(series.name.size()));
  Append(out, AsBytes(series.name));
  Append(out, series.last.lease.view());
  const Bytes lost = series.lost.Encode();
  AppendInt(out, static_cast<uint32_t>(lost.size()));
  Append(out, lost);
  Append(out, series.inherited.snapshot.view());
  Append(out, series.inherited.lease.view());
  AppendInt(out, static_cast<uint32_t>(series.inherited.root.size()));
  Append(out, series.inherited.root);
  Append(out, series.last.root);
  return out;
}

Result<SeriesRecord> DecodeSeries(ByteView bytes) {
  ByteReader in(bytes);
  SeriesRecord series;
  const auto version = in.Take<uint8_t>();
  if (version == 0 || version > kSeriesVersion) return Unreadable("series");
  series.ended = in.Take<uint8_t>() != 0;
  series.changed = in.Take<uint8_t>() != 0;
  series.root = in.Take<uint64_t>();
  auto snapshot = SnapshotId::FromBytes(in.TakeBytes(SnapshotId::kSize));
  series.last_snapshot_ns = in.Take<int64_t>();
  const auto length = in.Take<uint32_t>();
  series.name = AsText(in.TakeBytes(length));
  if (!in.ok() || !snapshot.ok()) return Unreadable("series");
  series.last.snapshot = *snapshot;
  if (version > 1) {
    auto lease = LeaseId::FromBytes(in.TakeBytes(LeaseId::kSize));
    ByteView lost = in.TakeBytes(in.Take<uint32_t>());
    auto from = SnapshotId::FromBytes(in.TakeBytes(SnapshotId::kSize));
    auto from_lease = LeaseId::FromBytes(in.TakeBytes(LeaseId::kSize));
    ByteView from_root = in.TakeBytes(in.Take<uint32_t>());
    if (!in.ok() || !lease.ok() || !from.ok() || !from_lease.ok()) return Unreadable("series");
    series.last.lease = *lease;
    series.inherited = {*from, *from_lease, Bytes(from_root.begin(), from_root.end())};
    BKFS_ASSIGN(series.lost, LostFiles::Decode(lost));
  }
  ByteView root = in.TakeBytes(in.remaining());
  series.last.root.assign(root.begin(), root.end());
  return series;
}

namespace journal_keys {
namespace {
Bytes Key(char type, uint64_t number) {
  Bytes key{static_cast<uint8_t>(type)};
  AppendBigEndian(key, number);
  return key;
}
}  // namespace

Bytes NodeKey(NodeId node) { return Key('n', node); }
Bytes DirPrefix(NodeId dir) { return Key('d', dir); }
Bytes DirentKey(NodeId dir, const NameHash& name) {
  Bytes key = Key('d', dir);
  Append(key, name);
  return key;
}
Bytes LinkPrefix(NodeId node) { return Key('h', node); }
Bytes LinkKey(NodeId node, NodeId parent, const NameHash& name) {
  Bytes key = Key('h', node);
  AppendBigEndian(key, parent);
  Append(key, name);
  return key;
}
Bytes GroupKey(uint64_t generation, uint64_t link_group) {
  Bytes key = Key('g', generation << kNodeBits);
  AppendBigEndian(key, link_group);
  return key;
}
Bytes OrphanKey(NodeId node) { return Key('o', node); }
Bytes OrphanPrefix() { return {'o'}; }
Bytes SeriesKey(const NameHash& name) {
  Bytes key{'s'};
  Append(key, name);
  return key;
}
Bytes SeriesPrefix() { return {'s'}; }
Bytes MetaKey(std::string_view what) {
  Bytes key{'m'};
  Append(key, AsBytes(what));
  return key;
}
}  // namespace journal_keys

}  // namespace bkfs

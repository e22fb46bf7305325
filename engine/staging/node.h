// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <string>

#include "engine/base/ids.h"
#include "engine/format/tree.h"
#include "engine/staging/lost_files.h"
#include "engine/staging/staging.h"

namespace bkfs {

// Keyed hash of a name: what stands for it in the journal's keys.
using NameHash = std::array<uint8_t, 16>;

// A node as the journal holds it. Guarded by the staging tree's lock.
struct Node {
  NodeId id = 0;
  NodeId parent = 0;     // 0 for a series' root; for files with several names, one of them
  NameHash name_hash{};  // of its name in `parent`
  bool loaded = true;    // directory: its entries are in the journal, not only in entry.directory
  bool clean = false;    // directory: entry.directory and entry.totals are its present state
  bool orphan = false;   // no name left, kept for open handles
  Entry entry;           // name is empty; a directory's nlink is not kept

  bool is_directory() const { return entry.is_directory(); }
};
using NodePtr = std::shared_ptr<Node>;  // shared by the node cache and operations under way

Bytes EncodeNode(const Node& node);
Result<Node> DecodeNode(NodeId id, ByteView bytes);

struct Dirent {
  NodeId node = 0;
  EntryKind kind = EntryKind::kFile;
  std::string name;
};
Bytes EncodeDirent(const Dirent& dirent);
Result<Dirent> DecodeDirent(ByteView bytes);

// A snapshot that a tree goes on from: what the journal does not have of the tree is in there.
struct TreeBase {
  SnapshotId snapshot;
  LeaseId lease;  // that it was made under; zero: not known
  Bytes root;     // EncodeEntry of its root; empty: there is no such snapshot
};

// A series as the journal holds it.
struct SeriesRecord {
  std::string name;
  NodeId root = 0;
  bool ended = false;    // not shown in /incoming
  bool changed = false;  // differs from last.root
  TreeBase last;         // the series' last snapshot
  int64_t last_snapshot_ns = 0;
  LostFiles lost;  // since the last snapshot that something was written for
  // After a renaming, until the first snapshot under the new name: what the tree goes on from.
  TreeBase inherited;
  const TreeBase& base() const { return inherited.root.empty() ? last : inherited; }
};
Bytes EncodeSeries(const SeriesRecord& series);
Result<SeriesRecord> DecodeSeries(ByteView bytes);

// Journal keys. Numbers are big endian, so that a prefix of a number's high bytes is a range.
namespace journal_keys {
Bytes NodeKey(NodeId node);
Bytes DirPrefix(NodeId dir);
Bytes DirentKey(NodeId dir, const NameHash& name);
Bytes LinkPrefix(NodeId node);  // other names of a file
Bytes LinkKey(NodeId node, NodeId parent, const NameHash& name);
Bytes GroupKey(uint64_t generation, uint64_t link_group);  // link group -> node
Bytes OrphanKey(NodeId node);
Bytes OrphanPrefix();
Bytes SeriesKey(const NameHash& name);
Bytes SeriesPrefix();
Bytes MetaKey(std::string_view what);
}  // namespace journal_keys

// Node numbers carry the generation of their tree in the high bits, so that a whole tree can be
// dropped from the journal by ranges.
constexpr int kNodeBits = 28;
inline uint64_t GenerationOf(NodeId node) { return node >> kNodeBits; }

}  // namespace bkfs

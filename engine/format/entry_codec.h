// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/format/flatbuffer.h"
#include "engine/format/tree.h"
#include "tree_generated.h"

// Entries, extents and totals between FlatBuffers and the types of tree.h. Private to this folder.
namespace bkfs {

// What the vectors of a buffer may hold in sum before they must be sharing their bytes: verified
// tables may share vectors, which would make a small buffer mean endless work.
class VectorBudget {
 public:
  explicit VectorBudget(size_t buffer_size) : left_(buffer_size) {}
  bool Spend(size_t bytes) {
    if (bytes > left_) return false;
    left_ -= bytes;
    return true;
  }

 private:
  size_t left_;
};

enum class EntryRules {
  kInDirectory,  // everything: contents add up to the size
  kAlone,        // what one entry needs to be read: root of a snapshot, local journal
};

// The first rule of doc/format.md section 8 that the entry breaks, or null. Names are not looked
// at.
const char* EntryFault(const fb::Entry& entry, EntryRules rules, VectorBudget& budget);
using ExtentVector = flatbuffers::Vector<const fb::Extent*>;
using ListVector = flatbuffers::Vector<const fb::ListRef*>;
// The same for a sequence of extents or lists; adds its bytes to `total`.
const char* ExtentsFault(const ExtentVector* extents, VectorBudget& budget, uint64_t& total);
const char* ListsFault(const ListVector* lists, VectorBudget& budget, uint64_t& total);

Entry ReadEntry(const fb::Entry& from);
TreeTotals ReadTotals(const fb::Totals* from);
std::vector<Extent> ReadExtents(const ExtentVector* from);
std::vector<ListRef> ReadLists(const ListVector* from);

flatbuffers::Offset<fb::Entry> PutEntry(flatbuffers::FlatBufferBuilder& builder,
                                        const Entry& entry);
flatbuffers::Offset<ExtentVector> PutExtents(flatbuffers::FlatBufferBuilder& builder,
                                             const std::vector<Extent>& extents);
flatbuffers::Offset<ListVector> PutLists(flatbuffers::FlatBufferBuilder& builder,
                                         const std::vector<ListRef>& lists);
inline fb::Totals PutTotals(const TreeTotals& t) {
  return {t.files, t.directories, t.bytes, t.linked};
}
// What an entry adds to the totals of its directory.
TreeTotals TotalsOf(EntryKind kind, uint64_t size, bool linked, const TreeTotals& below);

}  // namespace bkfs

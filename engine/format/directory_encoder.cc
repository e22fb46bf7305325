// SPDX-License-Identifier: Apache-2.0
#include "engine/format/entry_codec.h"
#include "engine/format/tree.h"

namespace bkfs {

struct DirectoryEncoder::Rep {
  flatbuffers::FlatBufferBuilder builder{16 << 10};
  std::vector<flatbuffers::Offset<fb::Entry>> entries;
  std::string last_name;
  TreeTotals totals;
};

DirectoryEncoder::DirectoryEncoder() : rep_(std::make_unique<Rep>()) {}
DirectoryEncoder::~DirectoryEncoder() = default;

void DirectoryEncoder::Add(const Entry& entry) {
  BKFS_CHECK(IsValidName(entry.name) && rep_->last_name < entry.name);
  rep_->last_name = entry.name;
  rep_->entries.push_back(PutEntry(rep_->builder, entry));
  rep_->totals += TotalsOf(entry.kind, entry.size, entry.link_group != 0, entry.totals);
}

size_t DirectoryEncoder::size() const {
  return rep_->builder.GetSize() + rep_->entries.size() * sizeof(flatbuffers::uoffset_t);
}

size_t DirectoryEncoder::entries() const { return rep_->entries.size(); }

Bytes DirectoryEncoder::Finish() {
  auto& builder = rep_->builder;
  auto entries = builder.CreateVector(rep_->entries);
  auto totals = PutTotals(rep_->totals);
  builder.Finish(fb::CreateDirectory(builder, 0, entries, 0, rep_->entries.size(), &totals));
  Bytes out = BuilderBytes(builder);
  builder.Clear();
  rep_->entries.clear();
  rep_->last_name.clear();
  rep_->totals = {};
  return out;
}

Bytes EncodeDirectoryNode(uint8_t level, const std::vector<Child>& children,
                          const TreeTotals& totals) {
  BKFS_CHECK(level >= 1);
  flatbuffers::FlatBufferBuilder builder(children.size() * 96 + 256);
  std::vector<flatbuffers::Offset<fb::Child>> parts;
  uint64_t count = 0;
  for (const Child& child : children) {
    auto name = PutBytes(builder, AsBytes(child.first_name));
    auto blob = ToStruct<fb::Id32>(child.blob.bytes);
    parts.push_back(fb::CreateChild(builder, name, &blob, child.entries));
    count += child.entries;
  }
  auto children_at = builder.CreateVector(parts);
  auto totals_struct = PutTotals(totals);
  builder.Finish(fb::CreateDirectory(builder, level, 0, children_at, count, &totals_struct));
  return BuilderBytes(builder);
}

}  // namespace bkfs

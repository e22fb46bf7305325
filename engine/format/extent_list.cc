// SPDX-License-Identifier: Apache-2.0
#include "engine/format/entry_codec.h"
#include "engine/format/tree.h"

namespace bkfs {

namespace {
constexpr size_t kBytesPerTable = 16;

const char* ListFault(const fb::ExtentList& list, VectorBudget& budget) {
  bool extents = list.extents() != nullptr && list.extents()->size() > 0;
  bool lists = list.lists() != nullptr && list.lists()->size() > 0;
  if (list.level() == 0 && lists) return "lists at level 0";
  if (list.level() > 0 && extents) return "extents above level 0";
  if (!extents && !lists) return "nothing in it";
  uint64_t total = 0;
  if (const char* fault = ExtentsFault(list.extents(), budget, total)) return fault;
  return ListsFault(list.lists(), budget, total);
}
}  // namespace

Bytes EncodeExtentList(const ExtentListBlob& list) {
  flatbuffers::FlatBufferBuilder builder(256 + list.extents.size() * sizeof(fb::Extent) +
                                         list.lists.size() * sizeof(fb::ListRef));
  auto extents = PutExtents(builder, list.extents);
  auto lists = PutLists(builder, list.lists);
  builder.Finish(fb::CreateExtentList(builder, list.level, extents, lists));
  return BuilderBytes(builder);
}

Result<ExtentListBlob> DecodeExtentList(ByteView blob) {
  const char* fault = "fields that do not parse";
  if (blob.size() <= kMaxTreeBlob) {
    AlignedView aligned(blob);
    const auto* root = VerifiedRoot<fb::ExtentList>(aligned.view(), kBytesPerTable);
    VectorBudget budget(blob.size());
    if (root != nullptr) fault = ListFault(*root, budget);
    if (fault == nullptr) {
      return ExtentListBlob{root->level(), ReadExtents(root->extents()), ReadLists(root->lists())};
    }
  }
  return Status(Code::kCorrupt, std::string("extent list is damaged: it has ") + fault);
}

}  // namespace bkfs

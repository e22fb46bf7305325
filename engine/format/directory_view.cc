// SPDX-License-Identifier: Apache-2.0
#include "engine/format/entry_codec.h"
#include "engine/format/tree.h"

namespace bkfs {

namespace {
constexpr size_t kBytesPerTable = 16;

using EntryVector = flatbuffers::Vector<flatbuffers::Offset<fb::Entry>>;
using ChildVector = flatbuffers::Vector<flatbuffers::Offset<fb::Child>>;

// The first rule that a level 0 blob breaks, or null; `at` tells the entry.
const char* LeafFault(const fb::Directory& directory, VectorBudget& budget, size_t& at) {
  if (directory.children() != nullptr && directory.children()->size() > 0) {
    return "children at level 0";
  }
  TreeTotals totals;
  std::string_view last;
  size_t count = directory.entries() == nullptr ? 0 : directory.entries()->size();
  for (at = 0; at < count; ++at) {
    const fb::Entry& entry = *directory.entries()->Get(static_cast<flatbuffers::uoffset_t>(at));
    std::string_view name = TextOf(entry.name());
    if (!IsValidName(name)) return "a bad name";
    if (name <= last) return "names out of order";
    if (!budget.Spend(name.size())) return "shared names";
    last = name;
    if (const char* fault = EntryFault(entry, EntryRules::kInDirectory, budget)) return fault;
    totals += TotalsOf(static_cast<EntryKind>(entry.kind()), entry.size(), entry.link_group() != 0,
                       ReadTotals(entry.totals()));
  }
  if (directory.count() != count) return "a wrong count";
  if (ReadTotals(directory.totals()) != totals) return "wrong totals";
  return nullptr;
}

const char* NodeFault(const fb::Directory& directory, VectorBudget& budget, size_t& at) {
  if (directory.entries() != nullptr && directory.entries()->size() > 0) {
    return "entries above level 0";
  }
  if (directory.children() == nullptr || directory.children()->size() == 0) return "no children";
  uint64_t count = 0;
  std::string_view last;
  for (at = 0; at < directory.children()->size(); ++at) {
    const fb::Child& child = *directory.children()->Get(static_cast<flatbuffers::uoffset_t>(at));
    std::string_view name = TextOf(child.first_name());
    if (!IsValidName(name)) return "a bad name";
    if (name <= last) return "names out of order";
    if (!budget.Spend(name.size())) return "shared names";
    last = name;
    BlobId blob;
    FromStruct(child.blob(), blob.bytes);
    if (blob.is_zero() || child.entries() == 0) return "an empty child";
    if (__builtin_add_overflow(count, child.entries(), &count)) return "an impossible count";
  }
  return directory.count() == count ? nullptr : "a wrong count";
}

Status Damaged(const std::string& what) {
  return {Code::kCorrupt, "directory blob is damaged: it has " + what};
}

// Index of the first item whose name is not below `name`.
template <typename Vector, typename NameOf>
size_t FirstNotBelow(const Vector* items, std::string_view name, NameOf name_of) {
  size_t low = 0;
  size_t high = items == nullptr ? 0 : items->size();
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (name_of(*items->Get(static_cast<flatbuffers::uoffset_t>(middle))) < name) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

std::string_view EntryName(const fb::Entry& entry) { return TextOf(entry.name()); }
std::string_view ChildName(const fb::Child& child) { return TextOf(child.first_name()); }
}  // namespace

struct DirectoryView::Rep {
  Bytes blob;
  const fb::Directory* root = nullptr;  // into blob

  const fb::Entry& Entry(size_t index) const {
    BKFS_CHECK(root->entries() != nullptr && index < root->entries()->size());
    return *root->entries()->Get(static_cast<flatbuffers::uoffset_t>(index));
  }
};

DirectoryView::DirectoryView() : rep_(std::make_unique<Rep>()) {}
DirectoryView::~DirectoryView() = default;

Result<std::shared_ptr<const DirectoryView>> DirectoryView::Parse(Bytes blob) {
  if (blob.size() > kMaxTreeBlob) return Damaged("more than 8 MiB");
  // Shared: handles, the kernel's inodes and the cache hold one view at the same time.
  std::shared_ptr<DirectoryView> out(new DirectoryView);
  out->rep_->blob = std::move(blob);
  const Bytes& bytes = out->rep_->blob;
  const auto* root = VerifiedRoot<fb::Directory>(bytes, kBytesPerTable);
  if (root == nullptr) return Damaged("fields that do not parse");
  out->rep_->root = root;
  VectorBudget budget(bytes.size());
  size_t at = 0;
  const char* fault =
      root->level() == 0 ? LeafFault(*root, budget, at) : NodeFault(*root, budget, at);
  if (fault != nullptr) return Damaged(std::string(fault) + " (entry " + std::to_string(at) + ")");
  return std::shared_ptr<const DirectoryView>(std::move(out));
}

uint8_t DirectoryView::level() const { return rep_->root->level(); }
uint64_t DirectoryView::count() const { return rep_->root->count(); }
TreeTotals DirectoryView::totals() const { return ReadTotals(rep_->root->totals()); }
size_t DirectoryView::bytes() const { return rep_->blob.capacity() + sizeof(Rep) + sizeof *this; }

size_t DirectoryView::entries() const {
  return rep_->root->entries() == nullptr ? 0 : rep_->root->entries()->size();
}
std::string_view DirectoryView::name(size_t index) const { return EntryName(rep_->Entry(index)); }
EntryKind DirectoryView::kind(size_t index) const {
  return static_cast<EntryKind>(rep_->Entry(index).kind());
}
Entry DirectoryView::entry(size_t index) const { return ReadEntry(rep_->Entry(index)); }

size_t DirectoryView::LowerBound(std::string_view name) const {
  return FirstNotBelow<EntryVector>(rep_->root->entries(), name, EntryName);
}

std::optional<size_t> DirectoryView::Find(std::string_view name) const {
  size_t index = LowerBound(name);
  if (index == entries() || this->name(index) != name) return std::nullopt;
  return index;
}

size_t DirectoryView::children() const {
  return rep_->root->children() == nullptr ? 0 : rep_->root->children()->size();
}

Child DirectoryView::child(size_t index) const {
  BKFS_CHECK(index < children());
  const fb::Child& from = *rep_->root->children()->Get(static_cast<flatbuffers::uoffset_t>(index));
  Child out;
  out.first_name = ChildName(from);
  FromStruct(from.blob(), out.blob.bytes);
  out.entries = from.entries();
  return out;
}

size_t DirectoryView::ChildFor(std::string_view name) const {
  size_t index = FirstNotBelow<ChildVector>(rep_->root->children(), name, ChildName);
  bool exact =
      index < children() &&
      ChildName(*rep_->root->children()->Get(static_cast<flatbuffers::uoffset_t>(index))) == name;
  return exact || index == 0 ? index : index - 1;
}

}  // namespace bkfs

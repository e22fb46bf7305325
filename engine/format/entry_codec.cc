// SPDX-License-Identifier: Apache-2.0
#include "engine/format/entry_codec.h"

#include "engine/codec/frame_codec.h"
#include "snapshot_generated.h"

namespace bkfs {

namespace {
constexpr uint32_t kNanosPerSecond = 1'000'000'000;
constexpr uint16_t kModeBits = 07777;
constexpr size_t kBytesPerTable = 16;
constexpr uint8_t kLastKind = static_cast<uint8_t>(EntryKind::kBlockDevice);

static_assert(sizeof(fb::Extent) == 48 && sizeof(fb::ListRef) == 40);

bool HasNul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

// The verifier looks at where a vector's length lies, not at where its 8-byte elements do.
template <typename Struct>
bool IsAligned(const flatbuffers::Vector<const Struct*>* structs) {
  return structs->size() == 0 ||
         reinterpret_cast<uintptr_t>(structs->Data()) % alignof(Struct) == 0;
}

const char* XattrsFault(const fb::Entry& entry, VectorBudget& budget) {
  if (entry.xattrs() == nullptr) return nullptr;
  if (!budget.Spend(entry.xattrs()->size() * sizeof(uint32_t))) return "shared xattrs";
  std::string_view last;
  for (const fb::Xattr* xattr : *entry.xattrs()) {
    std::string_view name = TextOf(xattr->name());
    if (!budget.Spend(name.size()) || !budget.Spend(TextOf(xattr->value()).size())) {
      return "shared xattrs";
    }
    if (name.empty() || name.size() > kMaxName || HasNul(name)) return "a bad xattr name";
    if (name <= last) return "xattrs out of order";
    last = name;
  }
  return nullptr;
}

const char* ContentsFault(const fb::Entry& entry, EntryRules rules, VectorBudget& budget) {
  bool extents = entry.extents() != nullptr && entry.extents()->size() > 0;
  bool lists = entry.lists() != nullptr && entry.lists()->size() > 0;
  if (entry.kind() != static_cast<uint8_t>(EntryKind::kFile)) {
    return extents || lists ? "contents of what is no file" : nullptr;
  }
  if (extents && lists) return "both extents and lists";
  uint64_t total = 0;
  if (const char* fault = ExtentsFault(entry.extents(), budget, total)) return fault;
  if (const char* fault = ListsFault(entry.lists(), budget, total)) return fault;
  if (rules == EntryRules::kInDirectory && total != entry.size()) {
    return "contents that do not add up to the size";
  }
  return nullptr;
}
}  // namespace

const char* ExtentsFault(const ExtentVector* extents, VectorBudget& budget, uint64_t& total) {
  if (extents == nullptr) return nullptr;
  if (!IsAligned(extents)) return "misaligned extents";
  if (!budget.Spend(size_t{extents->size()} * sizeof(fb::Extent))) return "shared extents";
  for (const fb::Extent* extent : *extents) {
    BlobId blob;
    FromStruct(&extent->blob(), blob.bytes);
    if (!blob.is_zero() && (extent->length() > kMaxFramePlain ||
                            extent->offset() + extent->length() > kMaxFramePlain)) {
      return "an extent larger than a blob can be";
    }
    if (extent->reserved() != 0) return "a reserved field in use";
    if (__builtin_add_overflow(total, extent->length(), &total)) return "an impossible size";
  }
  return nullptr;
}

const char* ListsFault(const ListVector* lists, VectorBudget& budget, uint64_t& total) {
  if (lists == nullptr) return nullptr;
  if (!IsAligned(lists)) return "misaligned lists";
  if (!budget.Spend(size_t{lists->size()} * sizeof(fb::ListRef))) return "shared lists";
  for (const fb::ListRef* list : *lists) {
    BlobId blob;
    FromStruct(&list->blob(), blob.bytes);
    if (blob.is_zero()) return "a list without a blob";
    if (__builtin_add_overflow(total, list->bytes(), &total)) return "an impossible size";
  }
  return nullptr;
}

const char* EntryFault(const fb::Entry& entry, EntryRules rules, VectorBudget& budget) {
  if (entry.kind() < 1 || entry.kind() > kLastKind) return "an unknown kind";
  if ((entry.mode() & ~kModeBits) != 0) return "mode bits beyond the low 12";
  if (entry.mtime_ns() >= kNanosPerSecond || entry.ctime_ns() >= kNanosPerSecond ||
      entry.btime_ns() >= kNanosPerSecond) {
    return "a bad time";
  }
  std::string_view target = TextOf(entry.target());
  bool symlink = entry.kind() == static_cast<uint8_t>(EntryKind::kSymlink);
  if (target.empty() == symlink || HasNul(target)) return "a bad link target";
  if (!budget.Spend(target.size())) return "shared link targets";
  bool directory = entry.kind() == static_cast<uint8_t>(EntryKind::kDirectory);
  if (entry.directory() != nullptr && !directory) return "a directory blob of what is none";
  if (const char* fault = XattrsFault(entry, budget)) return fault;
  return ContentsFault(entry, rules, budget);
}

TreeTotals ReadTotals(const fb::Totals* from) {
  if (from == nullptr) return {};
  return {from->files(), from->directories(), from->bytes(), from->linked()};
}

std::vector<Extent> ReadExtents(const ExtentVector* from) {
  std::vector<Extent> out;
  if (from == nullptr) return out;
  out.resize(from->size());
  for (flatbuffers::uoffset_t i = 0; i < from->size(); ++i) {
    out[i].length = from->Get(i)->length();
    out[i].offset = from->Get(i)->offset();
    FromStruct(&from->Get(i)->blob(), out[i].blob.bytes);
  }
  return out;
}

std::vector<ListRef> ReadLists(const ListVector* from) {
  std::vector<ListRef> out;
  if (from == nullptr) return out;
  out.resize(from->size());
  for (flatbuffers::uoffset_t i = 0; i < from->size(); ++i) {
    out[i].bytes = from->Get(i)->bytes();
    FromStruct(&from->Get(i)->blob(), out[i].blob.bytes);
  }
  return out;
}

Entry ReadEntry(const fb::Entry& from) {
  Entry out;
  out.name = TextOf(from.name());
  out.kind = static_cast<EntryKind>(from.kind());
  out.mode = from.mode();
  out.uid = from.uid();
  out.gid = from.gid();
  out.user = TextOf(from.user());
  out.group = TextOf(from.group());
  out.mtime = {from.mtime(), from.mtime_ns()};
  out.ctime = {from.ctime(), from.ctime_ns()};
  out.btime = {from.btime(), from.btime_ns()};
  out.size = from.size();
  out.rdev = from.rdev();
  out.nlink = from.nlink();
  out.link_group = from.link_group();
  out.target = TextOf(from.target());
  if (from.xattrs() != nullptr) {
    out.xattrs.reserve(from.xattrs()->size());
    for (const fb::Xattr* xattr : *from.xattrs()) {
      out.xattrs.push_back(
          {std::string(TextOf(xattr->name())), std::string(TextOf(xattr->value()))});
    }
  }
  out.extents = ReadExtents(from.extents());
  out.lists = ReadLists(from.lists());
  FromStruct(from.directory(), out.directory.bytes);
  out.totals = ReadTotals(from.totals());
  return out;
}

flatbuffers::Offset<ExtentVector> PutExtents(flatbuffers::FlatBufferBuilder& builder,
                                             const std::vector<Extent>& extents) {
  if (extents.empty()) return 0;
  fb::Extent* raw = nullptr;
  auto at = builder.CreateUninitializedVectorOfStructs(extents.size(), &raw);
  for (size_t i = 0; i < extents.size(); ++i) {
    raw[i] = fb::Extent(extents[i].length, extents[i].offset, 0,
                        ToStruct<fb::Id32>(extents[i].blob.bytes));
  }
  return at.o;
}

flatbuffers::Offset<ListVector> PutLists(flatbuffers::FlatBufferBuilder& builder,
                                         const std::vector<ListRef>& lists) {
  if (lists.empty()) return 0;
  fb::ListRef* raw = nullptr;
  auto at = builder.CreateUninitializedVectorOfStructs(lists.size(), &raw);
  for (size_t i = 0; i < lists.size(); ++i) {
    raw[i] = fb::ListRef(lists[i].bytes, ToStruct<fb::Id32>(lists[i].blob.bytes));
  }
  return at.o;
}

flatbuffers::Offset<fb::Entry> PutEntry(flatbuffers::FlatBufferBuilder& builder,
                                        const Entry& entry) {
  auto name = PutBytes(builder, AsBytes(entry.name));
  // One owner has most entries of a directory.
  auto shared = [&builder](const std::string& text) {
    return text.empty() ? flatbuffers::Offset<flatbuffers::String>()
                        : builder.CreateSharedString(text);
  };
  auto user = shared(entry.user);
  auto group = shared(entry.group);
  auto target = PutBytes(builder, AsBytes(entry.target));
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<fb::Xattr>>> xattrs;
  if (!entry.xattrs.empty()) {
    std::vector<flatbuffers::Offset<fb::Xattr>> parts;
    for (const Xattr& xattr : entry.xattrs) {
      auto xattr_name = PutBytes(builder, AsBytes(xattr.name));
      auto value = PutBytes(builder, AsBytes(xattr.value));
      parts.push_back(fb::CreateXattr(builder, xattr_name, value));
    }
    xattrs = builder.CreateVector(parts);
  }
  auto extents = PutExtents(builder, entry.extents);
  auto lists = PutLists(builder, entry.lists);
  auto directory = ToStruct<fb::Id32>(entry.directory.bytes);
  auto totals = PutTotals(entry.totals);
  bool is_directory = entry.is_directory();
  return fb::CreateEntry(builder, name, static_cast<uint8_t>(entry.kind), entry.mode & kModeBits,
                         entry.uid, entry.gid, user, group, entry.mtime.seconds, entry.mtime.nanos,
                         entry.ctime.seconds, entry.ctime.nanos, entry.btime.seconds,
                         entry.btime.nanos, entry.size, entry.rdev, entry.nlink, entry.link_group,
                         target, xattrs, extents, lists, is_directory ? &directory : nullptr,
                         is_directory ? &totals : nullptr);
}

TreeTotals TotalsOf(EntryKind kind, uint64_t size, bool linked, const TreeTotals& below) {
  TreeTotals out;
  if (kind == EntryKind::kDirectory) {
    out = below;
    ++out.directories;
  } else {
    out.files = 1;
    out.bytes = kind == EntryKind::kFile ? size : 0;
  }
  out.linked += linked ? 1 : 0;
  return out;
}

TreeTotals& TreeTotals::operator+=(const TreeTotals& other) {
  files += other.files;
  directories += other.directories;
  bytes += other.bytes;
  linked += other.linked;
  return *this;
}

bool IsValidName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxName && name != "." && name != ".." &&
         name.find('/') == std::string_view::npos && !HasNul(name);
}

Bytes EncodeEntry(const Entry& entry) {
  flatbuffers::FlatBufferBuilder builder(512);
  auto at = PutEntry(builder, entry);
  builder.Finish(fb::CreateRoot(builder, at));
  return BuilderBytes(builder);
}

Result<Entry> DecodeEntry(ByteView bytes) {
  AlignedView aligned(bytes);
  const auto* root = VerifiedRoot<fb::Root>(aligned.view(), kBytesPerTable);
  const char* fault = "fields that do not parse";
  if (root != nullptr && root->entry() != nullptr) {
    VectorBudget budget(bytes.size());
    fault = EntryFault(*root->entry(), EntryRules::kAlone, budget);
  }
  if (fault == nullptr) return ReadEntry(*root->entry());
  return Status(Code::kCorrupt, std::string("entry is damaged: it has ") + fault);
}

}  // namespace bkfs

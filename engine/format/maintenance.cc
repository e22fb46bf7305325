// SPDX-License-Identifier: Apache-2.0
#include "engine/format/maintenance.h"

#include <algorithm>

#include "engine/format/entry_codec.h"
#include "engine/format/envelope.h"
#include "engine/format/flatbuffer.h"
#include "maintenance_generated.h"

namespace bkfs {

namespace {
constexpr std::string_view kEntryMagic = "BKFSCOND";
constexpr std::string_view kRemovalMagic = "BKFSREMO";
constexpr std::string_view kFenceMagic = "BKFSFENC";
constexpr std::string_view kClosureMagic = "BKFSCLOS";
constexpr std::string_view kEntryWhat = "maintenance log entry";
constexpr std::string_view kRemovalWhat = "removal";
constexpr std::string_view kFenceWhat = "lease fence";
constexpr std::string_view kClosureWhat = "lease closure";
constexpr size_t kBytesPerTable = 16;

Status Damaged(std::string_view what, std::string_view why) {
  return {Code::kCorrupt, std::string(what) + " is damaged: " + std::string(why)};
}

// Ascending, as the decoder wants them.
template <typename Struct, typename IdType>
auto PutSorted(flatbuffers::FlatBufferBuilder& builder, const std::vector<IdType>& ids) {
  BKFS_CHECK(std::is_sorted(ids.begin(), ids.end()));
  return PutIds<Struct>(builder, ids);
}

// False when they are not in ascending order, each once, or share their bytes with another list.
template <typename Struct, typename IdType>
bool TakeIds(const flatbuffers::Vector<const Struct*>* from, VectorBudget& budget,
             std::vector<IdType>& out) {
  if (from == nullptr) return true;
  if (!budget.Spend(from->size() * sizeof(Struct))) return false;
  out.reserve(from->size());
  for (const Struct* raw : *from) {
    IdType id;
    FromStruct(raw, id.bytes);
    if (!out.empty() && id <= out.back()) return false;
    out.push_back(id);
  }
  return true;
}

// Splits the object and gives its body to `read`, which gets the verified root table
// and what its lists may hold.
template <typename Table, typename Value, typename Read>
Result<Value> DecodeBody(ByteView object, std::string_view magic, std::string_view what,
                         const Read& read) {
  BKFS_ASSIGN(SignedObject parts, SplitSigned(object, magic, what));
  AlignedView body(parts.body);
  const auto* root = VerifiedRoot<Table>(body.view(), kBytesPerTable);
  if (root == nullptr || root->signer() == nullptr) return Damaged(what, "its fields do not parse");
  Value out;
  FromStruct(root->signer(), out.signer.bytes);
  out.time_ns = root->time_ns();
  VectorBudget budget(parts.body.size());
  BKFS_TRY(read(*root, budget, out));
  return out;
}
}  // namespace

Bytes EncodeLogEntry(const LogEntry& entry, const RepoId& repo, const SigningKey& key) {
  BKFS_CHECK(entry.signer == key.id() && entry.base >= 1 && entry.base <= entry.number);
  flatbuffers::FlatBufferBuilder builder;
  auto condemned = PutSorted<fb::Id32>(builder, entry.condemned);
  auto doomed = PutSorted<fb::Id32>(builder, entry.doomed);
  auto signer = ToStruct<fb::Id16>(entry.signer.bytes);
  auto nonce = ToStruct<fb::Id16>(entry.nonce);
  builder.Finish(fb::CreateLogEntry(builder, &signer, entry.number, entry.base, &nonce,
                                    entry.time_ns, condemned, doomed));
  return EncodeSigned(kEntryMagic, repo, BuilderBytes(builder), key);
}

Bytes EncodeRemoval(const Removal& removal, const RepoId& repo, const SigningKey& key) {
  BKFS_CHECK(removal.signer == key.id());
  flatbuffers::FlatBufferBuilder builder;
  auto snapshots = PutSorted<fb::Id16>(builder, removal.snapshots);
  auto signer = ToStruct<fb::Id16>(removal.signer.bytes);
  builder.Finish(fb::CreateRemoval(builder, &signer, removal.time_ns, snapshots));
  return EncodeSigned(kRemovalMagic, repo, BuilderBytes(builder), key);
}

Bytes EncodeFence(const Fence& fence, const RepoId& repo, const SigningKey& key) {
  BKFS_CHECK(fence.signer == key.id());
  flatbuffers::FlatBufferBuilder builder;
  auto signer = ToStruct<fb::Id16>(fence.signer.bytes);
  auto lease = ToStruct<fb::Id16>(fence.lease.bytes);
  builder.Finish(fb::CreateFence(builder, &signer, &lease, fence.time_ns));
  return EncodeSigned(kFenceMagic, repo, BuilderBytes(builder), key);
}

Bytes EncodeClosure(const Closure& closure, const RepoId& repo, const SigningKey& key) {
  BKFS_CHECK(closure.signer == key.id());
  flatbuffers::FlatBufferBuilder builder;
  auto accepted = PutSorted<fb::Id16>(builder, closure.accepted);
  auto signer = ToStruct<fb::Id16>(closure.signer.bytes);
  auto lease = ToStruct<fb::Id16>(closure.lease.bytes);
  builder.Finish(fb::CreateClosure(builder, &signer, &lease, closure.time_ns, accepted));
  return EncodeSigned(kClosureMagic, repo, BuilderBytes(builder), key);
}

Result<LogEntry> DecodeLogEntry(ByteView object) {
  return DecodeBody<fb::LogEntry, LogEntry>(
      object, kEntryMagic, kEntryWhat,
      [](const fb::LogEntry& root, VectorBudget& budget, LogEntry& out) -> Status {
        out.number = root.number();
        out.base = root.base();
        FromStruct(root.nonce(), out.nonce);
        if (out.base == 0 || out.base > out.number) return Damaged(kEntryWhat, "bad numbers");
        if (!TakeIds(root.condemned(), budget, out.condemned) ||
            !TakeIds(root.doomed(), budget, out.doomed)) {
          return Damaged(kEntryWhat, "its packs are out of order");
        }
        return {};
      });
}

Result<Removal> DecodeRemoval(ByteView object) {
  return DecodeBody<fb::Removal, Removal>(
      object, kRemovalMagic, kRemovalWhat,
      [](const fb::Removal& root, VectorBudget& budget, Removal& out) -> Status {
        if (TakeIds(root.snapshots(), budget, out.snapshots)) return {};
        return Damaged(kRemovalWhat, "its snapshot ids are out of order");
      });
}

Result<Fence> DecodeFence(ByteView object) {
  return DecodeBody<fb::Fence, Fence>(
      object, kFenceMagic, kFenceWhat,
      [](const fb::Fence& root, VectorBudget&, Fence& out) -> Status {
        FromStruct(root.lease(), out.lease.bytes);
        if (out.lease.is_zero()) return Damaged(kFenceWhat, "it names no lease");
        return {};
      });
}

Result<Closure> DecodeClosure(ByteView object) {
  return DecodeBody<fb::Closure, Closure>(
      object, kClosureMagic, kClosureWhat,
      [](const fb::Closure& root, VectorBudget& budget, Closure& out) -> Status {
        FromStruct(root.lease(), out.lease.bytes);
        // In snapshot records zeros say that there was no lease: a closure must not be of those.
        if (out.lease.is_zero()) return Damaged(kClosureWhat, "it names no lease");
        if (TakeIds(root.accepted(), budget, out.accepted)) return {};
        return Damaged(kClosureWhat, "its snapshot ids are out of order");
      });
}

Status VerifyMaintenance(ByteView object, const RepoId& repo, const PublicKey& signer) {
  if (object.size() < sizeof(Signature)) return {Code::kCorrupt, "it is cut short"};
  if (VerifySigned(object, repo, signer, "it").ok()) return {};
  return {Code::kCorrupt, "it has a bad signature: it was changed or forged"};
}

SnapshotId AcceptanceIdOf(ByteView object) { return ShortIdOf<SnapshotId>(object); }

RemovalId RemovalIdOf(ByteView object) { return ShortIdOf<RemovalId>(object); }

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/format/snapshot.h"

#include "engine/format/entry_codec.h"
#include "engine/format/envelope.h"
#include "engine/format/flatbuffer.h"
#include "snapshot_generated.h"

namespace bkfs {

namespace {
constexpr std::string_view kMagic = "BKFSSNAP";
constexpr std::string_view kWhat = "snapshot record";
constexpr std::string_view kSignedContext = "bkfs snapshot v1";
constexpr uint32_t kMaxBox = 16 << 20;
constexpr size_t kBytesPerTable = 16;

Status Damaged(std::string_view why) {
  return {Code::kCorrupt, "snapshot record is damaged: " + std::string(why)};
}

struct ParsedRecord {
  SnapshotEnvelope envelope;
  ByteView box;  // valid as long as the object's bytes
  Signature signature{};
};

Result<ParsedRecord> ParseRecord(ByteView object) {
  ByteReader reader(object);
  BKFS_TRY(TakeMagic(reader, kMagic, kWhat));
  ParsedRecord out;
  auto take_id = [&reader](auto& id) {
    ByteView raw = reader.TakeBytes(id.bytes.size());
    if (!raw.empty()) std::memcpy(id.bytes.data(), raw.data(), raw.size());
  };
  out.envelope.epoch = reader.Take<uint32_t>();
  take_id(out.envelope.repo);
  take_id(out.envelope.signer);
  out.envelope.seq = reader.Take<uint64_t>();
  take_id(out.envelope.prev);
  uint32_t size = reader.Take<uint32_t>();
  if (size <= kMaxBox) out.box = reader.TakeBytes(size);
  ByteView signature = reader.TakeBytes(out.signature.size());
  if (size > kMaxBox || !reader.ok() || reader.remaining() != 0) {
    return Damaged("it has the wrong length: it was cut or added to");
  }
  if (out.envelope.epoch == 0 || out.envelope.seq == 0) return Damaged("epoch or number is zero");
  std::memcpy(out.signature.data(), signature.data(), signature.size());
  return out;
}

Bytes SignedMessage(ByteView before_signature) {
  Bytes message;
  message.reserve(kSignedContext.size() + before_signature.size());
  Append(message, AsBytes(kSignedContext));
  Append(message, before_signature);
  return message;
}

Bytes EncodeBody(const SnapshotBody& body) {
  flatbuffers::FlatBufferBuilder builder;
  auto name = PutText(builder, body.name);
  auto host = PutText(builder, body.host);
  auto user = PutText(builder, body.user);
  auto tags = builder.CreateVectorOfStrings(body.tags);
  auto paths = builder.CreateVectorOfStrings(body.paths);
  auto program = PutText(builder, body.program);
  auto root = PutBytes(builder, body.sealed_root);
  auto totals = PutTotals(body.totals);
  auto parent = ToStruct<fb::Id16>(body.parent.bytes);
  auto lease = ToStruct<fb::Id16>(body.lease.bytes);
  builder.Finish(fb::CreateSnapshot(builder, name, host, user, body.time_ns, body.end_ns, &totals,
                                    body.added, tags, paths, &parent, program, root,
                                    body.lease.is_zero() ? nullptr : &lease));
  return BuilderBytes(builder);
}

using StringVector = flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>;
// False when the strings share their bytes, which asks for more memory than the record justifies.
bool ReadStrings(const StringVector* from, VectorBudget& budget, std::vector<std::string>& out) {
  if (from == nullptr) return true;
  if (!budget.Spend(from->size() * sizeof(flatbuffers::uoffset_t))) return false;
  for (const flatbuffers::String* text : *from) {
    if (!budget.Spend(text->size())) return false;
    out.emplace_back(TextOf(text));
  }
  return true;
}
}  // namespace

SnapshotId SnapshotIdOf(ByteView object) { return ShortIdOf<SnapshotId>(object); }

Bytes SealRoot(const Entry& root, const PublicKey& tree_key) {
  BKFS_CHECK(root.name.empty() && root.is_directory());
  return SealBox(tree_key, EncodeEntry(root));
}

Result<Entry> OpenRoot(ByteView sealed_root, const BoxKey& tree_key) {
  BKFS_ASSIGN(Secret plain, tree_key.Open(sealed_root));
  BKFS_ASSIGN(Entry root, DecodeEntry(plain.view()));
  if (!root.name.empty() || !root.is_directory()) {
    return Damaged("its root is not a nameless directory");
  }
  return root;
}

Bytes EncodeSnapshot(const SnapshotEnvelope& envelope, const SnapshotBody& body,
                     const PublicKey& log_key, const SigningKey& signer) {
  BKFS_CHECK(envelope.signer == signer.id() && envelope.seq > 0 && envelope.epoch > 0);
  BKFS_CHECK(CheckSeriesName(body.name).ok());
  Bytes box = SealBox(log_key, EncodeBody(body));
  BKFS_CHECK(box.size() <= kMaxBox);
  Bytes out;
  Append(out, AsBytes(kMagic));
  AppendInt(out, kFormatVersion);
  AppendInt(out, envelope.epoch);
  Append(out, envelope.repo.view());
  Append(out, envelope.signer.view());
  AppendInt(out, envelope.seq);
  Append(out, envelope.prev.view());
  AppendInt(out, static_cast<uint32_t>(box.size()));
  Append(out, box);
  Append(out, signer.Sign(SignedMessage(out)));
  return out;
}

Result<SnapshotEnvelope> DecodeSnapshotEnvelope(ByteView object, const RepoId& repo) {
  BKFS_ASSIGN(ParsedRecord record, ParseRecord(object));
  if (record.envelope.repo != repo) {
    return Status(Code::kCorrupt, "snapshot record belongs to another repository (" +
                                      record.envelope.repo.hex() + "): it was put here");
  }
  return record.envelope;
}

Status VerifySnapshotSignature(ByteView object, const PublicKey& signer) {
  BKFS_ASSIGN(ParsedRecord record, ParseRecord(object));
  ByteView covered = object.first(object.size() - record.signature.size());
  if (record.envelope.signer == KeyIdOf(signer) &&
      VerifySignature(signer, SignedMessage(covered), record.signature)) {
    return {};
  }
  return {Code::kCorrupt, "snapshot record has a bad signature: it was changed, or key " +
                              record.envelope.signer.hex() + " did not make it"};
}

Result<SnapshotBody> OpenSnapshotBody(ByteView object, const BoxKey& log_key) {
  BKFS_ASSIGN(ParsedRecord record, ParseRecord(object));
  Result<Secret> plain = log_key.Open(record.box);
  if (!plain.ok()) return plain.status().WithContext(kWhat);
  AlignedView aligned(plain->view());
  const auto* root = VerifiedRoot<fb::Snapshot>(aligned.view(), kBytesPerTable);
  if (root == nullptr) return Damaged("its fields do not parse");
  SnapshotBody out;
  VectorBudget budget(plain->size());
  if (!ReadStrings(root->tags(), budget, out.tags) ||
      !ReadStrings(root->paths(), budget, out.paths)) {
    return Damaged("its texts share their bytes");
  }
  out.name = TextOf(root->name());
  out.host = TextOf(root->host());
  out.user = TextOf(root->user());
  out.time_ns = root->time_ns();
  out.end_ns = root->end_ns();
  out.totals = ReadTotals(root->totals());
  out.added = root->added();
  FromStruct(root->parent(), out.parent.bytes);
  FromStruct(root->lease(), out.lease.bytes);
  out.program = TextOf(root->program());
  ByteView sealed_root = BytesOf(root->root());
  out.sealed_root.assign(sealed_root.begin(), sealed_root.end());
  if (!CheckSeriesName(out.name).ok()) return Damaged("its name is not a series name");
  if (out.sealed_root.size() <= kBoxOverhead) return Damaged("it has no root");
  return out;
}

}  // namespace bkfs

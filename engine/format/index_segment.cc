// SPDX-License-Identifier: Apache-2.0
#include "engine/codec/frame_codec.h"
#include "engine/format/envelope.h"
#include "engine/format/flatbuffer.h"
#include "engine/format/pack.h"
#include "pack_generated.h"

namespace bkfs {

namespace {
constexpr std::string_view kMagic = "BKFSINDX";
constexpr uint8_t kSealKind = 'I';
constexpr size_t kBytesPerPack = 100;  // its id and signature alone take 96
constexpr uint64_t kSmallestPack = kPackHeader + kSealOverhead + sizeof(Signature) + kPackTrailer;

Status Damaged(std::string_view why) {
  return {Code::kCorrupt, "index segment is damaged: " + std::string(why)};
}

Result<IndexedPack> ReadPack(const fb::IndexedPack& from, size_t& budget) {
  IndexedPack out;
  ByteView footer = BytesOf(from.footer());
  ByteView signature = BytesOf(from.signature());
  if (from.id() == nullptr || footer.empty() || signature.size() != out.footer.signature.size()) {
    return Damaged("a pack's entry is incomplete");
  }
  // Entries that share one footer's bytes would make a small segment ask for much memory.
  if (footer.size() > budget) return Damaged("its packs share their footers");
  budget -= footer.size();
  FromStruct(from.id(), out.id.bytes);
  out.size = from.size();
  if (out.size > kMaxPack || out.size < kSmallestPack + footer.size()) {
    return Damaged("a pack has an impossible size");
  }
  out.footer.body.assign(footer.begin(), footer.end());
  std::memcpy(out.footer.signature.data(), signature.data(), signature.size());
  return out;
}
}  // namespace

Bytes EncodeIndexSegment(const IndexSegment& segment, Cipher cipher, ByteView index_key,
                         const RepoId& repo) {
  // As large as it will be: growing would hold the bytes twice. And nothing stays longer than it is
  // needed, for segments hold tens of MiB.
  size_t expected = 4096;
  for (const IndexedPack& pack : segment.packs)
    expected += pack.footer.body.size() + 2 * kBytesPerPack;
  flatbuffers::FlatBufferBuilder builder(expected);
  std::vector<flatbuffers::Offset<fb::IndexedPack>> packs;
  for (const IndexedPack& pack : segment.packs) {
    auto footer = builder.CreateVector(pack.footer.body.data(), pack.footer.body.size());
    auto signature =
        builder.CreateVector(pack.footer.signature.data(), pack.footer.signature.size());
    auto id = ToStruct<fb::Id32>(pack.id.bytes);
    packs.push_back(fb::CreateIndexedPack(builder, &id, pack.size, footer, signature));
  }
  auto packs_at = builder.CreateVector(packs);
  auto replaces_at = PutIds<fb::Id32>(builder, segment.replaces);
  builder.Finish(fb::CreateIndexSegment(builder, packs_at, replaces_at, segment.as_of));
  BKFS_CHECK(builder.GetSize() <= kMaxIndexPlain);
  Bytes packed = CompressMetadata({builder.GetBufferPointer(), builder.GetSize()});
  builder.Reset();
  const Bytes sealed = SealSalted(cipher, index_key, repo, kSealKind, packed);
  packed = Bytes();
  Bytes out;
  out.reserve(kMagic.size() + 2 * sizeof(uint32_t) + sealed.size());
  Append(out, AsBytes(kMagic));
  AppendInt(out, kFormatVersion);
  AppendInt(out, uint32_t{0});
  Append(out, sealed);
  return out;
}

Result<IndexSegment> DecodeIndexSegment(ByteView object, ByteView index_key, const RepoId& repo) {
  ByteReader reader(object);
  BKFS_TRY(TakeMagic(reader, kMagic, "index segment"));
  if (reader.Take<uint32_t>() != 0 || !reader.ok()) return Damaged("its beginning");
  Result<Bytes> packed =
      OpenSalted(index_key, repo, kSealKind, reader.TakeBytes(reader.remaining()));
  if (!packed.ok()) return packed.status().WithContext("index segment");
  BKFS_ASSIGN(Bytes plain, DecompressMetadata(*packed, kMaxIndexPlain));
  packed = Bytes();
  const auto* root = VerifiedRoot<fb::IndexSegment>(plain, kBytesPerPack);
  if (root == nullptr) return Damaged("its fields do not parse");
  IndexSegment out;
  out.as_of = root->as_of();
  size_t budget = plain.size();
  if (root->packs() != nullptr) {
    out.packs.reserve(root->packs()->size());
    for (const fb::IndexedPack* pack : *root->packs()) {
      BKFS_ASSIGN(IndexedPack read, ReadPack(*pack, budget));
      out.packs.push_back(std::move(read));
    }
  }
  if (root->replaces() != nullptr) {
    out.replaces.resize(root->replaces()->size());
    for (size_t i = 0; i < out.replaces.size(); ++i) {
      FromStruct(root->replaces()->Get(static_cast<flatbuffers::uoffset_t>(i)),
                 out.replaces[i].bytes);
    }
  }
  return out;
}

}  // namespace bkfs

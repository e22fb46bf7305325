// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/targets.h"

#include "backends/s3/s3_url.h"
#include "backends/s3/s3_xml.h"
#include "engine/codec/frame_codec.h"
#include "engine/crypto/aead.h"
#include "engine/crypto/hash.h"
#include "engine/format/epoch.h"
#include "engine/format/lease.h"
#include "engine/format/maintenance.h"
#include "engine/format/pack.h"
#include "engine/format/snapshot.h"
#include "engine/format/tree.h"
#include "tests/fuzz/fixture.h"

namespace bkfs::fuzz {

const Fixture& Fixture::Get() {
  static const Fixture kFixture = [] {
    BKFS_CHECK(InitCrypto().ok());
    Fixture out;
    out.repo.bytes.fill(0x11);
    out.master = MasterMaterial(Secret::CopyOf(Bytes(32, 0x22)), out.repo, 1);
    out.index_key = Bytes(32, 0x33);
    out.frame_key = Bytes(32, 0x44);
    return out;
  }();
  return kFixture;
}

namespace {

// magic ‖ version ‖ n ‖ body ‖ signature, around any body (doc/format.md section 4).
Bytes Signed(std::string_view magic, ByteView body) {
  const Fixture& f = Fixture::Get();
  Bytes object;
  Append(object, AsBytes(magic));
  AppendInt(object, uint32_t{1});
  AppendInt(object, static_cast<uint32_t>(body.size()));
  Append(object, body);
  Bytes message;
  Append(message, AsBytes("bkfs signed object v1"));
  Append(message, f.repo.view());
  Append(message, object);
  Append(object, f.master.signing.Sign(message));
  return object;
}

void FuzzHeader(ByteView input) {
  (void)DecodeHeader(input).ok();
  auto header = DecodeHeader(Signed("BKFSREPO", input));
  if (!header.ok()) return;
  BKFS_CHECK(!header->epochs.empty() && CheckChunkSizes(header->chunks).ok());
  BKFS_CHECK(DecodeHeader(EncodeHeader(*header, Fixture::Get().master.signing)).ok());
}

void FuzzBadge(ByteView input) {
  const Fixture& f = Fixture::Get();
  (void)DecodeBadge(input, f.repo, f.master.master_public).ok();
  auto badge = DecodeBadge(Signed("BKFSBADG", input), f.repo, f.master.master_public);
  if (badge.ok()) BKFS_CHECK(!KeyTypeName(badge->type).empty());
}

void FuzzRevocation(ByteView input) {
  const Fixture& f = Fixture::Get();
  (void)DecodeRevocation(input, f.repo, f.master.master_public).ok();
  auto read = DecodeRevocation(Signed("BKFSREVO", input), f.repo, f.master.master_public);
  if (read.ok()) BKFS_CHECK(read->accepted.size() * SnapshotId::kSize <= input.size());
}

void FuzzEpoch(ByteView input) {
  const Fixture& f = Fixture::Get();
  (void)DecodeEpoch(input, f.repo, f.master.master_public).ok();
  auto read = DecodeEpoch(Signed("BKFSEPOC", input), f.repo, f.master.master_public);
  if (!read.ok()) return;
  size_t boxes = 0;
  for (const EpochGrant& grant : read->grants) boxes += grant.box.size();
  BKFS_CHECK(boxes <= input.size() && read->grants.size() * KeyId::kSize <= input.size());
  auto again =
      DecodeEpoch(EncodeEpoch(*read, f.repo, f.master.signing), f.repo, f.master.master_public);
  BKFS_CHECK(again.ok() && again->grants.size() == read->grants.size());
}

// The inside of a grant, for each type that gets one.
void FuzzGrant(ByteView input) {
  (void)Fixture::Get();  // secrets want libsodium made ready
  for (KeyType type :
       {KeyType::kReadWrite, KeyType::kReadOnly, KeyType::kLogOnly, KeyType::kMaintain}) {
    auto read = DecodeEpochSecrets(input, type);
    if (read.ok()) BKFS_CHECK(read->epoch > 0 && !read->log.empty());
  }
}

// What is decoded is only what the object has room for, and encodes to an object that says the same
// once more.
void FuzzLogEntry(ByteView input) {
  const Fixture& f = Fixture::Get();
  (void)DecodeLogEntry(input).ok();
  (void)VerifyMaintenance(input, f.repo, f.master.master_public).ok();
  auto read = DecodeLogEntry(Signed("BKFSCOND", input));
  if (!read.ok()) return;
  BKFS_CHECK(read->base >= 1 && read->base <= read->number);
  BKFS_CHECK((read->condemned.size() + read->doomed.size()) * PackId::kSize <= input.size());
  read->signer = f.master.id();
  auto again = DecodeLogEntry(EncodeLogEntry(*read, f.repo, f.master.signing));
  BKFS_CHECK(again.ok() && again->condemned == read->condemned && again->doomed == read->doomed);
}

void FuzzRemoval(ByteView input) {
  const Fixture& f = Fixture::Get();
  (void)DecodeRemoval(input).ok();
  auto read = DecodeRemoval(Signed("BKFSREMO", input));
  if (!read.ok()) return;
  BKFS_CHECK(read->snapshots.size() * SnapshotId::kSize <= input.size());
  read->signer = f.master.id();
  auto again = DecodeRemoval(EncodeRemoval(*read, f.repo, f.master.signing));
  BKFS_CHECK(again.ok() && again->snapshots == read->snapshots);
}

void FuzzFence(ByteView input) {
  const Fixture& f = Fixture::Get();
  (void)DecodeFence(input).ok();
  auto read = DecodeFence(Signed("BKFSFENC", input));
  if (!read.ok()) return;
  read->signer = f.master.id();
  auto again = DecodeFence(EncodeFence(*read, f.repo, f.master.signing));
  BKFS_CHECK(again.ok() && again->lease == read->lease);
}

void FuzzClosure(ByteView input) {
  const Fixture& f = Fixture::Get();
  (void)DecodeClosure(input).ok();
  auto read = DecodeClosure(Signed("BKFSCLOS", input));
  if (!read.ok()) return;
  BKFS_CHECK(read->accepted.size() * SnapshotId::kSize <= input.size());
  read->signer = f.master.id();
  auto again = DecodeClosure(EncodeClosure(*read, f.repo, f.master.signing));
  BKFS_CHECK(again.ok() && again->lease == read->lease && again->accepted == read->accepted);
}

// The form of section 11, around any body.
Bytes SealedLease(std::string_view magic, ByteView body) {
  const Fixture& f = Fixture::Get();
  const Bytes sealed = SealSalted(Cipher::kAes256Gcm, f.index_key, f.repo, 'L', body);
  Bytes object;
  Append(object, AsBytes(magic));
  AppendInt(object, uint32_t{1});
  Append(object, f.master.id().view());
  AppendInt(object, static_cast<uint32_t>(sealed.size()));
  Append(object, sealed);
  Bytes message;
  Append(message, AsBytes("bkfs lease v1"));
  Append(message, f.repo.view());
  Append(message, object);
  Append(object, f.master.signing.Sign(message));
  return object;
}

void FuzzLease(ByteView input) {
  const Fixture& f = Fixture::Get();
  const PublicKey& holder = f.master.master_public;
  (void)HolderOfLease(input).ok();
  (void)DecodeLease(input, f.repo, f.index_key, holder).ok();
  const Bytes object = SealedLease("BKFSLEAS", input);
  auto named = HolderOfLease(object);
  BKFS_CHECK(!named.ok() || *named == f.master.id());
  auto read = DecodeLease(object, f.repo, f.index_key, holder);
  if (!read.ok()) return;
  BKFS_CHECK(read->ttl_ns >= kShortestLease && read->ttl_ns <= kLongestLease);
  BKFS_CHECK(!LeaseKindName(read->kind).empty());
  auto again =
      DecodeLease(EncodeLease(*read, f.repo, Cipher::kAes256Gcm, f.index_key, f.master.signing),
                  f.repo, f.index_key, holder);
  BKFS_CHECK(again.ok() && again->host == read->host && again->program == read->program);
}

void FuzzLeaseState(ByteView input) {
  const Fixture& f = Fixture::Get();
  const PublicKey& holder = f.master.master_public;
  (void)HolderOfLease(input).ok();
  (void)DecodeLeaseState(input, f.repo, f.index_key, holder).ok();
  auto read = DecodeLeaseState(SealedLease("BKFSLSTA", input), f.repo, f.index_key, holder);
  if (!read.ok()) return;
  BKFS_CHECK(read->number > 0);
  BKFS_CHECK((read->packs.size() + read->roots.size()) * PackId::kSize <= input.size());
  auto again = DecodeLeaseState(
      EncodeLeaseState(*read, f.repo, Cipher::kAes256Gcm, f.index_key, f.master.signing), f.repo,
      f.index_key, holder);
  BKFS_CHECK(again.ok() && again->packs == read->packs && again->roots == read->roots);
}

// Names come from listings. Each thing has one name, so what parses is what would be written.
void FuzzObjectName(ByteView input) {
  const std::string_view name = AsText(input);
  if (auto id = ParsePackName(name); id.ok()) BKFS_CHECK(PackName(*id) == name);
  if (auto id = ParseIndexName(name); id.ok()) BKFS_CHECK(IndexName(*id) == name);
  if (auto id = ParseSnapshotName(name); id.ok()) BKFS_CHECK(SnapshotName(*id) == name);
  if (auto id = ParseRemovalName(name); id.ok()) BKFS_CHECK(RemovalName(*id) == name);
  if (auto id = ParseClosureName(name); id.ok()) BKFS_CHECK(ClosureName(*id) == name);
  if (auto epoch = ParseEpochName(name); epoch.ok()) BKFS_CHECK(EpochName(*epoch) == name);
  if (auto number = ParseLogEntryName(name); number.ok()) {
    BKFS_CHECK(*number > 0 && LogEntryName(*number) == name);
  }
  auto lease = ParseLeaseName(name);
  if (!lease.ok()) return;
  switch (lease->what) {
    case LeaseObject::kLease: BKFS_CHECK(LeaseName(lease->id) == name); break;
    case LeaseObject::kState: BKFS_CHECK(LeaseStateName(lease->id, lease->number) == name); break;
    case LeaseObject::kFence: BKFS_CHECK(FenceName(lease->id) == name); break;
  }
}

void FuzzKeyfile(ByteView input) {
  const Fixture& f = Fixture::Get();
  PassphraseSource none = []() -> Result<Secret> { return Status(Code::kDenied, "none"); };
  auto material = DecodeKeyfile(AsText(input), none);
  if (material.ok()) {
    (void)CheckKeyfileAgainst(*material, HeaderFor(f.master, 0, Cipher::kAes256Gcm, false, {}))
        .ok();
  }
}

// The input as the payload of a keyfile whose checksum fits; its first byte chooses the type.
void FuzzKeyfilePayload(ByteView input) {
  if (input.empty()) return;
  const Fixture& f = Fixture::Get();
  auto type = static_cast<KeyType>(1 + input[0] % 6);
  std::string lines = "Repository: " + f.repo.hex() + "\nType: " + std::string(KeyTypeName(type)) +
                      "\nKey: " + f.master.id().hex() + "\n";
  ByteView payload = input.subspan(1);
  Bytes body(payload.begin(), payload.end());
  Append(body, ByteView(HashParts({AsBytes(lines), payload})).first(8));
  std::string text = "-----BEGIN BKFS KEY-----\n" + lines + "\n" + EncodeBase64(body) +
                     "\n-----END BKFS KEY-----\n";
  (void)DecodeKeyfile(text, nullptr).ok();
}

void FuzzPackEnd(ByteView input) {
  const Fixture& f = Fixture::Get();
  (void)DecodePackHeader(input).ok();
  (void)DecodePackTrailer(input).ok();
  (void)DecodePackEnd(input, f.index_key, f.repo).ok();
  SignedFooter footer;
  footer.body.assign(input.begin(), input.end());
  Bytes end = EncodePackEnd(footer, Cipher::kAes256Gcm, f.index_key, f.repo);
  auto read = DecodePackEnd(end, f.index_key, f.repo);
  BKFS_CHECK(read.ok() && read->body == footer.body);
}

void FuzzFooterBody(ByteView input) {
  constexpr uint64_t kSize = 32 << 20;
  auto footer = DecodeFooterBody(input, kSize);
  SignedFooter signed_footer{Bytes(input.begin(), input.end()), {}};
  (void)VerifyFooter(signed_footer, Fixture::Get().repo, Fixture::Get().master.master_public).ok();
  if (!footer.ok()) return;
  uint64_t end = 0;
  for (const PackFrame& frame : footer->frames) {
    BKFS_CHECK(frame.offset >= end && frame.slot < footer->slots.size());
    end = uint64_t{frame.offset} + frame.length;
    BKFS_CHECK(end < kSize && frame.plain <= kMaxFramePlain);
  }
  for (const PackBlob& blob : footer->blobs) {
    BKFS_CHECK(blob.frame < footer->frames.size());
    BKFS_CHECK(uint64_t{blob.offset} + blob.length <= footer->frames[blob.frame].plain);
  }
}

void FuzzIndexSegment(ByteView input) {
  const Fixture& f = Fixture::Get();
  (void)DecodeIndexSegment(input, f.index_key, f.repo).ok();
  for (bool compress : {false, true}) {  // as what is sealed, and as what is compressed in it
    Bytes inside = compress ? CompressMetadata(input) : Bytes(input.begin(), input.end());
    Bytes object;
    Append(object, AsBytes("BKFSINDX"));
    AppendInt(object, uint32_t{1});
    AppendInt(object, uint32_t{0});
    Append(object, SealSalted(Cipher::kAes256Gcm, f.index_key, f.repo, 'I', inside));
    auto segment = DecodeIndexSegment(object, f.index_key, f.repo);
    if (!segment.ok()) continue;
    for (const IndexedPack& pack : segment->packs) {
      (void)DecodeFooterBody(pack.footer.body, pack.size).ok();
    }
  }
}

void CheckEntry(const Entry& entry) {
  uint64_t total = 0;
  for (const Extent& extent : entry.extents) total += extent.length;
  for (const ListRef& list : entry.lists) total += list.bytes;
  if (entry.kind == EntryKind::kFile) BKFS_CHECK(total == entry.size);
}

void FuzzDirectory(ByteView input) {
  auto parsed = DirectoryView::Parse(Bytes(input.begin(), input.end()));
  if (!parsed.ok()) return;
  const DirectoryView& view = **parsed;
  DirectoryEncoder encoder;
  for (size_t i = 0; i < view.entries(); ++i) {
    Entry entry = view.entry(i);
    BKFS_CHECK(IsValidName(entry.name) && view.Find(entry.name) == i && view.name(i) == entry.name);
    CheckEntry(entry);
    encoder.Add(entry);
  }
  std::vector<Child> children;
  for (size_t i = 0; i < view.children(); ++i) {
    children.push_back(view.child(i));
    BKFS_CHECK(view.ChildFor(children.back().first_name) == i);
  }
  auto again = DirectoryView::Parse(
      view.level() == 0 ? encoder.Finish()
                        : EncodeDirectoryNode(view.level(), children, view.totals()));
  BKFS_CHECK(again.ok() || again.status().message().find("8 MiB") != std::string::npos);
}

void FuzzExtentList(ByteView input) {
  auto list = DecodeExtentList(input);
  if (!list.ok()) return;
  auto again = DecodeExtentList(EncodeExtentList(*list));
  BKFS_CHECK(again.ok() && again->extents == list->extents && again->lists == list->lists);
}

void FuzzEntry(ByteView input) {
  auto entry = DecodeEntry(input);
  if (entry.ok()) BKFS_CHECK(DecodeEntry(EncodeEntry(*entry)).ok());
}

void FuzzSnapshot(ByteView input) {
  const Fixture& f = Fixture::Get();
  (void)DecodeSnapshotEnvelope(input, f.repo).ok();
  (void)VerifySnapshotSignature(input, f.master.master_public).ok();
  (void)OpenSnapshotBody(input, f.master.epochs[0].log).ok();
}

// The input as what is sealed to the log key.
void FuzzSnapshotBody(ByteView input) {
  const Fixture& f = Fixture::Get();
  Bytes box = SealBox(f.master.epochs[0].log.public_key(), input);
  Bytes object;
  Append(object, AsBytes("BKFSSNAP"));
  AppendInt(object, uint32_t{1});
  AppendInt(object, uint32_t{1});
  Append(object, f.repo.view());
  Append(object, f.master.id().view());
  AppendInt(object, uint64_t{1});
  Append(object, SnapshotId().view());
  AppendInt(object, static_cast<uint32_t>(box.size()));
  Append(object, box);
  object.resize(object.size() + sizeof(Signature));
  auto body = OpenSnapshotBody(object, f.master.epochs[0].log);
  if (body.ok()) BKFS_CHECK(CheckSeriesName(body->name).ok());
}

void FuzzFrameInner(ByteView input) {
  if (input.size() < 4) return;
  // The first bytes are the length that a footer would state.
  uint32_t plain = Load<uint32_t>(input.data()) % (kMaxFramePlain + 2);
  FrameCodec codec;
  auto out = codec.Decode(input.subspan(4), plain);
  BKFS_CHECK(!out.ok() || out->size() == plain);
  (void)DecompressMetadata(input.subspan(4), plain).ok();
}

void FuzzBase64(ByteView input) {
  auto bytes = DecodeBase64(AsText(input));
  if (!bytes.ok()) return;
  std::string without_breaks;
  for (char c : AsText(input)) {
    if (c != '\n' && c != '\r') without_breaks += c;
  }
  BKFS_CHECK(EncodeBase64(*bytes) == without_breaks);
}

void FuzzS3List(ByteView input) {
  S3ListPage page;
  const size_t half = input.size() / 2;
  if (!page.Feed(input.first(half)).ok() || !page.Feed(input.subspan(half)).ok()) return;
  if (!page.Finish().ok()) return;
  size_t keys = 0;
  for (const S3ListedObject& object : page.objects()) keys += object.key.size();
  BKFS_CHECK(keys <= 2 * input.size());  // UTF-8 of other encodings is longer
}

void FuzzS3Answer(ByteView input) {
  const S3Error error = DecodeS3Error(input);
  BKFS_CHECK(error.code.size() + error.message.size() <= 8 * 300);
  auto result = DecodeDeleteResult(input);
  if (result.ok() && !result->error.code.empty()) BKFS_CHECK(!result->failed_key.empty());
  auto element = DecodeElement(input, "Retention/RetainUntilDate");
  BKFS_CHECK(!element.ok() || element->size() <= 2 * input.size());
}

void FuzzS3Url(ByteView input) {
  auto location = ParseS3Url(AsText(input), {});
  if (!location.ok()) return;
  BKFS_CHECK(!location->host.empty() && !location->bucket.empty() && !location->region.empty());
  // What is said about a place leads to it again.
  auto again = ParseS3Url(location->Describe(), {.region = location->region});
  BKFS_CHECK(again.ok() && again->bucket == location->bucket && again->prefix == location->prefix);
}

constexpr Target kTargets[] = {
    {"header", FuzzHeader},
    {"badge", FuzzBadge},
    {"revocation", FuzzRevocation},
    {"log_entry", FuzzLogEntry},
    {"removal", FuzzRemoval},
    {"epoch", FuzzEpoch},
    {"grant", FuzzGrant},
    {"fence", FuzzFence},
    {"closure", FuzzClosure},
    {"lease", FuzzLease},
    {"lease_state", FuzzLeaseState},
    {"object_name", FuzzObjectName},
    {"keyfile", FuzzKeyfile},
    {"keyfile_payload", FuzzKeyfilePayload},
    {"pack_end", FuzzPackEnd},
    {"footer_body", FuzzFooterBody},
    {"index_segment", FuzzIndexSegment},
    {"directory", FuzzDirectory},
    {"extent_list", FuzzExtentList},
    {"entry", FuzzEntry},
    {"snapshot", FuzzSnapshot},
    {"snapshot_body", FuzzSnapshotBody},
    {"frame_inner", FuzzFrameInner},
    {"base64", FuzzBase64},
    {"s3_list", FuzzS3List},
    {"s3_answer", FuzzS3Answer},
    {"s3_url", FuzzS3Url},
};
}  // namespace

std::span<const Target> Targets() { return kTargets; }

const Target* FindTarget(std::string_view name) {
  for (const Target& target : kTargets) {
    if (target.name == name) return &target;
  }
  return nullptr;
}

}  // namespace bkfs::fuzz

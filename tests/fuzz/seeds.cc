// SPDX-License-Identifier: Apache-2.0
#include "engine/codec/frame_codec.h"
#include "engine/crypto/hash.h"
#include "engine/format/epoch.h"
#include "engine/format/lease.h"
#include "engine/format/maintenance.h"
#include "engine/format/pack.h"
#include "engine/format/snapshot.h"
#include "engine/format/tree.h"
#include "tests/fuzz/fixture.h"
#include "tests/fuzz/targets.h"

namespace bkfs::fuzz {

namespace {
BlobId Blob(uint8_t fill) {
  BlobId id;
  id.bytes.fill(fill);
  return id;
}

// What is between the envelope's header and its signature.
Bytes BodyOf(const Bytes& signed_object) {
  return {signed_object.begin() + 16, signed_object.end() - 64};
}

void AddSigned(std::vector<Seed>& out) {
  const Fixture& f = Fixture::Get();
  Bytes header =
      EncodeHeader(HeaderFor(f.master, 1, Cipher::kAes256Gcm, true, {}), f.master.signing);
  out.push_back({"header", "whole", header});
  out.push_back({"header", "body", BodyOf(header)});
  Badge badge;
  badge.public_key = f.master.master_public;
  badge.key = f.master.id();
  badge.label = "label";
  Bytes badge_object = EncodeBadge(badge, f.repo, f.master.signing);
  out.push_back({"badge", "whole", badge_object});
  out.push_back({"badge", "body", BodyOf(badge_object)});
  Revocation revocation;
  revocation.key = f.master.id();
  revocation.accepted.resize(2);
  revocation.accepted[1].bytes.fill(1);
  Bytes revocation_object = EncodeRevocation(revocation, f.repo, f.master.signing);
  out.push_back({"revocation", "whole", revocation_object});
  out.push_back({"revocation", "body", BodyOf(revocation_object)});
  const EpochSecrets secrets = MasterEpoch(f.master.master, 2);
  Epoch epoch;
  epoch.keys = PublicKeysOf(secrets);
  epoch.grants.resize(2);
  epoch.grants[0].box = Bytes(8, 1);
  epoch.grants[1].key.bytes.fill(0x66);
  epoch.grants[1].box = Bytes(8, 2);
  Bytes epoch_object = EncodeEpoch(epoch, f.repo, f.master.signing);
  out.push_back({"epoch", "whole", epoch_object});
  out.push_back({"epoch", "body", BodyOf(epoch_object)});
  const Secret payload = EncodeEpochSecrets(secrets);
  out.push_back({"grant", "payload", Bytes(payload.view().begin(), payload.view().end())});
}

void AddMaintenance(std::vector<Seed>& out) {
  const Fixture& f = Fixture::Get();
  const KeyId signer = f.master.id();
  LeaseId lease;
  lease.bytes.fill(0x55);
  std::vector<PackId> packs(2);
  packs[1].bytes.fill(0x66);
  std::vector<SnapshotId> snapshots(2);
  snapshots[1].bytes.fill(0x77);
  auto add = [&out](std::string_view target, const Bytes& object) {
    out.push_back({target, "whole", object});
    out.push_back({target, "body", BodyOf(object)});
  };
  LogEntry entry;
  entry.signer = signer;
  entry.number = 9;
  entry.base = 3;
  entry.condemned = packs;
  entry.doomed = packs;
  add("log_entry", EncodeLogEntry(entry, f.repo, f.master.signing));
  add("removal", EncodeRemoval({signer, 1, snapshots}, f.repo, f.master.signing));
  add("fence", EncodeFence({signer, lease, 1}, f.repo, f.master.signing));
  add("closure", EncodeClosure({signer, lease, 1, snapshots}, f.repo, f.master.signing));

  auto add_sealed = [&](std::string_view target, const Bytes& object) {
    constexpr size_t kSealedAt = 8 + 4 + 16 + 4;
    ByteView sealed = ByteView(object).subspan(kSealedAt, object.size() - kSealedAt - 64);
    out.push_back({target, "whole", object});
    out.push_back({target, "body", OpenSalted(f.index_key, f.repo, 'L', sealed).value()});
  };
  Lease held;
  held.id = lease;
  held.host = "host";
  held.program = "bkfs";
  held.pid = 2;
  held.started = 3;
  add_sealed("lease", EncodeLease(held, f.repo, Cipher::kAes256Gcm, f.index_key, f.master.signing));
  LeaseState state;
  state.id = lease;
  state.moved_past = 8;
  state.packs = packs;
  state.roots = {Blob(1), Blob(2)};
  add_sealed("lease_state",
             EncodeLeaseState(state, f.repo, Cipher::kAes256Gcm, f.index_key, f.master.signing));

  auto add_name = [&out](std::string_view what, const std::string& name) {
    out.push_back({"object_name", what, Bytes(name.begin(), name.end())});
  };
  add_name("pack", PackName(packs[1]));
  add_name("snapshot", SnapshotName(snapshots[1]));
  add_name("log_entry", LogEntryName(0x1a));
  add_name("removal", RemovalName({lease.bytes}));
  add_name("closure", ClosureName(lease));
  add_name("epoch", EpochName(2));
  add_name("lease", LeaseName(lease));
  add_name("lease_state", LeaseStateName(lease, 120));
  add_name("fence", FenceName(lease));
}

void AddKeyfiles(std::vector<Seed>& out) {
  const Fixture& f = Fixture::Get();
  std::string text = EncodeKeyfile(f.master, {});
  out.push_back({"keyfile", "master", Bytes(text.begin(), text.end())});
  size_t at = text.find("\n\n") + 2;
  Bytes body = DecodeBase64(text.substr(at, text.find("-----END") - at)).value();
  Bytes payload = {0};  // chooses Master
  payload.insert(payload.end(), body.begin(), body.end() - 8);
  out.push_back({"keyfile_payload", "master", payload});
  text = EncodeKeyfile(f.master, AsBytes("passphrase"));
  out.push_back({"keyfile", "passphrase", Bytes(text.begin(), text.end())});
  out.push_back({"base64", "all",
                 Bytes(text.begin() + static_cast<ptrdiff_t>(text.find("\n\n")),
                       text.begin() + static_cast<ptrdiff_t>(text.find("--END")))});
  out.push_back({"base64", "padded", Bytes{'Z', 'm', '8', '=', '\n'}});
}

void AddPacks(std::vector<Seed>& out) {
  const Fixture& f = Fixture::Get();
  PackFooter footer;
  footer.signer = f.master.id();
  footer.slots.resize(1);
  footer.slots[0].writer = f.master.id();
  footer.slots[0].box.resize(80);
  footer.frames = {{16, 1000, 3000, 0}, {1016, 500, 400, 0}};
  footer.blobs = {{Blob(1), 0, 0, 1000}, {Blob(2), 0, 1000, 2000}, {Blob(3), 1, 100, 300}};
  SignedFooter signed_footer = SignFooter(footer, f.repo, f.master.signing);
  out.push_back({"footer_body", "body", signed_footer.body});
  out.push_back(
      {"pack_end", "whole", EncodePackEnd(signed_footer, Cipher::kAes256Gcm, f.index_key, f.repo)});
  out.push_back({"pack_end", "header", EncodePackHeader(PackKind::kTrees)});
  IndexSegment segment;
  segment.packs = {{PackId(), 1 << 20, signed_footer}};
  segment.replaces.resize(1);
  segment.as_of = 7;
  Bytes object = EncodeIndexSegment(segment, Cipher::kAes256Gcm, f.index_key, f.repo);
  out.push_back({"index_segment", "whole", object});
  Bytes packed = OpenSalted(f.index_key, f.repo, 'I', ByteView(object).subspan(16)).value();
  out.push_back({"index_segment", "packed", packed});
  out.push_back({"index_segment", "body", DecompressMetadata(packed, 1 << 20).value()});
}

void AddTrees(std::vector<Seed>& out) {
  DirectoryEncoder encoder;
  Entry entry;
  entry.name = "a";
  entry.size = 300;
  entry.user = "user";
  entry.extents = {{100, 5, Blob(1)}, {200, 0, {}}};
  entry.xattrs = {{"user.a", "1"}, {"user.b", ""}};
  entry.link_group = 1;
  encoder.Add(entry);
  out.push_back({"entry", "file", EncodeEntry(entry)});
  entry = {};
  entry.name = "b";
  entry.kind = EntryKind::kDirectory;
  entry.directory = Blob(2);
  entry.totals = {1, 2, 3, 4};
  encoder.Add(entry);
  entry = {};
  entry.name = "c";
  entry.kind = EntryKind::kSymlink;
  entry.target = "a";
  encoder.Add(entry);
  entry = {};
  entry.name = "d";
  entry.size = 30;
  entry.lists = {{10, Blob(3)}, {20, Blob(4)}};
  encoder.Add(entry);
  out.push_back({"directory", "leaf", encoder.Finish()});
  out.push_back({"directory", "node",
                 EncodeDirectoryNode(1, {{"a", Blob(1), 3}, {"m", Blob(2), 4}}, {7, 0, 0, 0})});
  out.push_back(
      {"extent_list", "extents", EncodeExtentList({0, {{100, 5, Blob(1)}, {1 << 30, 0, {}}}, {}})});
  out.push_back({"extent_list", "lists", EncodeExtentList({1, {}, {{100, Blob(1)}}})});
}

void AddSnapshots(std::vector<Seed>& out) {
  const Fixture& f = Fixture::Get();
  Entry root;
  root.kind = EntryKind::kDirectory;
  SnapshotEnvelope envelope;
  envelope.repo = f.repo;
  envelope.signer = f.master.id();
  SnapshotBody body;
  body.name = "home";
  body.tags = {"a", "b"};
  body.paths = {"/home"};
  body.lease.bytes.fill(0x55);
  body.sealed_root = SealRoot(root, f.master.epochs[0].tree.public_key());
  const BoxKey& log = f.master.epochs[0].log;
  Bytes object = EncodeSnapshot(envelope, body, log.public_key(), f.master.signing);
  out.push_back({"snapshot", "whole", object});
  constexpr size_t kBoxAt = 8 + 4 + 4 + 16 + 16 + 8 + 16 + 4;
  Secret plain = log.Open(ByteView(object).subspan(kBoxAt, object.size() - kBoxAt - 64)).value();
  out.push_back({"snapshot_body", "body", Bytes(plain.view().begin(), plain.view().end())});
}

void AddFrames(std::vector<Seed>& out) {
  FrameCodec codec;
  for (size_t size : {10, 3000}) {
    Bytes plain(size, 'x');
    Bytes input;
    AppendInt(input, static_cast<uint32_t>(size));
    Append(input, codec.Encode(plain, true));
    out.push_back({"frame_inner", size == 10 ? "stored" : "zstd", input});
  }
}

void AddText(std::vector<Seed>& out, std::string_view target, std::string_view name,
             std::string_view text) {
  const ByteView bytes = AsBytes(text);
  out.push_back({target, name, Bytes(bytes.begin(), bytes.end())});
}

void AddS3(std::vector<Seed>& out) {
  AddText(out, "s3_list", "page",
          "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>true</IsTruncated>"
          "<NextContinuationToken>t</NextContinuationToken><EncodingType>url</EncodingType>"
          "<Contents><Key>repo/packs%2Faa</Key><Size>7</Size>"
          "<LastModified>2026-11-21T14:29:06.079Z</LastModified></Contents></ListBucketResult>");
  AddText(out, "s3_answer", "error",
          "<Error><Code>AccessDenied</Code><Message>no</Message><Region>eu</Region></Error>");
  AddText(out, "s3_answer", "removed",
          "<DeleteResult><Deleted><Key>a</Key></Deleted><Error><Key>b</Key><Code>InternalError"
          "</Code></Error></DeleteResult>");
  AddText(out, "s3_answer", "retention",
          "<Retention><RetainUntilDate>2026-11-22T14:29:08Z</RetainUntilDate></Retention>");
  AddText(out, "s3_url", "path", "https://minio.example.org:9000/bucket/a/b");
  AddText(out, "s3_url", "host", "https://bucket.s3.eu-central-1.amazonaws.com/a");
  AddText(out, "s3_url", "aws", "s3://bucket/a");
}
}  // namespace

std::vector<Seed> MakeSeeds() {
  std::vector<Seed> out;
  AddSigned(out);
  AddMaintenance(out);
  AddKeyfiles(out);
  AddPacks(out);
  AddTrees(out);
  AddSnapshots(out);
  AddFrames(out);
  AddS3(out);
  return out;
}

}  // namespace bkfs::fuzz

// SPDX-License-Identifier: Apache-2.0
// tests/golden/vectors.json (doc/format.md section 10). "computed" follows from its inputs and must
// come out the same for ever; "kept" was made once with random salts and must open for ever. A
// difference here is a change of the format. BKFS_WRITE_GOLDEN=1 writes the file anew, except for
// what is kept already.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <tuple>

#include "engine/base/fd.h"
#include "engine/codec/frame_codec.h"
#include "engine/crypto/hash.h"
#include "engine/format/epoch.h"
#include "engine/format/keyfile.h"
#include "engine/format/lease.h"
#include "engine/format/maintenance.h"

namespace bkfs {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kPlain = "bkfs test vector plaintext";
constexpr std::string_view kPassphrase = "correct horse battery staple";
constexpr int64_t kCreated = 1'700'000'000'000'000'000;

Bytes Counting(uint8_t first, size_t size) {
  Bytes out(size);
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<uint8_t>(first + i);
  return out;
}

// The top bytes of the 64-bit linear congruential generator of Knuth's MMIX, from 1.
Bytes Noise(size_t size) {
  Bytes out(size);
  uint64_t x = 1;
  for (auto& b : out) {
    x = x * 6364136223846793005U + 1442695040888963407U;
    b = static_cast<uint8_t>(x >> 56);
  }
  return out;
}

class GoldenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(InitCrypto().ok());
    repo_ = RepoId::FromBytes(Counting(0xa0, 16)).value();
    master_ = MasterMaterial(Secret::CopyOf(Counting(0, 32)), repo_, 2);
    tree_id_key_ = DeriveKey("bkfs v1 tree id", master_.id_key.view());
  }
  Json Keys() const;
  Json Cuts(const ChunkSizes& sizes) const;
  Json Frame(Cipher cipher, bool pad) const;
  Json Maintenance() const;
  Json Computed() const;
  Json Kept() const;
  static Lease SomeLease();
  static LeaseState SomeLeaseState();
  void CheckKept(const Json& kept) const;
  void CheckKeptLeases(const Json& kept) const;
  void CheckKeptEpoch(const Json& kept) const;

  RepoId repo_;
  KeyMaterial master_;
  Secret tree_id_key_;
};

Json GoldenTest::Keys() const {
  Json out;
  out["master"] = ToHex(master_.master.view());
  out["repository"] = repo_.hex();
  for (const EpochSecrets& epoch : master_.epochs) {
    Json keys;
    keys["content_secret"] = ToHex(epoch.content.secret());
    keys["content_public"] = ToHex(epoch.content.public_key());
    keys["tree_secret"] = ToHex(epoch.tree.secret());
    keys["tree_public"] = ToHex(epoch.tree.public_key());
    keys["log_secret"] = ToHex(epoch.log.secret());
    keys["log_public"] = ToHex(epoch.log.public_key());
    out["epoch_" + std::to_string(epoch.epoch)] = keys;
  }
  out["id_key"] = ToHex(master_.id_key.view());
  out["tree_id_key"] = ToHex(tree_id_key_.view());
  out["chunker_key"] = ToHex(master_.chunker_key.view());
  out["index_key"] = ToHex(master_.index_key.view());
  out["signing_seed"] = ToHex(master_.signing.seed());
  out["signing_public"] = ToHex(master_.master_public);
  out["key_id"] = master_.id().hex();
  return out;
}

Json GoldenTest::Cuts(const ChunkSizes& sizes) const {
  Chunker chunker(master_.chunker_key.view(), sizes);
  Bytes data = Noise(2 << 20);
  Json out;
  out["min"] = sizes.min;
  out["average"] = sizes.average;
  out["max"] = sizes.max;
  out["data"] =
      "2097152 bytes: x = x * 6364136223846793005 + 1442695040888963407, byte x >> 56, x 1";
  out["data_hash"] = ToHex(HashBytes(data));
  Json lengths = Json::array();
  for (ByteView rest(data); !rest.empty(); rest = rest.subspan(lengths.back().get<size_t>())) {
    lengths.push_back(chunker.Cut(rest));
  }
  out["lengths"] = lengths;
  return out;
}

Json GoldenTest::Frame(Cipher cipher, bool pad) const {
  Bytes key = Counting(0x40, 32);
  FrameSealer sealer(cipher, Secret::CopyOf(key), repo_, 1);
  Bytes inner = FrameCodec(0).Encode(AsBytes(kPlain), pad);
  ByteView part(inner);
  (void)sealer.Seal(std::span(&part, 1));  // number 0
  Json out;
  out["cipher"] = static_cast<int>(cipher);
  out["data_key"] = ToHex(key);
  out["pack_kind"] = 1;
  out["number"] = 1;
  out["plain"] = ToHex(AsBytes(kPlain));
  out["inner"] = ToHex(inner);
  out["frame"] = ToHex(sealer.Seal(std::span(&part, 1)));
  return out;
}

template <typename IdType>
IdType CountingId(uint8_t first) {
  return IdType::FromBytes(Counting(first, IdType::kSize)).value();
}

Json GoldenTest::Maintenance() const {
  const KeyId signer = master_.id();
  const auto lease = CountingId<LeaseId>(0x50);
  const std::vector<SnapshotId> snapshots = {CountingId<SnapshotId>(0x60),
                                             CountingId<SnapshotId>(0x70)};
  LogEntry entry;
  entry.signer = signer;
  entry.number = 42;
  entry.base = 17;
  entry.nonce = CountingId<LeaseId>(0x30).bytes;
  entry.time_ns = kCreated;
  entry.condemned = {CountingId<PackId>(0x10), CountingId<PackId>(0x20)};
  entry.doomed = {CountingId<PackId>(0x18)};
  const Bytes removal = EncodeRemoval({signer, kCreated, snapshots}, repo_, master_.signing);
  auto named = [](const std::string& name, const Bytes& object) {
    return Json{{"name", name}, {"object", ToHex(object)}};
  };
  Json out;
  out["log_entry"] =
      named(LogEntryName(entry.number), EncodeLogEntry(entry, repo_, master_.signing));
  out["removal"] = named(RemovalName(RemovalIdOf(removal)), removal);
  out["fence"] =
      named(FenceName(lease), EncodeFence({signer, lease, kCreated}, repo_, master_.signing));
  out["closure"] = named(ClosureName(lease), EncodeClosure({signer, lease, kCreated, snapshots},
                                                           repo_, master_.signing));
  return out;
}

Lease GoldenTest::SomeLease() {
  Lease out;
  out.id = CountingId<LeaseId>(0x50);
  out.kind = LeaseKind::kMaintainer;
  out.host = "host";
  out.machine = CountingId<LeaseId>(0x80).bytes;
  out.pid = 1234;
  out.started = 5678;
  out.ttl_ns = 600'000'000'000;
  out.program = "test vector";
  out.time_ns = kCreated;
  return out;
}

LeaseState GoldenTest::SomeLeaseState() {
  LeaseState out;
  out.id = CountingId<LeaseId>(0x50);
  out.number = 3;
  out.moved_past = 42;
  out.packs = {CountingId<PackId>(0x10)};
  out.roots = {CountingId<BlobId>(0x20)};
  return out;
}

Json GoldenTest::Computed() const {
  Json out;
  out["keys"] = Keys();
  Bytes gear(2048);
  KeyedHashExtended(master_.chunker_key.view(), AsBytes("bkfs gear v1"), gear);
  out["gear_first"] = ToHex(ByteView(gear).first(16));
  out["gear_hash"] = ToHex(HashBytes(gear));
  out["cuts"] = Json::array({Cuts({}), Cuts({4 << 10, 8 << 10, 16 << 10})});
  for (std::string_view plain : {std::string_view(), kPlain}) {
    Json ids;
    ids["plain"] = ToHex(AsBytes(plain));
    ids["content_id"] = ToHex(KeyedHash(master_.id_key.view(), AsBytes(plain)));
    ids["tree_id"] = ToHex(KeyedHash(tree_id_key_.view(), AsBytes(plain)));
    out["blob_ids"].push_back(ids);
  }
  out["frames"] =
      Json::array({Frame(Cipher::kAes256Gcm, false), Frame(Cipher::kChaCha20Poly1305, true)});
  for (uint64_t n : {0, 1, 9, 100, 1000, 1025, 65537, 1000000, 16777224}) {
    out["padme"].push_back(Json::array({n, PadmeLength(n)}));
  }
  RepoHeader header = HeaderFor(master_, kCreated, Cipher::kAes256Gcm, false, {});
  out["header"] = ToHex(EncodeHeader(header, master_.signing));
  out["master_keyfile"] = EncodeKeyfile(master_, {});
  out["maintenance"] = Maintenance();
  return out;
}

Json GoldenTest::Kept() const {
  Json out;
  for (Cipher cipher : {Cipher::kAes256Gcm, Cipher::kChaCha20Poly1305}) {
    out["sealed"].push_back(
        ToHex(SealSalted(cipher, master_.index_key.view(), repo_, 'F', AsBytes(kPlain))));
  }
  out["sealed_kind"] = "F";
  out["sealed_key"] = "index_key";
  out["sealed_plain"] = ToHex(AsBytes(kPlain));
  out["box_to"] = "epoch_1.tree_public";
  out["box"] = ToHex(SealBox(master_.epochs[0].tree.public_key(), AsBytes(kPlain)));
  std::string text(3000, 'z');
  out["zstd_inner"] = ToHex(FrameCodec(3).Encode(AsBytes(text), true));
  out["zstd_plain"] = "3000 times z";
  KeyMaterial derived = DeriveMaterial(master_, KeyType::kReadWrite, "test vector", kCreated);
  out["derived_keyfile"] = EncodeKeyfile(derived, {});
  out["passphrase"] = kPassphrase;
  out["passphrase_keyfile"] = EncodeKeyfile(derived, AsBytes(kPassphrase));
  const EpochSecrets third = MasterEpoch(master_.master, 3);
  Epoch epoch;
  epoch.keys = PublicKeysOf(third);
  epoch.time_ns = kCreated;
  epoch.grants = {MakeGrant(third, derived.type, derived.signing.public_key()).value()};
  out["epoch"] = {{"name", EpochName(3)},
                  {"object", ToHex(EncodeEpoch(epoch, repo_, master_.signing))},
                  {"granted_keyfile", EncodeKeyfile(derived, {})}};
  out["lease"] = ToHex(EncodeLease(SomeLease(), repo_, Cipher::kAes256Gcm, master_.index_key.view(),
                                   master_.signing));
  out["lease_state"] = ToHex(EncodeLeaseState(SomeLeaseState(), repo_, Cipher::kChaCha20Poly1305,
                                              master_.index_key.view(), master_.signing));
  return out;
}

void GoldenTest::CheckKept(const Json& kept) const {
  auto hex = [](const Json& value) { return ParseHex(value.get<std::string>()).value(); };
  ASSERT_EQ(kept.at("sealed").size(), 2U);
  for (const Json& sealed : kept.at("sealed")) {
    auto plain = OpenSalted(master_.index_key.view(), repo_, 'F', hex(sealed));
    EXPECT_EQ(AsText(plain.value()), kPlain);
  }
  EXPECT_EQ(AsText(master_.epochs[0].tree.Open(hex(kept.at("box"))).value().view()), kPlain);
  EXPECT_EQ(FrameCodec().Decode(hex(kept.at("zstd_inner")), 3000).value(), Bytes(3000, 'z'));

  RepoHeader header = HeaderFor(master_, kCreated, Cipher::kAes256Gcm, false, {});
  auto plain = DecodeKeyfile(kept.at("derived_keyfile").get<std::string>(), nullptr);
  ASSERT_TRUE(plain.ok()) << plain.status().ToString();
  EXPECT_EQ(plain->type, KeyType::kReadWrite);
  EXPECT_EQ(plain->label, "test vector");
  EXPECT_TRUE(CheckKeyfileAgainst(*plain, header).ok());
  auto under_passphrase =
      DecodeKeyfile(kept.at("passphrase_keyfile").get<std::string>(),
                    []() -> Result<Secret> { return Secret::CopyOf(AsBytes(kPassphrase)); });
  ASSERT_TRUE(under_passphrase.ok()) << under_passphrase.status().ToString();
  EXPECT_EQ(under_passphrase->id(), plain->id());
}

void GoldenTest::CheckKeptLeases(const Json& kept) const {
  auto hex = [](const Json& value) { return ParseHex(value.get<std::string>()).value(); };
  auto lease =
      DecodeLease(hex(kept.at("lease")), repo_, master_.index_key.view(), master_.master_public);
  ASSERT_TRUE(lease.ok()) << lease.status().ToString();
  const Lease want = SomeLease();
  EXPECT_EQ(std::tie(lease->id, lease->kind, lease->host, lease->machine, lease->pid),
            std::tie(want.id, want.kind, want.host, want.machine, want.pid));
  EXPECT_EQ(std::tie(lease->started, lease->ttl_ns, lease->program, lease->time_ns),
            std::tie(want.started, want.ttl_ns, want.program, want.time_ns));
  auto state = DecodeLeaseState(hex(kept.at("lease_state")), repo_, master_.index_key.view(),
                                master_.master_public);
  ASSERT_TRUE(state.ok()) << state.status().ToString();
  const LeaseState pins = SomeLeaseState();
  EXPECT_EQ(std::tie(state->id, state->number, state->moved_past, state->packs, state->roots),
            std::tie(pins.id, pins.number, pins.moved_past, pins.packs, pins.roots));
}

void GoldenTest::CheckKeptEpoch(const Json& kept) const {
  const Json& vector = kept.at("epoch");
  const Bytes object = ParseHex(vector.at("object").get<std::string>()).value();
  auto epoch = DecodeEpoch(object, repo_, master_.master_public);
  ASSERT_TRUE(epoch.ok()) << epoch.status().ToString();
  EXPECT_EQ(EpochName(epoch->keys.epoch), vector.at("name"));
  EXPECT_TRUE(CheckEpochSecrets(MasterEpoch(master_.master, 3), epoch->keys).ok());
  auto key = DecodeKeyfile(vector.at("granted_keyfile").get<std::string>(), nullptr);
  ASSERT_TRUE(key.ok()) << key.status().ToString();
  const EpochGrant* grant = epoch->FindGrant(key->id());
  ASSERT_NE(grant, nullptr);
  auto opened = OpenGrant(*grant, epoch->keys, key->type, key->signing);
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  EXPECT_EQ(opened->content.public_key(), epoch->keys.content);
}

TEST_F(GoldenTest, VectorsHold) {
  if (std::getenv("BKFS_WRITE_GOLDEN") != nullptr) {
    Json fresh = {{"format", "doc/format.md, version 1"}};
    fresh["computed"] = Computed();
    fresh["kept"] = Kept();
    if (auto old = ReadWholeFile(BKFS_GOLDEN_VECTORS); old.ok()) {
      fresh["kept"].update(Json::parse(AsText(*old)).at("kept"));
    }
    std::ofstream(BKFS_GOLDEN_VECTORS) << fresh.dump(1) << "\n";
  }
  auto text = ReadWholeFile(BKFS_GOLDEN_VECTORS);
  ASSERT_TRUE(text.ok()) << text.status().ToString();
  Json file = Json::parse(AsText(*text), nullptr, false);
  ASSERT_FALSE(file.is_discarded());
  const Json computed = Computed();
  for (const auto& [name, value] : computed.items()) {
    ASSERT_TRUE(file.at("computed").contains(name)) << name;
    EXPECT_EQ(file["computed"][name], value) << name;
  }
  CheckKept(file.at("kept"));
  CheckKeptLeases(file.at("kept"));
  CheckKeptEpoch(file.at("kept"));
  // What is in the file reads as what it was made of.
  auto object = [&file](const char* name) {
    return ParseHex(file["computed"]["maintenance"][name]["object"].get<std::string>()).value();
  };
  EXPECT_EQ(DecodeLogEntry(object("log_entry")).value().condemned.size(), 2U);
  EXPECT_EQ(DecodeRemoval(object("removal")).value().snapshots.size(), 2U);
  EXPECT_EQ(DecodeFence(object("fence")).value().lease, SomeLease().id);
  EXPECT_EQ(DecodeClosure(object("closure")).value().accepted.size(), 2U);
  Bytes header = ParseHex(file["computed"]["header"].get<std::string>()).value();
  EXPECT_EQ(DecodeHeader(header).value().epochs.size(), 2U);
}

}  // namespace
}  // namespace bkfs

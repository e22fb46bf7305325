// SPDX-License-Identifier: Apache-2.0
#include "engine/format/maintenance.h"

#include <gtest/gtest.h>

#include "tests/format/forge.h"
#include "tests/format/tamper.h"

namespace bkfs {
namespace {

template <typename IdType>
IdType Filled(uint8_t fill) {
  IdType id;
  id.bytes.fill(fill);
  return id;
}

class MaintenanceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(InitCrypto().ok());
    RandomBytes(repo_.bytes);
    key_ = SigningKey(RandomSecret(32));
    entry_.signer = key_.id();
    entry_.number = 0x2122232425262728;
    entry_.base = 0x1112131415161718;
    entry_.nonce.fill(0xee);
    entry_.time_ns = 77;
    entry_.condemned = {Filled<PackId>(0xa1), Filled<PackId>(0xa2)};
    entry_.doomed = {Filled<PackId>(0xb1), Filled<PackId>(0xb2)};
    removal_ = {key_.id(), 78, {Filled<SnapshotId>(0xc1), Filled<SnapshotId>(0xc2)}};
    fence_ = {key_.id(), Filled<LeaseId>(0xd1), 79};
    closure_ = {key_.id(), Filled<LeaseId>(0xd2), 80, removal_.snapshots};
  }
  Bytes Entry() const { return EncodeLogEntry(entry_, repo_, key_); }
  // The object with one part of its bytes changed, signed again by the same key.
  Bytes Forged(Bytes object, ByteView part, ByteView by) const {
    ReplaceOnce(object, part, by);
    SignAgain(object, "bkfs signed object v1", repo_, key_);
    EXPECT_TRUE(VerifyMaintenance(object, repo_, key_.public_key()).ok());
    return object;
  }
  // Whoever reads one decodes it to learn the signer, and then verifies.
  template <typename Decode>
  auto DecodeAndVerify(Decode decode) const {
    return [this, decode](ByteView object) -> Status {
      auto read = decode(object);
      if (!read.ok()) return read.status();
      return VerifyMaintenance(object, repo_, key_.public_key());
    };
  }
  template <typename Decode>
  void ExpectSealedAgainstAll(Bytes object, Decode decode) const {
    ExpectTamperProof(object, DecodeAndVerify(decode));
    const SigningKey other(RandomSecret(32));
    EXPECT_EQ(VerifyMaintenance(object, repo_, other.public_key()).code(), Code::kCorrupt);
    EXPECT_EQ(VerifyMaintenance(object, RepoId(), key_.public_key()).code(), Code::kCorrupt);
    object[8] = 2;
    Status newer = decode(object).status();
    EXPECT_EQ(newer.code(), Code::kUnsupported);
    EXPECT_NE(newer.message().find("version 2"), std::string::npos);
    object[8] = 0;
    EXPECT_EQ(decode(object).code(), Code::kCorrupt);
  }

  RepoId repo_;
  SigningKey key_;
  LogEntry entry_;
  Removal removal_;
  Fence fence_;
  Closure closure_;
};

TEST_F(MaintenanceTest, LogEntryRoundTrip) {
  LogEntry read = DecodeLogEntry(Entry()).value();
  EXPECT_EQ(read.signer, key_.id());
  EXPECT_EQ(read.number, entry_.number);
  EXPECT_EQ(read.base, entry_.base);
  EXPECT_EQ(read.nonce, entry_.nonce);
  EXPECT_EQ(read.time_ns, 77);
  EXPECT_EQ(read.condemned, entry_.condemned);
  EXPECT_EQ(read.doomed, entry_.doomed);
  ExpectSealedAgainstAll(Entry(), DecodeLogEntry);
  LogEntry first;  // nothing in it
  first.signer = key_.id();
  read = DecodeLogEntry(EncodeLogEntry(first, repo_, key_)).value();
  EXPECT_EQ(read.number, 1U);
  EXPECT_EQ(read.base, 1U);
  EXPECT_TRUE(read.condemned.empty() && read.doomed.empty());
}

TEST_F(MaintenanceTest, RemovalRoundTrip) {
  Bytes object = EncodeRemoval(removal_, repo_, key_);
  Removal read = DecodeRemoval(object).value();
  EXPECT_EQ(read.signer, key_.id());
  EXPECT_EQ(read.time_ns, 78);
  EXPECT_EQ(read.snapshots, removal_.snapshots);
  ExpectSealedAgainstAll(object, DecodeRemoval);
  // Ed25519 is deterministic: who says the same twice puts the same object.
  EXPECT_EQ(EncodeRemoval(removal_, repo_, key_), object);
}

TEST_F(MaintenanceTest, FenceRoundTrip) {
  Bytes object = EncodeFence(fence_, repo_, key_);
  Fence read = DecodeFence(object).value();
  EXPECT_EQ(read.signer, key_.id());
  EXPECT_EQ(read.lease, fence_.lease);
  EXPECT_EQ(read.time_ns, 79);
  ExpectSealedAgainstAll(object, DecodeFence);
}

TEST_F(MaintenanceTest, ClosureRoundTrip) {
  Bytes object = EncodeClosure(closure_, repo_, key_);
  Closure read = DecodeClosure(object).value();
  EXPECT_EQ(read.signer, key_.id());
  EXPECT_EQ(read.lease, closure_.lease);
  EXPECT_EQ(read.time_ns, 80);
  EXPECT_EQ(read.accepted, closure_.accepted);
  ExpectSealedAgainstAll(object, DecodeClosure);
  closure_.accepted.clear();
  EXPECT_TRUE(DecodeClosure(EncodeClosure(closure_, repo_, key_)).value().accepted.empty());
}

TEST_F(MaintenanceTest, NoLeaseIsNoneToEnd) {
  fence_.lease = {};
  closure_.lease = {};  // it would hide every snapshot that was made without one
  EXPECT_EQ(DecodeFence(EncodeFence(fence_, repo_, key_)).code(), Code::kCorrupt);
  EXPECT_EQ(DecodeClosure(EncodeClosure(closure_, repo_, key_)).code(), Code::kCorrupt);
}

TEST_F(MaintenanceTest, NoneIsTakenForAnother) {
  const Bytes objects[] = {Entry(), EncodeRemoval(removal_, repo_, key_),
                           EncodeFence(fence_, repo_, key_), EncodeClosure(closure_, repo_, key_)};
  for (size_t i = 0; i < std::size(objects); ++i) {
    EXPECT_EQ(DecodeLogEntry(objects[i]).ok(), i == 0);
    EXPECT_EQ(DecodeRemoval(objects[i]).ok(), i == 1);
    EXPECT_EQ(DecodeFence(objects[i]).ok(), i == 2);
    EXPECT_EQ(DecodeClosure(objects[i]).ok(), i == 3);
  }
  // Not even when its magic is changed: the signature covers that.
  Bytes bad = objects[1];
  ReplaceOnce(bad, AsBytes("BKFSREMO"), AsBytes("BKFSCLOS"));
  EXPECT_FALSE(DecodeAndVerify(DecodeClosure)(bad).ok());
}

TEST_F(MaintenanceTest, NumbersOfAnEntry) {
  auto decode = [this](uint64_t from, uint64_t to) {
    return DecodeLogEntry(Forged(Entry(), IntBytes(from), IntBytes(to))).code();
  };
  EXPECT_EQ(decode(entry_.base, 1), Code::kOk);
  EXPECT_EQ(decode(entry_.base, entry_.number), Code::kOk);
  EXPECT_EQ(decode(entry_.base, entry_.number + 1), Code::kCorrupt);
  EXPECT_EQ(decode(entry_.base, 0), Code::kCorrupt);
  EXPECT_EQ(decode(entry_.number, 0), Code::kCorrupt);
}

TEST_F(MaintenanceTest, IdsAreInOrderAndOnce) {
  struct Row {
    Bytes object;
    uint8_t last;  // fills the last id of a list
    uint8_t first;
    size_t size;
    Status (*decode)(ByteView);
  };
  auto entry = [](ByteView o) { return DecodeLogEntry(o).status(); };
  auto removal = [](ByteView o) { return DecodeRemoval(o).status(); };
  auto closure = [](ByteView o) { return DecodeClosure(o).status(); };
  for (const Row& row : {Row{Entry(), 0xa2, 0xa1, 32, entry}, Row{Entry(), 0xb2, 0xb1, 32, entry},
                         Row{EncodeRemoval(removal_, repo_, key_), 0xc2, 0xc1, 16, removal},
                         Row{EncodeClosure(closure_, repo_, key_), 0xc2, 0xc1, 16, closure}}) {
    for (int change : {-1, 0, 1}) {
      const Bytes by(row.size, static_cast<uint8_t>(row.first + change));
      EXPECT_EQ(row.decode(Forged(row.object, Bytes(row.size, row.last), by)).code(),
                change > 0 ? Code::kOk : Code::kCorrupt)
          << int{row.last} << " " << change;
    }
  }
}

TEST_F(MaintenanceTest, ListsDoNotShareTheirBytes) {
  entry_.condemned.clear();
  for (uint8_t i = 1; i < 40; ++i) entry_.condemned.push_back(Filled<PackId>(i));
  entry_.doomed = {Filled<PackId>(0xb1)};
  Bytes object = Entry();
  constexpr size_t kBodyAt = 16;
  Bytes body(object.begin() + kBodyAt, object.end());
  ShareVector(body, entry_.doomed[0].view(), entry_.condemned[0].view());
  std::copy(body.begin(), body.end(), object.begin() + kBodyAt);
  SignAgain(object, "bkfs signed object v1", repo_, key_);
  EXPECT_EQ(DecodeLogEntry(object).code(), Code::kCorrupt);
}

TEST_F(MaintenanceTest, RandomBytesAreRefused) {
  for (size_t size : {0, 1, 7, 8, 16, 63, 64, 80, 300}) {
    Bytes bytes(size);
    RandomBytes(bytes);
    EXPECT_EQ(DecodeLogEntry(bytes).code(), Code::kCorrupt) << size;
    EXPECT_EQ(DecodeRemoval(bytes).code(), Code::kCorrupt) << size;
    EXPECT_EQ(DecodeFence(bytes).code(), Code::kCorrupt) << size;
    EXPECT_EQ(DecodeClosure(bytes).code(), Code::kCorrupt) << size;
    EXPECT_EQ(VerifyMaintenance(bytes, repo_, key_.public_key()).code(), Code::kCorrupt) << size;
  }
}

TEST_F(MaintenanceTest, IdsOfObjects) {
  Bytes object = EncodeRemoval(removal_, repo_, key_);
  EXPECT_EQ(RemovalIdOf(object).bytes, AcceptanceIdOf(object).bytes);
  EXPECT_EQ(ParseRemovalName(RemovalName(RemovalIdOf(object))).value(), RemovalIdOf(object));
  Bytes other = object;
  other.back() ^= 1;
  EXPECT_NE(RemovalIdOf(other), RemovalIdOf(object));
}

TEST(MaintenanceNames, LogEntries) {
  EXPECT_EQ(LogEntryName(42), "condemned/000000000000002a");
  for (uint64_t number : {uint64_t{1}, uint64_t{0x123456789abcdef0}, UINT64_MAX}) {
    EXPECT_EQ(ParseLogEntryName(LogEntryName(number)).value(), number);
  }
  for (std::string_view bad :
       {"", "condemned/", "condemned/0000000000000000", "condemned/000000000000002A",
        "condemned/2a", "condemned/00000000000002a", "condemned/0000000000000002a",
        "condemned/000000000000002a.tmp", "condemned/000000000000002g",
        "condemned-000000000000002a", "removed/000000000000002a", "/condemned/000000000000002a"}) {
    EXPECT_EQ(ParseLogEntryName(bad).code(), Code::kInvalid) << bad;
  }
}

TEST(MaintenanceNames, RemovalsAndClosures) {
  const auto id = Filled<RemovalId>(0xab);
  const auto lease = Filled<LeaseId>(0xcd);
  EXPECT_EQ(RemovalName(id), "removed/abababababababababababababababab");
  EXPECT_EQ(ClosureName(lease), "removed/lease-cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd");
  EXPECT_EQ(ParseRemovalName(RemovalName(id)).value(), id);
  EXPECT_EQ(ParseClosureName(ClosureName(lease)).value(), lease);
  EXPECT_FALSE(ParseRemovalName(ClosureName(lease)).ok());
  EXPECT_FALSE(ParseClosureName(RemovalName(id)).ok());
  const std::string hex = id.hex();
  for (const std::string& bad :
       {std::string(), std::string("removed/"), "removed/" + hex + "0", "removed/" + hex.substr(1),
        std::string("removed/ABABABABABABABABABABABABABABABAB"), "snapshots/" + hex,
        "removed/" + hex + "/"}) {
    EXPECT_EQ(ParseRemovalName(bad).code(), Code::kInvalid) << bad;
  }
  for (const std::string& bad :
       {std::string("removed/lease-"), "removed/lease-" + hex + "0", "removed/lease" + hex,
        "removed/lease-" + hex.substr(1), "removed/Lease-" + hex,
        std::string("removed/lease-ABABABABABABABABABABABABABABABAB")}) {
    EXPECT_EQ(ParseClosureName(bad).code(), Code::kInvalid) << bad;
  }
}

}  // namespace
}  // namespace bkfs

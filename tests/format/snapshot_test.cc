// SPDX-License-Identifier: Apache-2.0
#include "engine/format/snapshot.h"

#include <gtest/gtest.h>

#include "engine/format/keyfile.h"
#include "tests/format/tamper.h"

namespace bkfs {
namespace {

class SnapshotTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(InitCrypto().ok());
    RandomBytes(envelope_.repo.bytes);
    master_ = MasterMaterial(RandomSecret(32), envelope_.repo, 1);
    envelope_.signer = master_.id();
    envelope_.seq = 7;
    RandomBytes(envelope_.prev.bytes);
    root_.kind = EntryKind::kDirectory;
    root_.mode = 0755;
    root_.totals = {5, 1, 1000, 0};
    RandomBytes(root_.directory.bytes);
    body_.name = "home";
    body_.host = "host";
    body_.user = "me";
    body_.time_ns = 10;
    body_.end_ns = 20;
    body_.totals = {5, 1, 1000, 0};
    body_.added = 77;
    body_.tags = {"a", ""};
    body_.paths = {"/home"};
    body_.parent.bytes.fill(4);
    body_.lease.bytes.fill(5);
    body_.program = "bkfs 1";
    body_.sealed_root = SealRoot(root_, Epoch().tree.public_key());
  }
  const EpochSecrets& Epoch() const { return *master_.FindEpoch(1); }
  Bytes Encode() const {
    return EncodeSnapshot(envelope_, body_, Epoch().log.public_key(), master_.signing);
  }
  SnapshotEnvelope envelope_;
  SnapshotBody body_;
  Entry root_;
  KeyMaterial master_;
};

TEST_F(SnapshotTest, RoundTrip) {
  Bytes object = Encode();
  SnapshotEnvelope envelope = DecodeSnapshotEnvelope(object, envelope_.repo).value();
  EXPECT_EQ(envelope.epoch, 1U);
  EXPECT_EQ(envelope.signer, master_.id());
  EXPECT_EQ(envelope.seq, 7U);
  EXPECT_EQ(envelope.prev, envelope_.prev);
  EXPECT_TRUE(VerifySnapshotSignature(object, master_.master_public).ok());
  SnapshotBody body = OpenSnapshotBody(object, Epoch().log).value();
  EXPECT_EQ(body.name, "home");
  EXPECT_EQ(body.host, "host");
  EXPECT_EQ(body.user, "me");
  EXPECT_EQ(body.time_ns, 10);
  EXPECT_EQ(body.end_ns, 20);
  EXPECT_EQ(body.totals, body_.totals);
  EXPECT_EQ(body.added, 77U);
  EXPECT_EQ(body.tags, body_.tags);
  EXPECT_EQ(body.paths, body_.paths);
  EXPECT_EQ(body.parent, body_.parent);
  EXPECT_EQ(body.lease, body_.lease);
  EXPECT_EQ(body.program, "bkfs 1");
  Entry root = OpenRoot(body.sealed_root, Epoch().tree).value();
  EXPECT_EQ(root.directory, root_.directory);
  EXPECT_EQ(root.totals, root_.totals);
  EXPECT_FALSE(OpenRoot(body.sealed_root, Epoch().log).ok());
  EXPECT_EQ(SnapshotName(SnapshotIdOf(object)).size(), 10U + 32);
  body_.lease = {};  // made under none
  EXPECT_TRUE(OpenSnapshotBody(Encode(), Epoch().log).value().lease.is_zero());
}

TEST_F(SnapshotTest, RefusesTampering) {
  Bytes object = Encode();
  ExpectTamperProof(object, [this](ByteView bad) -> Status {
    BKFS_ASSIGN(SnapshotEnvelope envelope, DecodeSnapshotEnvelope(bad, envelope_.repo));
    (void)envelope;
    return VerifySnapshotSignature(bad, master_.master_public);
  });
  // The box alone stops changes of the body even where no signature is checked.
  Bytes bad = object;
  bad[100] ^= 1;
  EXPECT_EQ(OpenSnapshotBody(bad, Epoch().log).code(), Code::kCorrupt);
  for (size_t i = 0; i < object.size(); ++i) {
    EXPECT_FALSE(OpenSnapshotBody(ByteView(object).first(i), Epoch().log).ok()) << i;
  }
}

TEST_F(SnapshotTest, OthersAreRefused) {
  Bytes object = Encode();
  EXPECT_EQ(DecodeSnapshotEnvelope(object, RepoId()).code(), Code::kCorrupt);
  SigningKey other(RandomSecret(32));
  EXPECT_EQ(VerifySnapshotSignature(object, other.public_key()).code(), Code::kCorrupt);
  EXPECT_EQ(OpenSnapshotBody(object, Epoch().tree).code(), Code::kCorrupt);
  object[8] = 2;
  EXPECT_EQ(DecodeSnapshotEnvelope(object, envelope_.repo).code(), Code::kUnsupported);
}

TEST_F(SnapshotTest, RootMustBeANamelessDirectory) {
  Entry bad = root_;
  bad.name = "x";
  EXPECT_EQ(OpenRoot(SealBox(Epoch().tree.public_key(), EncodeEntry(bad)), Epoch().tree).code(),
            Code::kCorrupt);
  bad = {};
  EXPECT_EQ(OpenRoot(SealBox(Epoch().tree.public_key(), EncodeEntry(bad)), Epoch().tree).code(),
            Code::kCorrupt);
}

}  // namespace
}  // namespace bkfs

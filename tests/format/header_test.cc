// SPDX-License-Identifier: Apache-2.0
#include "engine/format/header.h"

#include <gtest/gtest.h>

#include "engine/format/keyfile.h"
#include "tests/format/tamper.h"

namespace bkfs {
namespace {

class HeaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(InitCrypto().ok());
    RandomBytes(repo_.bytes);
    master_ = MasterMaterial(RandomSecret(32), repo_, 2);
    other_ = MasterMaterial(RandomSecret(32), repo_, 1);
  }
  Badge MakeBadge() const {
    SigningKey key(RandomSecret(32));
    Badge badge;
    badge.key = key.id();
    badge.type = KeyType::kWriteOnly;
    badge.label = "laptop of Zoë";
    badge.public_key = key.public_key();
    badge.created_ns = 12345;
    badge.epoch = 2;
    return badge;
  }
  RepoId repo_;
  KeyMaterial master_;
  KeyMaterial other_;
};

TEST_F(HeaderTest, RoundTrip) {
  RepoHeader header = HeaderFor(master_, 77, Cipher::kChaCha20Poly1305, true, {8192, 16384, 65536});
  RepoHeader read = DecodeHeader(EncodeHeader(header, master_.signing)).value();
  EXPECT_EQ(read.repo, repo_);
  EXPECT_EQ(read.created_ns, 77);
  EXPECT_EQ(read.cipher, Cipher::kChaCha20Poly1305);
  EXPECT_TRUE(read.pad);
  EXPECT_EQ(read.chunks.min, 8192U);
  EXPECT_EQ(read.chunks.average, 16384U);
  EXPECT_EQ(read.chunks.max, 65536U);
  EXPECT_EQ(read.master, master_.master_public);
  ASSERT_EQ(read.epochs.size(), 2U);
  EXPECT_EQ(read.FindEpoch(2)->tree, master_.FindEpoch(2)->tree.public_key());
  EXPECT_EQ(read.FindEpoch(3), nullptr);
}

TEST_F(HeaderTest, RefusesTampering) {
  Bytes object =
      EncodeHeader(HeaderFor(master_, 1, Cipher::kAes256Gcm, false, {}), master_.signing);
  ExpectTamperProof(object, [](ByteView bad) { return DecodeHeader(bad).status(); });
}

TEST_F(HeaderTest, RefusesBadFieldsThoughSigned) {
  auto decode = [this](const RepoHeader& header) {
    return DecodeHeader(EncodeHeader(header, master_.signing)).code();
  };
  const RepoHeader good = HeaderFor(master_, 1, Cipher::kAes256Gcm, false, {});
  EXPECT_EQ(decode(good), Code::kOk);
  RepoHeader bad = good;
  bad.chunks.min = 5000;
  EXPECT_EQ(decode(bad), Code::kCorrupt);
  bad = good;
  bad.epochs.clear();
  EXPECT_EQ(decode(bad), Code::kCorrupt);
  bad = good;
  std::swap(bad.epochs[0], bad.epochs[1]);
  EXPECT_EQ(decode(bad), Code::kCorrupt);
  bad = good;
  bad.epochs[0].epoch = 0;
  EXPECT_EQ(decode(bad), Code::kCorrupt);
  bad = good;
  bad.cipher = static_cast<Cipher>(9);
  EXPECT_EQ(decode(bad), Code::kCorrupt);
}

TEST_F(HeaderTest, NewerVersionIsSaidSo) {
  Bytes object =
      EncodeHeader(HeaderFor(master_, 1, Cipher::kAes256Gcm, false, {}), master_.signing);
  object[8] = 2;
  Status status = DecodeHeader(object).status();
  EXPECT_EQ(status.code(), Code::kUnsupported);
  EXPECT_NE(status.message().find("version 2"), std::string::npos);
}

TEST_F(HeaderTest, BadgeRoundTripAndTamper) {
  Badge badge = MakeBadge();
  Bytes object = EncodeBadge(badge, repo_, master_.signing);
  Badge read = DecodeBadge(object, repo_, master_.master_public).value();
  EXPECT_EQ(read.key, badge.key);
  EXPECT_EQ(read.type, badge.type);
  EXPECT_EQ(read.label, badge.label);
  EXPECT_EQ(read.public_key, badge.public_key);
  EXPECT_EQ(read.created_ns, badge.created_ns);
  EXPECT_EQ(read.epoch, 2U);
  ExpectTamperProof(object, [this](ByteView bad) {
    return DecodeBadge(bad, repo_, master_.master_public).status();
  });
  EXPECT_EQ(DecodeBadge(object, RepoId(), master_.master_public).code(), Code::kCorrupt);
  EXPECT_EQ(DecodeBadge(object, repo_, other_.master_public).code(), Code::kCorrupt);
  EXPECT_EQ(DecodeRevocation(object, repo_, master_.master_public).code(), Code::kCorrupt);
}

TEST_F(HeaderTest, BadgeRules) {
  auto decode = [this](const Badge& badge) {
    return DecodeBadge(EncodeBadge(badge, repo_, master_.signing), repo_, master_.master_public)
        .code();
  };
  Badge bad = MakeBadge();
  bad.key.bytes[0] ^= 1;
  EXPECT_EQ(decode(bad), Code::kCorrupt);
  bad = MakeBadge();
  bad.type = KeyType::kMaster;
  EXPECT_EQ(decode(bad), Code::kCorrupt);
  bad.type = static_cast<KeyType>(7);
  EXPECT_EQ(decode(bad), Code::kCorrupt);
  bad = MakeBadge();
  bad.label = "two\nlines";
  EXPECT_EQ(decode(bad), Code::kCorrupt);
  bad = MakeBadge();
  bad.epoch = 0;
  EXPECT_EQ(decode(bad), Code::kCorrupt);
}

TEST_F(HeaderTest, RevocationRoundTripOrderTamper) {
  Revocation revocation;
  revocation.key = MakeBadge().key;
  revocation.time_ns = 5;
  for (uint8_t i = 0; i < 3; ++i) revocation.accepted.emplace_back().bytes[0] = i;
  Bytes object = EncodeRevocation(revocation, repo_, master_.signing);
  Revocation read = DecodeRevocation(object, repo_, master_.master_public).value();
  EXPECT_EQ(read.key, revocation.key);
  EXPECT_EQ(read.time_ns, 5);
  EXPECT_EQ(read.accepted, revocation.accepted);
  ExpectTamperProof(object, [this](ByteView bad) {
    return DecodeRevocation(bad, repo_, master_.master_public).status();
  });
  for (auto change : {0, 1}) {
    Revocation bad = revocation;
    if (change == 0) std::swap(bad.accepted[0], bad.accepted[1]);
    if (change == 1) bad.accepted[1] = bad.accepted[0];
    EXPECT_EQ(DecodeRevocation(EncodeRevocation(bad, repo_, master_.signing), repo_,
                               master_.master_public)
                  .code(),
              Code::kCorrupt);
  }
}

TEST(KeyTypes, NamesAndRights) {
  struct Row {
    KeyType type;
    const char* name;
    bool log, trees, contents, write, maintain;
  };
  for (const Row& row : {Row{KeyType::kMaster, "Master", true, true, true, true, true},
                         Row{KeyType::kReadWrite, "ReadWrite", true, true, true, true, false},
                         Row{KeyType::kReadOnly, "ReadOnly", true, true, true, false, false},
                         Row{KeyType::kWriteOnly, "WriteOnly", false, false, false, true, false},
                         Row{KeyType::kLogOnly, "LogOnly", true, false, false, false, false},
                         Row{KeyType::kMaintain, "Maintain", true, true, false, false, true}}) {
    EXPECT_EQ(KeyTypeName(row.type), row.name);
    EXPECT_EQ(ParseKeyType(row.name).value(), row.type);
    EXPECT_EQ(MayReadLog(row.type), row.log) << row.name;
    EXPECT_EQ(MayReadTrees(row.type), row.trees) << row.name;
    EXPECT_EQ(MayReadContents(row.type), row.contents) << row.name;
    EXPECT_EQ(MayWrite(row.type), row.write) << row.name;
    EXPECT_EQ(MayMaintain(row.type), row.maintain) << row.name;
  }
  EXPECT_EQ(ParseKeyType("master").code(), Code::kInvalid);
  EXPECT_EQ(ParseKeyType("").code(), Code::kInvalid);
}

TEST(Labels, CleanText) {
  EXPECT_TRUE(CheckLabel("").ok());
  EXPECT_TRUE(CheckLabel("Büro, 3. Stock 🖥").ok());
  for (std::string_view bad : {"a\nb", " a", "a ", "\x7f", "\xc2\x85", "\xff", "\xc0\x80",
                               "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"}) {
    EXPECT_FALSE(CheckLabel(bad).ok()) << bad;
  }
  EXPECT_FALSE(CheckLabel(std::string(201, 'x')).ok());
}

}  // namespace
}  // namespace bkfs

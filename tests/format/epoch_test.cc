// SPDX-License-Identifier: Apache-2.0
#include "engine/format/epoch.h"

#include <gtest/gtest.h>

#include "tests/format/forge.h"
#include "tests/format/tamper.h"

namespace bkfs {
namespace {

class EpochTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(InitCrypto().ok());
    RandomBytes(repo_.bytes);
    master_ = MasterMaterial(RandomSecret(32), repo_, 1);
    secrets_ = MasterEpoch(master_.master, 2);
    epoch_.keys = PublicKeysOf(secrets_);
    epoch_.time_ns = 77;
  }
  KeyMaterial Derive(KeyType type) const { return DeriveMaterial(master_, type, "", 1); }
  void Grant(const KeyMaterial& key) {
    epoch_.grants.push_back(MakeGrant(secrets_, key.type, key.signing.public_key()).value());
    std::sort(epoch_.grants.begin(), epoch_.grants.end(),
              [](const EpochGrant& a, const EpochGrant& b) { return a.key < b.key; });
  }
  Bytes Object() const { return EncodeEpoch(epoch_, repo_, master_.signing); }
  Result<Epoch> Decode(ByteView object) const {
    return DecodeEpoch(object, repo_, master_.master_public);
  }

  RepoId repo_;
  KeyMaterial master_;
  EpochSecrets secrets_;
  Epoch epoch_;
};

TEST_F(EpochTest, EachKeyGetsWhatItsTypeReads) {
  std::vector<KeyMaterial> keys;
  for (KeyType type : {KeyType::kReadWrite, KeyType::kReadOnly, KeyType::kLogOnly,
                       KeyType::kMaintain, KeyType::kReadOnly}) {
    EXPECT_TRUE(NeedsGrant(type));
    keys.push_back(Derive(type));
    Grant(keys.back());
  }
  EXPECT_FALSE(NeedsGrant(KeyType::kWriteOnly));
  EXPECT_FALSE(NeedsGrant(KeyType::kMaster));
  auto read = Decode(Object());
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(read->keys.epoch, 2U);
  EXPECT_EQ(read->keys.content, epoch_.keys.content);
  EXPECT_EQ(read->time_ns, 77);
  EXPECT_EQ(read->grants.size(), keys.size());
  for (const KeyMaterial& key : keys) {
    const EpochGrant* grant = read->FindGrant(key.id());
    ASSERT_NE(grant, nullptr);
    auto opened = OpenGrant(*grant, read->keys, key.type, key.signing);
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    EXPECT_EQ(opened->content.empty(), !MayReadContents(key.type));
    EXPECT_EQ(opened->tree.empty(), !MayReadTrees(key.type));
    EXPECT_EQ(opened->log.public_key(), epoch_.keys.log);
    // Another's does not open, nor one that was made for another type.
    EXPECT_EQ(OpenGrant(*grant, read->keys, key.type, Derive(key.type).signing).code(),
              Code::kCorrupt);
    const KeyType other = key.type == KeyType::kLogOnly ? KeyType::kReadOnly : KeyType::kLogOnly;
    EXPECT_EQ(OpenGrant(*grant, read->keys, other, key.signing).code(), Code::kCorrupt);
  }
  EXPECT_EQ(read->FindGrant(master_.id()), nullptr);
}

TEST_F(EpochTest, NothingInItCanBeChanged) {
  Grant(Derive(KeyType::kReadOnly));
  const Bytes object = Object();
  ExpectTamperProof(object, [this](ByteView bad) { return Decode(bad).status(); });
  EXPECT_EQ(DecodeEpoch(object, RepoId(), master_.master_public).code(), Code::kCorrupt);
  EXPECT_EQ(DecodeEpoch(object, repo_, SigningKey(RandomSecret(32)).public_key()).code(),
            Code::kCorrupt);
  Bytes newer = object;
  newer[8] = 2;
  EXPECT_EQ(Decode(newer).code(), Code::kUnsupported);
}

TEST_F(EpochTest, WhatTheMasterWouldNotSayIsRefused) {
  const KeyMaterial key = Derive(KeyType::kReadOnly);
  Grant(key);
  epoch_.grants.push_back(epoch_.grants[0]);
  EXPECT_EQ(Decode(Object()).code(), Code::kCorrupt);  // twice
  epoch_.grants.pop_back();
  for (uint32_t number : {0U, kMostEpochs + 1}) {
    epoch_.keys.epoch = number;
    EXPECT_EQ(Decode(Object()).code(), Code::kCorrupt) << number;
  }
  // Secrets of another epoch than the public keys.
  secrets_ = MasterEpoch(master_.master, 3);
  auto other = MakeGrant(secrets_, key.type, key.signing.public_key());
  ASSERT_TRUE(other.ok());
  epoch_.keys.epoch = 2;
  EXPECT_EQ(OpenGrant(*other, epoch_.keys, key.type, key.signing).code(), Code::kCorrupt);
}

TEST_F(EpochTest, PayloadsOfGrantsAreExact) {
  const EpochSecrets part = EpochFor(secrets_, KeyType::kMaintain);
  const Secret payload = EncodeEpochSecrets(part);
  const Bytes good(payload.view().begin(), payload.view().end());
  ASSERT_TRUE(DecodeEpochSecrets(good, KeyType::kMaintain).ok());
  EXPECT_FALSE(DecodeEpochSecrets(good, KeyType::kReadOnly).ok());  // lacks the content secret
  EXPECT_FALSE(DecodeEpochSecrets(good, KeyType::kLogOnly).ok());   // has too much
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(DecodeEpochSecrets(ByteView(good).first(length), KeyType::kMaintain).ok());
  }
  Bytes twice = good;
  Append(twice, ByteView(good).subspan(4));
  EXPECT_FALSE(DecodeEpochSecrets(twice, KeyType::kMaintain).ok());
  Bytes two = good;
  const Secret next =
      EncodeEpochSecrets(EpochFor(MasterEpoch(master_.master, 3), KeyType::kMaintain));
  Append(two, next.view().subspan(4));
  EXPECT_FALSE(DecodeEpochSecrets(two, KeyType::kMaintain).ok());
}

TEST_F(EpochTest, Names) {
  EXPECT_EQ(EpochName(2), "keys/epoch-2");
  EXPECT_EQ(ParseEpochName("keys/epoch-17").value(), 17U);
  for (const char* bad : {"keys/epoch-", "keys/epoch-0", "keys/epoch-02", "keys/epoch-2x",
                          "keys/epoch--1", "keys/epoch-4294967296", "epoch-2", ""}) {
    EXPECT_EQ(ParseEpochName(bad).code(), Code::kInvalid) << bad;
  }
}

}  // namespace
}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/crypto/keys.h"

#include <gtest/gtest.h>

#include "engine/crypto/hash.h"

namespace bkfs {
namespace {

class KeysTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(InitCrypto().ok()); }
};

Secret HexSecret(std::string_view hex) { return Secret::CopyOf(ParseHex(hex).value()); }

// RFC 7748 section 6.1, Alice's pair.
TEST_F(KeysTest, X25519PublicKey) {
  BoxKey alice(HexSecret("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
  EXPECT_EQ(ToHex(alice.public_key()),
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
}

TEST_F(KeysTest, BoxOpensOnlyForItsKey) {
  BoxKey key(RandomSecret(32));
  BoxKey other(RandomSecret(32));
  Bytes box = SealBox(key.public_key(), AsBytes("data key"));
  EXPECT_EQ(box.size(), 8 + kBoxOverhead);
  EXPECT_EQ(AsText(key.Open(box).value().view()), "data key");
  EXPECT_EQ(AsText(key.Clone().Open(box).value().view()), "data key");
  EXPECT_EQ(other.Open(box).code(), Code::kCorrupt);
  for (size_t i = 0; i < box.size(); ++i) {
    Bytes bad = box;
    bad[i] ^= 1;
    EXPECT_EQ(key.Open(bad).code(), Code::kCorrupt) << i;
    EXPECT_EQ(key.Open(ByteView(box).first(i)).code(), Code::kCorrupt) << i;
  }
  EXPECT_TRUE(BoxKey().Clone().empty());
  EXPECT_TRUE(key.Open(SealBox(key.public_key(), {})).value().empty());
}

// RFC 8032 section 7.1, tests 1 and 2.
TEST_F(KeysTest, Ed25519Vectors) {
  SigningKey one(HexSecret("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"));
  EXPECT_EQ(ToHex(one.public_key()),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
  EXPECT_EQ(
      ToHex(one.Sign({})),
      "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9"
      "b46bd25bf5f0595bbe24655141438e7a100b");
  SigningKey two(HexSecret("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"));
  EXPECT_EQ(
      ToHex(two.Sign(Bytes{0x72})),
      "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f1"
      "1d8c387b2eaeb4302aeeb00d291612bb0c00");
}

TEST_F(KeysTest, SignaturesBindMessageAndKey) {
  SigningKey key(RandomSecret(32));
  Signature signature = key.Sign(AsBytes("message"));
  EXPECT_TRUE(VerifySignature(key.public_key(), AsBytes("message"), signature));
  EXPECT_FALSE(VerifySignature(key.public_key(), AsBytes("messagf"), signature));
  EXPECT_FALSE(
      VerifySignature(SigningKey(RandomSecret(32)).public_key(), AsBytes("message"), signature));
  for (size_t i = 0; i < signature.size(); ++i) {
    Signature bad = signature;
    bad[i] ^= 1;
    EXPECT_FALSE(VerifySignature(key.public_key(), AsBytes("message"), bad)) << i;
  }
  EXPECT_FALSE(VerifySignature(PublicKey{}, AsBytes("message"), signature));
}

TEST_F(KeysTest, KeyIdIsHalfTheHash) {
  SigningKey key(RandomSecret(32));
  EXPECT_EQ(key.id().hex(), ToHex(HashBytes(key.public_key())).substr(0, 32));
  EXPECT_EQ(key.Clone().id(), key.id());
}

// Computed by an implementation of RFC 9106 that reproduces the RFC's own vector (which has a
// secret and associated data, and so cannot be put to libsodium).
TEST_F(KeysTest, Argon2idKnownAnswer) {
  PassphraseParams params;
  params.opslimit = 3;
  params.memlimit = 64 << 10;
  for (size_t i = 0; i < params.salt.size(); ++i) params.salt[i] = static_cast<uint8_t>(i);
  Secret key = StretchPassphrase(AsBytes("password"), params).value();
  EXPECT_EQ(ToHex(key.view()), "b06bcf7d2d3ae0a0e060f75fc78cc0082e6196baab3e422cbe3cc0c807f76c0d");
}

TEST_F(KeysTest, PassphraseCostIsBounded) {
  PassphraseParams params;
  params.opslimit = 17;
  EXPECT_EQ(StretchPassphrase(AsBytes("x"), params).code(), Code::kInvalid);
  params.opslimit = 0;
  EXPECT_EQ(StretchPassphrase(AsBytes("x"), params).code(), Code::kInvalid);
  params.opslimit = 1;
  params.memlimit = (uint64_t{2} << 30) + 1;
  EXPECT_EQ(StretchPassphrase(AsBytes("x"), params).code(), Code::kInvalid);
  params.memlimit = 1000;
  EXPECT_EQ(StretchPassphrase(AsBytes("x"), params).code(), Code::kInvalid);
}

}  // namespace
}  // namespace bkfs

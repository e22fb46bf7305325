// SPDX-License-Identifier: Apache-2.0
#include "engine/crypto/hash.h"

#include <gtest/gtest.h>

namespace bkfs {
namespace {

// The official BLAKE3 test vectors: input byte i is i % 251.
Bytes VectorInput(size_t size) {
  Bytes out(size);
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<uint8_t>(i % 251);
  return out;
}
constexpr std::string_view kVectorKey = "whats the Elvish word for friend";
constexpr std::string_view kVectorContext = "BLAKE3 2019-12-27 16:29:52 test vectors context";

struct Vector {
  size_t size;
  const char* hash;
  const char* keyed;
  const char* derived;
};

const bool kReady = InitCrypto().ok();  // secrets need it

class Blake3Vectors : public ::testing::TestWithParam<Vector> {};

TEST_P(Blake3Vectors, AllThreeModes) {
  const Vector& v = GetParam();
  Bytes input = VectorInput(v.size);
  EXPECT_EQ(ToHex(HashBytes(input)), v.hash);
  EXPECT_EQ(ToHex(KeyedHash(AsBytes(kVectorKey), input)), v.keyed);
  EXPECT_EQ(ToHex(DeriveKey(kVectorContext, input).view()), v.derived);
}

INSTANTIATE_TEST_SUITE_P(
    Official, Blake3Vectors,
    ::testing::Values(Vector{0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
                             "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26",
                             "2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d"},
                      Vector{1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
                             "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b",
                             "b3e2e340a117a499c6cf2398a19ee0d29cca2bb7404c73063382693bf66cb06c"}),
    [](const auto& tested) { return "Size" + std::to_string(tested.param.size); });

TEST(Hash, ExtendedOutputBeginsWithTheHash) {
  Bytes input = VectorInput(5000);
  Bytes out(2048);
  KeyedHashExtended(AsBytes(kVectorKey), input, out);
  Hash256 hash = KeyedHash(AsBytes(kVectorKey), input);
  EXPECT_EQ(ToHex(ByteView(out).first(32)), ToHex(hash));
  EXPECT_NE(ToHex(ByteView(out).subspan(32, 32)), ToHex(hash));
}

TEST(Hash, PartsAndPiecesAreTheWhole) {
  Bytes input = VectorInput(300'000);
  Hash256 whole = HashBytes(input);
  ByteView view(input);
  EXPECT_EQ(HashParts({view.first(1), view.subspan(1, 1023), view.subspan(1024)}), whole);
  Hasher hasher;
  for (size_t at = 0; at < input.size();) {
    size_t n = std::min<size_t>(1 + at % 7919, input.size() - at);
    hasher.Update(view.subspan(at, n));
    at += n;
  }
  EXPECT_EQ(hasher.Finish(), whole);
  hasher.Update(view.first(1));
  EXPECT_NE(hasher.Finish(), whole);
}

TEST(Hash, KeysAndContextsSeparate) {
  ASSERT_TRUE(kReady);
  Bytes key(32, 1);
  Bytes other(32, 2);
  EXPECT_NE(KeyedHash(key, {}), KeyedHash(other, {}));
  EXPECT_NE(ToHex(DeriveKey("a", key).view()), ToHex(DeriveKey("b", key).view()));
  EXPECT_NE(ToHex(DeriveKey("a", key).view()), ToHex(DeriveKey("a", other).view()));
}

// FIPS 180-2, RFC 4231 (case 2) and RFC 1321.
TEST(Hash, TheAlgorithmsOfOthersGiveTheirPublishedAnswers) {
  EXPECT_EQ(ToHex(Sha256(AsBytes("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(ToHex(Sha256(ByteView{})),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  const ByteView parts[] = {AsBytes("a"), {}, AsBytes("bc")};
  EXPECT_EQ(Sha256(parts), Sha256(AsBytes("abc")));
  EXPECT_EQ(ToHex(HmacSha256(AsBytes("Jefe"), AsBytes("what do ya want for nothing?"))),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(ToHex(Md5(AsBytes("message digest"))), "f96b697d7cb7938d525a2f31aaf161d0");
}

}  // namespace
}  // namespace bkfs

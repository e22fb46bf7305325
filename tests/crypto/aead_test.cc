// SPDX-License-Identifier: Apache-2.0
#include "engine/crypto/aead.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <thread>

#include "engine/crypto/aead_context.h"
#include "engine/crypto/hash.h"

namespace bkfs {
namespace {

Bytes Hex(std::string_view hex) { return ParseHex(hex).value(); }

Bytes RawSeal(Cipher cipher, ByteView key, ByteView nonce, ByteView aad, ByteView plain) {
  Bytes out(plain.size() + kAeadTag);
  AeadContexts::ForThread().Seal(AeadContexts::Use::kOnce, cipher, key, nonce.data(), aad,
                                 std::span(&plain, 1), out.data());
  return out;
}

class AeadTest : public ::testing::TestWithParam<Cipher> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(InitCrypto().ok());
    repo_.bytes.fill(0x11);
  }
  const Bytes key_ = Bytes(32, 0x42);
  RepoId repo_;
};

// The McGrew and Viega GCM specification, test cases 14 and 16.
TEST(AeadVectors, Aes256Gcm) {
  EXPECT_EQ(ToHex(RawSeal(Cipher::kAes256Gcm, Bytes(32, 0), Bytes(12, 0), {}, Bytes(16, 0))),
            "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
  Bytes plain = Hex(
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6"
      "b525b16aedf5aa0de657ba637b39");
  EXPECT_EQ(ToHex(RawSeal(Cipher::kAes256Gcm,
                          Hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"),
                          Hex("cafebabefacedbaddecaf888"),
                          Hex("feedfacedeadbeeffeedfacedeadbeefabaddad2"), plain)),
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b"
            "1056828838"
            "c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b");
}

// RFC 8439 section 2.8.2.
TEST(AeadVectors, ChaCha20Poly1305) {
  std::string_view text =
      "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
      "sunscreen would be it.";
  EXPECT_EQ(ToHex(RawSeal(Cipher::kChaCha20Poly1305,
                          Hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"),
                          Hex("070000004041424344454647"), Hex("50515253c0c1c2c3c4c5c6c7"),
                          AsBytes(text))),
            "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb"
            "69da92728b"
            "1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad67594558580"
            "8b4831d7bc"
            "3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691");
}

TEST_P(AeadTest, SaltedRoundTripAndLayout) {
  for (size_t size : {0, 1, 15, 16, 17, 1000, 100'000}) {
    Bytes plain(size, 0x33);
    Bytes sealed = SealSalted(GetParam(), key_, repo_, 'F', plain);
    ASSERT_EQ(sealed.size(), size + kSealOverhead);
    EXPECT_EQ(sealed[0], static_cast<uint8_t>(GetParam()));
    EXPECT_EQ(OpenSalted(key_, repo_, 'F', sealed).value(), plain);
    // The layout of doc/format.md section 1, put together by hand.
    Hash256 derived = KeyedHash(key_, ByteView(sealed).subspan(1, 32));
    Bytes aad(repo_.bytes.begin(), repo_.bytes.end());
    aad.push_back('F');
    EXPECT_EQ(ToHex(RawSeal(GetParam(), derived, Bytes(12, 0), aad, plain)),
              ToHex(ByteView(sealed).subspan(33)));
  }
  EXPECT_NE(SealSalted(GetParam(), key_, repo_, 'F', {}),
            SealSalted(GetParam(), key_, repo_, 'F', {}));
}

TEST_P(AeadTest, SaltedRefusesEveryChange) {
  Bytes sealed = SealSalted(GetParam(), key_, repo_, 'F', AsBytes("some footer"));
  for (size_t i = 0; i < sealed.size(); ++i) {
    Bytes bad = sealed;
    bad[i] ^= 1;
    EXPECT_EQ(OpenSalted(key_, repo_, 'F', bad).code(), Code::kCorrupt) << i;
    EXPECT_EQ(OpenSalted(key_, repo_, 'F', ByteView(sealed).first(i)).code(), Code::kCorrupt) << i;
  }
  EXPECT_EQ(OpenSalted(key_, repo_, 'I', sealed).code(), Code::kCorrupt);
  EXPECT_EQ(OpenSalted(key_, RepoId(), 'F', sealed).code(), Code::kCorrupt);
  EXPECT_EQ(OpenSalted(Bytes(32, 0), repo_, 'F', sealed).code(), Code::kCorrupt);
}

TEST_P(AeadTest, FramesCountUpAndOpen) {
  FrameSealer sealer(GetParam(), Secret::CopyOf(key_), repo_, 1);
  for (uint64_t n = 0; n < 5; ++n) {
    ByteView parts[] = {AsBytes("one "), {}, AsBytes("two")};
    Bytes frame = sealer.Seal(parts);
    EXPECT_EQ(Load<uint64_t>(frame.data()), n);
    EXPECT_EQ(Load<uint32_t>(frame.data() + 8), 0U);
    EXPECT_EQ(AsText(OpenFrame(GetParam(), key_, repo_, 1, frame).value()), "one two");
    EXPECT_EQ(OpenFrame(GetParam(), key_, repo_, 2, frame).code(), Code::kCorrupt);
    EXPECT_EQ(OpenFrame(GetParam(), key_, RepoId(), 1, frame).code(), Code::kCorrupt);
    EXPECT_EQ(OpenFrame(GetParam(), Bytes(32, 1), repo_, 1, frame).code(), Code::kCorrupt);
    EXPECT_EQ(OpenFrame(GetParam(), Bytes(31, 1), repo_, 1, frame).code(), Code::kCorrupt);
    for (size_t i = 0; i < frame.size(); ++i) {
      Bytes bad = frame;
      bad[i] ^= 0x80;
      EXPECT_FALSE(OpenFrame(GetParam(), key_, repo_, 1, bad).ok()) << i;
      EXPECT_FALSE(OpenFrame(GetParam(), key_, repo_, 1, ByteView(frame).first(i)).ok()) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Both, AeadTest,
                         ::testing::Values(Cipher::kAes256Gcm, Cipher::kChaCha20Poly1305));

TEST(Cipher, NumbersAreFixed) {
  EXPECT_EQ(ParseCipher(1).value(), Cipher::kAes256Gcm);
  EXPECT_EQ(ParseCipher(2).value(), Cipher::kChaCha20Poly1305);
  EXPECT_FALSE(ParseCipher(0).ok());
  EXPECT_FALSE(ParseCipher(3).ok());
}

TEST(LocalSealer, RoundTripAndTamper) {
  ASSERT_TRUE(InitCrypto().ok());
  LocalSealer sealer(RandomSecret(32));
  LocalSealer other(RandomSecret(32));
  Bytes out = {1, 2, 3};
  sealer.Seal(AsBytes("place"), AsBytes("value"), out);
  ASSERT_EQ(out.size(), 3 + 5 + LocalSealer::kOverhead);
  EXPECT_EQ(Bytes(out.begin(), out.begin() + 3), (Bytes{1, 2, 3}));
  Bytes sealed(out.begin() + 3, out.end());
  EXPECT_EQ(AsText(sealer.Open(AsBytes("place"), sealed).value()), "value");
  EXPECT_EQ(sealer.Open(AsBytes("other"), sealed).code(), Code::kCorrupt);
  EXPECT_EQ(other.Open(AsBytes("place"), sealed).code(), Code::kCorrupt);
  EXPECT_EQ(AsText(sealer.Open(AsBytes("place"), sealed).value()), "value");
  for (size_t i = 0; i < sealed.size(); ++i) {
    Bytes bad = sealed;
    bad[i] ^= 1;
    EXPECT_FALSE(sealer.Open(AsBytes("place"), bad).ok()) << i;
    EXPECT_FALSE(sealer.Open(AsBytes("place"), ByteView(sealed).first(i)).ok()) << i;
  }
}

TEST(LocalSealer, NoncesDifferAcrossThreadsAndForks) {
  ASSERT_TRUE(InitCrypto().ok());
  LocalSealer sealer(RandomSecret(32));
  auto nonce = [&sealer] {
    Bytes out;
    sealer.Seal({}, {}, out);
    return ToHex(ByteView(out).first(kAeadNonce));
  };
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(nonce());
  std::thread([&] { seen.insert(nonce()); }).join();

  int pipe_fds[2];
  ASSERT_EQ(::pipe(pipe_fds), 0);
  pid_t child = ::fork();
  if (child == 0) {
    std::string text = nonce();
    ssize_t written = ::write(pipe_fds[1], text.data(), text.size());
    ::_exit(written == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  char text[2 * kAeadNonce];
  ASSERT_EQ(::read(pipe_fds[0], text, sizeof text), static_cast<ssize_t>(sizeof text));
  ::waitpid(child, nullptr, 0);
  ::close(pipe_fds[0]);
  ::close(pipe_fds[1]);
  seen.insert(std::string(text, sizeof text));
  seen.insert(nonce());  // the parent's next, which a copied counter would have repeated
  EXPECT_EQ(seen.size(), 1003U);
}

TEST(KeyfileSeal, RoundTripAndTamper) {
  ASSERT_TRUE(InitCrypto().ok());
  Bytes key(32, 9);
  Bytes sealed = SealKeyfile(key, AsBytes("lines"), AsBytes("payload"));
  EXPECT_EQ(sealed.size(), 24U + 7 + 16);
  EXPECT_EQ(AsText(OpenKeyfile(key, AsBytes("lines"), sealed).value().view()), "payload");
  EXPECT_FALSE(OpenKeyfile(key, AsBytes("other"), sealed).ok());
  for (size_t i = 0; i < sealed.size(); ++i) {
    Bytes bad = sealed;
    bad[i] ^= 1;
    EXPECT_FALSE(OpenKeyfile(key, AsBytes("lines"), bad).ok()) << i;
    EXPECT_FALSE(OpenKeyfile(key, AsBytes("lines"), ByteView(sealed).first(i)).ok()) << i;
  }
}

}  // namespace
}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/format/pack.h"

#include <gtest/gtest.h>

#include "engine/codec/frame_codec.h"
#include "tests/format/tamper.h"

namespace bkfs {
namespace {

constexpr uint64_t kSize = 1 << 20;

class PackTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(InitCrypto().ok());
    RandomBytes(repo_.bytes);
    signer_ = SigningKey(RandomSecret(32));
    footer_.kind = PackKind::kTrees;
    footer_.signer = signer_.id();
    footer_.data_hash.fill(3);
    PackSlot slot;
    slot.epoch = 1;
    slot.cipher = Cipher::kChaCha20Poly1305;
    slot.writer = signer_.id();
    slot.box.assign(80, 7);
    footer_.slots = {slot, slot};
    footer_.slots[1].epoch = 4;
    footer_.frames = {{16, 1000, 3000, 0}, {1016, 500, 400, 1}};
    footer_.blobs = {Blob(1, 0, 0, 1000), Blob(2, 0, 1000, 2000), Blob(3, 1, 100, 300)};
  }
  static PackBlob Blob(uint8_t id, uint32_t frame, uint32_t offset, uint32_t length) {
    PackBlob out;
    out.id.bytes.fill(id);
    out.frame = frame;
    out.offset = offset;
    out.length = length;
    return out;
  }
  Code Decode(const PackFooter& footer, uint64_t size = kSize) {
    return DecodeFooterBody(SignFooter(footer, repo_, signer_).body, size).code();
  }
  RepoId repo_;
  SigningKey signer_;
  PackFooter footer_;
  const Bytes key_ = Bytes(32, 0x21);
};

TEST_F(PackTest, HeaderBytes) {
  Bytes header = EncodePackHeader(PackKind::kContents);
  EXPECT_EQ(ToHex(header), "424b46535041434b0100000001000000");
  EXPECT_EQ(DecodePackHeader(EncodePackHeader(PackKind::kTrees)).value(), PackKind::kTrees);
  for (size_t i = 0; i < header.size(); ++i) {
    Bytes bad = header;
    bad[i] ^= 0x10;
    EXPECT_FALSE(DecodePackHeader(bad).ok()) << i;
    EXPECT_FALSE(DecodePackHeader(ByteView(header).first(i)).ok()) << i;
  }
  header[8] = 2;
  EXPECT_EQ(DecodePackHeader(header).code(), Code::kUnsupported);
}

TEST_F(PackTest, FooterRoundTrip) {
  SignedFooter signed_footer = SignFooter(footer_, repo_, signer_);
  Bytes end = EncodePackEnd(signed_footer, Cipher::kAes256Gcm, key_, repo_);
  EXPECT_EQ(DecodePackTrailer(ByteView(end).last(kPackTrailer)).value(), end.size());
  SignedFooter read = DecodePackEnd(end, key_, repo_).value();
  EXPECT_EQ(read.body, signed_footer.body);
  EXPECT_EQ(read.signature, signed_footer.signature);
  EXPECT_TRUE(VerifyFooter(read, repo_, signer_.public_key()).ok());
  PackFooter footer = DecodeFooterBody(read.body, kSize).value();
  EXPECT_EQ(footer.kind, PackKind::kTrees);
  EXPECT_EQ(footer.signer, signer_.id());
  EXPECT_EQ(footer.data_hash, footer_.data_hash);
  ASSERT_EQ(footer.slots.size(), 2U);
  EXPECT_EQ(footer.slots[1].epoch, 4U);
  EXPECT_EQ(footer.slots[1].box, footer_.slots[1].box);
  EXPECT_EQ(footer.slots[1].cipher, Cipher::kChaCha20Poly1305);
  EXPECT_EQ(footer.slots[1].writer, signer_.id());
  ASSERT_EQ(footer.frames.size(), 2U);
  EXPECT_EQ(footer.frames[1].offset, 1016U);
  EXPECT_EQ(footer.frames[1].length, 500U);
  EXPECT_EQ(footer.frames[1].plain, 400U);
  EXPECT_EQ(footer.frames[1].slot, 1U);
  ASSERT_EQ(footer.blobs.size(), 3U);
  EXPECT_EQ(footer.blobs[2].id, footer_.blobs[2].id);
  EXPECT_EQ(footer.blobs[2].frame, 1U);
  EXPECT_EQ(footer.blobs[2].offset, 100U);
  EXPECT_EQ(footer.blobs[2].length, 300U);
}

TEST_F(PackTest, PackEndRefusesTampering) {
  Bytes end = EncodePackEnd(SignFooter(footer_, repo_, signer_), Cipher::kAes256Gcm, key_, repo_);
  ExpectTamperProof(end, [this](ByteView bad) { return DecodePackEnd(bad, key_, repo_).status(); });
  EXPECT_EQ(DecodePackEnd(end, Bytes(32, 0), repo_).code(), Code::kCorrupt);
  EXPECT_EQ(DecodePackEnd(end, key_, RepoId()).code(), Code::kCorrupt);
  end[end.size() - 12] = 2;
  EXPECT_EQ(DecodePackEnd(end, key_, repo_).code(), Code::kUnsupported);
}

TEST_F(PackTest, SignatureBindsBodyAndSigner) {
  SignedFooter good = SignFooter(footer_, repo_, signer_);
  EXPECT_FALSE(VerifyFooter(good, RepoId(), signer_.public_key()).ok());
  SigningKey other(RandomSecret(32));
  EXPECT_FALSE(VerifyFooter(good, repo_, other.public_key()).ok());
  for (size_t i = 0; i < good.body.size(); ++i) {
    SignedFooter bad = good;
    bad.body[i] ^= 1;
    EXPECT_FALSE(VerifyFooter(bad, repo_, signer_.public_key()).ok()) << i;
    if (auto footer = DecodeFooterBody(bad.body, kSize); footer.ok()) {
      EXPECT_LE(footer->blobs.size(), 100U);  // whatever it says, it is bounded
    }
    EXPECT_FALSE(DecodeFooterBody(ByteView(good.body).first(i), kSize).ok()) << i;
  }
}

TEST_F(PackTest, FooterRules) {
  EXPECT_EQ(Decode(footer_), Code::kOk);
  const PackFooter good = footer_;
  auto refuses = [&](auto change) {
    PackFooter bad = good;
    change(bad);
    return Decode(bad) == Code::kCorrupt;
  };
  EXPECT_TRUE(refuses([](PackFooter& f) { f.kind = static_cast<PackKind>(3); }));
  EXPECT_TRUE(refuses([](PackFooter& f) { f.frames[0].offset = 15; }));
  EXPECT_TRUE(refuses([](PackFooter& f) { f.frames[0].length = 1001; }));
  EXPECT_TRUE(refuses([](PackFooter& f) { f.frames[1].length = 35; }));
  EXPECT_TRUE(refuses([](PackFooter& f) { f.frames[1].length = kSize; }));
  EXPECT_TRUE(refuses([](PackFooter& f) { f.frames[1].length = kMaxFrameLength + 1; }));
  EXPECT_TRUE(refuses([](PackFooter& f) { f.frames[1].offset = 0xfffffff0; }));
  EXPECT_TRUE(refuses([](PackFooter& f) { f.frames[1].slot = 2; }));
  EXPECT_TRUE(refuses([](PackFooter& f) { f.frames[1].plain = kMaxFramePlain + 1; }));
  EXPECT_TRUE(refuses([](PackFooter& f) { std::swap(f.frames[0], f.frames[1]); }));
  EXPECT_TRUE(refuses([](PackFooter& f) { f.blobs[0].frame = 2; }));
  EXPECT_TRUE(refuses([](PackFooter& f) { f.blobs[0].length = 1001; }));
  EXPECT_TRUE(refuses([](PackFooter& f) { f.blobs[1].length = 2001; }));
  EXPECT_TRUE(refuses([](PackFooter& f) { f.blobs[1].offset = 0xffffffff; }));
  EXPECT_TRUE(refuses([](PackFooter& f) { f.blobs[1].length = 0; }));
  EXPECT_TRUE(refuses([](PackFooter& f) { f.blobs[1].id = {}; }));
  EXPECT_TRUE(refuses([](PackFooter& f) { std::swap(f.blobs[0], f.blobs[2]); }));
  EXPECT_TRUE(refuses([](PackFooter& f) { std::swap(f.blobs[0], f.blobs[1]); }));
  EXPECT_TRUE(refuses([](PackFooter& f) { f.slots[0].box.pop_back(); }));
  EXPECT_TRUE(refuses([](PackFooter& f) { f.slots[0].epoch = 0; }));
  EXPECT_TRUE(refuses([](PackFooter& f) { f.slots[0].cipher = static_cast<Cipher>(0); }));
  EXPECT_EQ(Decode(good, 100), Code::kCorrupt);
  EXPECT_EQ(Decode(good, kMaxPack + 1), Code::kCorrupt);
  // The last frame ends exactly where the footer begins.
  uint64_t end = SignFooter(good, repo_, signer_).body.size() + 64 + kSealOverhead + kPackTrailer;
  EXPECT_EQ(Decode(good, 1516 + end), Code::kOk);
  EXPECT_EQ(Decode(good, 1515 + end), Code::kCorrupt);
}

class IndexTest : public PackTest {
 protected:
  IndexSegment Segment() {
    IndexSegment out;
    for (uint8_t i = 1; i <= 2; ++i) {
      IndexedPack pack;
      pack.id.bytes.fill(i);
      pack.size = kSize + i;
      pack.footer = SignFooter(footer_, repo_, signer_);
      out.packs.push_back(pack);
    }
    out.replaces.resize(3);
    out.replaces[2].bytes.fill(9);
    out.as_of = 0x1122334455667788;
    return out;
  }
};

TEST_F(IndexTest, RoundTrip) {
  IndexSegment segment = Segment();
  Bytes object = EncodeIndexSegment(segment, Cipher::kAes256Gcm, key_, repo_);
  IndexSegment read = DecodeIndexSegment(object, key_, repo_).value();
  ASSERT_EQ(read.packs.size(), 2U);
  EXPECT_EQ(read.packs[1].id, segment.packs[1].id);
  EXPECT_EQ(read.packs[1].size, kSize + 2);
  EXPECT_EQ(read.packs[1].footer.body, segment.packs[1].footer.body);
  EXPECT_EQ(read.packs[1].footer.signature, segment.packs[1].footer.signature);
  EXPECT_EQ(read.replaces, segment.replaces);
  EXPECT_EQ(read.as_of, segment.as_of);
  EXPECT_TRUE(VerifyFooter(read.packs[0].footer, repo_, signer_.public_key()).ok());
  read = DecodeIndexSegment(EncodeIndexSegment({}, Cipher::kAes256Gcm, key_, repo_), key_, repo_)
             .value();
  EXPECT_TRUE(read.packs.empty());
  EXPECT_EQ(read.as_of, 0U);  // as in segments from before there was a log
}

TEST_F(IndexTest, RefusesTampering) {
  Bytes object = EncodeIndexSegment(Segment(), Cipher::kAes256Gcm, key_, repo_);
  ExpectTamperProof(object,
                    [this](ByteView bad) { return DecodeIndexSegment(bad, key_, repo_).status(); });
  object[8] = 2;
  EXPECT_EQ(DecodeIndexSegment(object, key_, repo_).code(), Code::kUnsupported);
}

TEST_F(IndexTest, RefusesImpossibleSizes) {
  for (uint64_t size : {uint64_t{0}, uint64_t{100}, kMaxPack + 1}) {
    IndexSegment segment = Segment();
    segment.packs[0].size = size;
    Bytes object = EncodeIndexSegment(segment, Cipher::kAes256Gcm, key_, repo_);
    EXPECT_EQ(DecodeIndexSegment(object, key_, repo_).code(), Code::kCorrupt) << size;
  }
}

}  // namespace
}  // namespace bkfs

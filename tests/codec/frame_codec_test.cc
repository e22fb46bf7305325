// SPDX-License-Identifier: Apache-2.0
#include "engine/codec/frame_codec.h"

#include <gtest/gtest.h>
#include <zstd.h>

#include <cmath>
#include <random>

namespace bkfs {
namespace {

Bytes Noise(size_t size) {
  std::mt19937_64 random(size);
  Bytes out(size);
  for (auto& b : out) b = static_cast<uint8_t>(random());
  return out;
}

Bytes Text(size_t size) {
  std::string out;
  for (uint64_t i = 0; out.size() < size; ++i)
    out += "line " + std::to_string(i * i) + " of the text\n";
  out.resize(size);
  return {out.begin(), out.end()};
}

TEST(FrameCodec, RoundTrips) {
  for (int level : {0, 1, 3, 9}) {
    FrameCodec codec(level);
    for (size_t size : {0, 1, 7, 100, 5000, 32 << 10, 256 << 10, 3 << 20}) {
      for (bool pad : {false, true}) {
        for (const Bytes& plain : {Noise(size), Text(size)}) {
          Bytes inner = codec.Encode(plain, pad);
          EXPECT_TRUE(!pad || inner.size() == PadmeLength(inner.size()));
          EXPECT_LE(inner.size(), (pad ? PadmeLength(8 + size) : 8 + size));
          EXPECT_EQ(codec.Decode(inner, static_cast<uint32_t>(size)).value(), plain);
        }
      }
    }
  }
}

TEST(FrameCodec, ChoosesTheCodec) {
  FrameCodec codec;
  EXPECT_EQ(codec.Encode(Text(100'000), false)[0], 1);
  EXPECT_EQ(codec.Encode(Noise(100'000), false)[0], 0);
  EXPECT_EQ(FrameCodec(0).Encode(Text(100'000), false)[0], 0);
  // A frame that is mostly noise but holds one compressible blob is compressed.
  Bytes mixed = Noise(200'000);
  Append(mixed, Text(56'000));
  EXPECT_EQ(codec.Encode(mixed, false)[0], 1);
  EXPECT_LT(codec.Encode(mixed, false).size(), 220'000U);
}

TEST(FrameCodec, LargestFrame) {
  FrameCodec codec;
  Bytes plain = Noise(kMaxFramePlain);
  Bytes inner = codec.Encode(plain, true);
  EXPECT_LE(inner.size(), (17U << 20) - 28);
  EXPECT_EQ(codec.Decode(inner, kMaxFramePlain).value(), plain);
  EXPECT_EQ(codec.Decode(inner, kMaxFramePlain + 1).code(), Code::kCorrupt);
}

TEST(FrameCodec, RefusesWhatDoesNotComply) {
  FrameCodec codec;
  Bytes text = Text(1000);
  Bytes inner = codec.Encode(text, true);
  for (size_t i = 0; i < inner.size(); ++i) {
    EXPECT_EQ(codec.Decode(ByteView(inner).first(i), 0).code(), Code::kCorrupt) << i;
  }
  EXPECT_EQ(codec.Decode(inner, 999).code(), Code::kCorrupt);
  EXPECT_EQ(codec.Decode(inner, 1001).code(), Code::kCorrupt);
  for (size_t i : {size_t{0}, size_t{1}, size_t{3}, size_t{4}, size_t{7}, inner.size() - 1}) {
    Bytes bad = inner;
    bad[i] ^= 0x40;
    EXPECT_EQ(codec.Decode(bad, 1000).code(), Code::kCorrupt) << i;
  }
  Bytes stored = codec.Encode(Noise(10), false);
  EXPECT_EQ(codec.Decode(stored, 9).code(), Code::kCorrupt);
  EXPECT_EQ(codec.Decode(stored, 11).code(), Code::kCorrupt);
}

Bytes Inner(const Bytes& payload) {
  Bytes out = {1, 0, 0, 0};
  AppendInt(out, static_cast<uint32_t>(payload.size()));
  Append(out, payload);
  return out;
}

TEST(FrameCodec, OnlyOneZstdFrame) {
  FrameCodec codec;
  Bytes one = CompressMetadata(Text(1000));
  EXPECT_TRUE(codec.Decode(Inner(one), 1000).ok());
  Bytes two = one;
  Append(two, one);
  EXPECT_EQ(codec.Decode(Inner(two), 2000).code(), Code::kCorrupt);
  EXPECT_EQ(codec.Decode(Inner(two), 1000).code(), Code::kCorrupt);
  Bytes skippable = {0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0};
  EXPECT_EQ(codec.Decode(Inner(skippable), 0).code(), Code::kCorrupt);
  EXPECT_EQ(DecompressMetadata(two, 1 << 20).code(), Code::kCorrupt);
}

TEST(FrameCodec, FrameWithoutStatedSize) {
  Bytes plain = Text(3000);
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
  Bytes payload(ZSTD_compressBound(plain.size()));
  payload.resize(
      ZSTD_compress2(context, payload.data(), payload.size(), plain.data(), plain.size()));
  ZSTD_freeCCtx(context);
  FrameCodec codec;
  EXPECT_EQ(codec.Decode(Inner(payload), 3000).value(), plain);
  EXPECT_EQ(codec.Decode(Inner(payload), 2999).code(), Code::kCorrupt);
  EXPECT_EQ(codec.Decode(Inner(payload), 3001).code(), Code::kCorrupt);
  EXPECT_EQ(DecompressMetadata(payload, 1 << 20).code(), Code::kCorrupt);
}

TEST(Padme, ValuesOfThePaper) {
  EXPECT_EQ(PadmeLength(0), 0U);
  EXPECT_EQ(PadmeLength(1), 1U);
  EXPECT_EQ(PadmeLength(8), 8U);
  EXPECT_EQ(PadmeLength(9), 10U);
  EXPECT_EQ(PadmeLength(15), 16U);
  EXPECT_EQ(PadmeLength(17), 18U);
  EXPECT_EQ(PadmeLength(1000), 1024U);
  EXPECT_EQ(PadmeLength(1025), 1088U);
  EXPECT_EQ(PadmeLength((16 << 20) + 8), (16U << 20) + (512U << 10));
  for (uint64_t n = 2; n < 200'000; ++n) {
    // The paper's own formula, in floating point.
    auto e = static_cast<uint64_t>(std::floor(std::log2(static_cast<double>(n))));
    uint64_t s =
        e == 0 ? 0 : static_cast<uint64_t>(std::floor(std::log2(static_cast<double>(e)))) + 1;
    uint64_t mask = e > s ? (uint64_t{1} << (e - s)) - 1 : 0;
    ASSERT_EQ(PadmeLength(n), (n + mask) & ~mask) << n;
    ASSERT_EQ(PadmeLength(PadmeLength(n)), PadmeLength(n)) << n;
  }
}

TEST(Metadata, RoundTripAndLimit) {
  for (size_t size : {0, 1, 1000, 1'000'000}) {
    Bytes plain = Text(size);
    Bytes packed = CompressMetadata(plain);
    EXPECT_EQ(DecompressMetadata(packed, size).value(), plain);
    EXPECT_TRUE(size == 0 || DecompressMetadata(packed, size - 1).code() == Code::kCorrupt);
    for (size_t cut = 0; cut < std::min<size_t>(packed.size(), 500); ++cut) {
      EXPECT_FALSE(DecompressMetadata(ByteView(packed).first(cut), 1 << 20).ok());
    }
  }
  EXPECT_TRUE(DecompressMetadata(CompressMetadata(Bytes(64 << 20, 0)), 64 << 20).ok());
}

}  // namespace
}  // namespace bkfs

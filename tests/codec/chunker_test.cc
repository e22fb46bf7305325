// SPDX-License-Identifier: Apache-2.0
#include "engine/codec/chunker.h"

#include <gtest/gtest.h>

#include <bit>
#include <random>
#include <set>

#include "engine/crypto/hash.h"

namespace bkfs {
namespace {

const Bytes kKey(32, 0x5a);

Bytes RandomData(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes out(size);
  for (auto& b : out) b = static_cast<uint8_t>(random());
  return out;
}

// doc/format.md section 8, one byte at a time.
size_t ReferenceCut(ByteView key, const ChunkSizes& sizes, ByteView data) {
  Bytes table(2048);
  KeyedHashExtended(key, AsBytes("bkfs gear v1"), table);
  int bits = std::countr_zero(sizes.average);
  uint64_t mask_s = ~uint64_t{0} << (64 - (bits + 2));
  uint64_t mask_l = ~uint64_t{0} << (64 - (bits - 2));
  uint64_t fp = 0;
  for (size_t i = sizes.min; i < data.size() && i < sizes.max; ++i) {
    fp = (fp << 1) + Load<uint64_t>(table.data() + 8 * size_t{data[i]});
    if ((fp & (i < sizes.average ? mask_s : mask_l)) == 0) return i + 1;
  }
  return std::min<size_t>(data.size(), sizes.max);
}

std::vector<size_t> CutAll(const Chunker& chunker, ByteView data) {
  std::vector<size_t> lengths;
  while (!data.empty()) {
    lengths.push_back(chunker.Cut(data));
    data = data.subspan(lengths.back());
  }
  return lengths;
}

TEST(Chunker, SizesAreChecked) {
  EXPECT_TRUE(CheckChunkSizes({}).ok());
  EXPECT_TRUE(CheckChunkSizes({4 << 10, 8 << 10, 8 << 20}).ok());
  for (ChunkSizes bad : {ChunkSizes{2 << 10, 8 << 10, 16 << 10},
                         {5000, 8 << 10, 16 << 10},
                         {8 << 10, 8 << 10, 16 << 10},
                         {8 << 10, 16 << 10, 16 << 10},
                         {8 << 10, 16 << 10, 16 << 20},
                         {0, 0, 0},
                         {8 << 10, 4 << 10, 16 << 10}}) {
    EXPECT_EQ(CheckChunkSizes(bad).code(), Code::kInvalid);
  }
}

TEST(Chunker, EqualsTheOneByteDefinition) {
  for (ChunkSizes sizes : {ChunkSizes{}, ChunkSizes{4 << 10, 8 << 10, 16 << 10},
                           ChunkSizes{4 << 10, 64 << 10, 8 << 20}}) {
    Chunker chunker(kKey, sizes);
    Bytes data = RandomData(4 << 20, sizes.average);
    ByteView rest(data);
    while (!rest.empty()) {
      size_t cut = chunker.Cut(rest);
      ASSERT_EQ(cut, ReferenceCut(kKey, sizes, rest)) << "at " << data.size() - rest.size();
      rest = rest.subspan(cut);
    }
    for (size_t size : {size_t{0}, size_t{1}, size_t{sizes.min} - 1, size_t{sizes.min},
                        size_t{sizes.min} + 1, size_t{sizes.min} + 2, size_t{sizes.average},
                        size_t{sizes.average} + 1, size_t{sizes.average} - 1}) {
      ByteView part = ByteView(data).subspan(777, size);
      EXPECT_EQ(chunker.Cut(part), ReferenceCut(kKey, sizes, part)) << size;
    }
  }
}

TEST(Chunker, LengthsKeepTheirBounds) {
  ChunkSizes sizes;
  Chunker chunker(kKey, sizes);
  Bytes data = RandomData(32 << 20, 7);
  auto lengths = CutAll(chunker, data);
  for (size_t i = 0; i + 1 < lengths.size(); ++i) {
    EXPECT_GT(lengths[i], sizes.min);
    EXPECT_LE(lengths[i], sizes.max);
  }
  double mean = static_cast<double>(data.size()) / static_cast<double>(lengths.size());
  EXPECT_GT(mean, sizes.average * 0.7);
  EXPECT_LT(mean, sizes.average * 1.5);
}

TEST(Chunker, ConstantDataIsCutAtMax) {
  ChunkSizes sizes;
  Chunker chunker(kKey, sizes);
  EXPECT_EQ(chunker.Cut(Bytes(sizes.max * 2, 0)),
            ReferenceCut(kKey, sizes, Bytes(sizes.max * 2, 0)));
  EXPECT_EQ(chunker.Cut({}), 0U);
}

TEST(Chunker, MoreDataThanMaxChangesNothing) {
  ChunkSizes sizes;
  Chunker chunker(kKey, sizes);
  Bytes data = RandomData(4 << 20, 11);
  ByteView rest(data);
  while (rest.size() > sizes.max) {
    size_t cut = chunker.Cut(rest);
    EXPECT_EQ(cut, chunker.Cut(rest.first(sizes.max)));
    rest = rest.subspan(cut);
  }
}

TEST(Chunker, InsertionsResynchronise) {
  Chunker chunker(kKey, {});
  Bytes data = RandomData(16 << 20, 3);
  Bytes shifted = data;
  shifted.insert(shifted.begin() + 1'000'003, {1, 2, 3});
  auto ends = [](const std::vector<size_t>& lengths, size_t total) {
    std::set<size_t> out;  // from the end, where both are alike
    size_t at = 0;
    for (size_t n : lengths) out.insert(total - (at += n));
    return out;
  };
  auto a = ends(CutAll(chunker, data), data.size());
  auto b = ends(CutAll(chunker, shifted), shifted.size());
  size_t common = 0;
  for (size_t end : a) common += b.count(end);
  EXPECT_GE(common + 20, a.size());  // of some 220
}

TEST(Chunker, AnotherKeyCutsElsewhere) {
  Chunker one(kKey, {});
  Chunker two(Bytes(32, 0x5b), {});
  Bytes data = RandomData(4 << 20, 5);
  EXPECT_NE(CutAll(one, data), CutAll(two, data));
}

}  // namespace
}  // namespace bkfs

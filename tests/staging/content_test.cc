// SPDX-License-Identifier: Apache-2.0
// Contents of one file against a plain byte string: random operations, the seed printed.
#include "engine/staging/content.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/support/test_repository.h"

namespace bkfs {
namespace {

class ContentTest : public ::testing::Test {
 protected:
  ContentTest()
      : test_(store_),
        repo_(std::move(test_.OpenMaster()).value()),
        writer_(std::move(repo_->NewWriter(NewMemorySpool(), {})).value()),
        // A fixed key: with a random one, a cut that finds back late by chance fails a bound.
        chunker_(PseudoRandom(32, 99), repo_->header().chunks) {
    repo_->blobs().SetPending(writer_.get());
  }
  ~ContentTest() override { repo_->blobs().SetPending(nullptr); }

  std::unique_ptr<Content> Make(std::vector<Extent> extents = {}, uint64_t size = 0) {
    return std::make_unique<Content>(*writer_, repo_->blobs(), chunker_, std::move(extents), size);
  }
  static void Expect(Content& content, const Bytes& model) {
    ASSERT_EQ(content.size(), model.size());
    Bytes out(model.size() + 10);
    auto n = content.Read(0, out);
    ASSERT_TRUE(IsOk(n));
    ASSERT_EQ(*n, model.size());
    out.resize(model.size());
    ASSERT_EQ(out, model);
  }
  // The file's extents, after checking that they cover it exactly.
  static std::vector<Extent> Settled(Content& content) {
    EXPECT_TRUE(IsOk(content.Settle()));
    EXPECT_FALSE(content.has_dirty());
    uint64_t total = 0;
    for (const auto& extent : content.Extents()) total += extent.length;
    EXPECT_EQ(total, content.size());
    return content.Extents();
  }
  std::vector<Extent> StreamOf(const Bytes& data, size_t step) {
    auto content = Make();
    for (size_t at = 0; at < data.size(); at += step) {
      EXPECT_TRUE(
          IsOk(content->Write(at, ByteView(data).subspan(at, std::min(step, data.size() - at)))));
    }
    return Settled(*content);
  }

  MemoryBackend store_;
  TestRepository test_;
  std::unique_ptr<Repository> repo_;
  std::unique_ptr<BlobWriter> writer_;
  Chunker chunker_;
};

TEST_F(ContentTest, AStreamIsCutTheSameWhateverTheWrites) {
  const Bytes data = PseudoRandom(5'000'000, 1);
  const auto whole = StreamOf(data, data.size());
  EXPECT_EQ(StreamOf(data, 4096), whole);
  EXPECT_EQ(StreamOf(data, 131072), whole);
  EXPECT_EQ(StreamOf(data, 1'000'003), whole);
}

TEST_F(ContentTest, AppendingLaterGivesTheCutsOfOneStream) {
  const Bytes data = PseudoRandom(3'000'000, 2);
  const auto whole = StreamOf(data, 65536);
  auto content = Make();
  for (size_t at = 0; at < data.size(); at += 300'007) {
    const size_t take = std::min<size_t>(300'007, data.size() - at);
    ASSERT_TRUE(IsOk(content->Write(at, ByteView(data).subspan(at, take))));
    Settled(*content);
  }
  EXPECT_EQ(Settled(*content), whole);
}

TEST_F(ContentTest, AnOverwriteInTheMiddleChangesOnlyItsSurroundings) {
  Bytes data = PseudoRandom(4'000'000, 3);
  auto content = Make();
  ASSERT_TRUE(IsOk(content->Write(0, data)));
  const auto before = Settled(*content);
  const Bytes patch = PseudoRandom(5000, 4);
  std::copy(patch.begin(), patch.end(), data.begin() + 2'000'000);
  ASSERT_TRUE(IsOk(content->Write(2'000'000, patch)));
  const auto after = Settled(*content);
  Expect(*content, data);
  size_t same = 0;
  for (const auto& extent : after) {
    same += std::find(before.begin(), before.end(), extent) != before.end() ? 1 : 0;
  }
  EXPECT_GE(same + 6, after.size());
  EXPECT_EQ(after, StreamOf(data, 1 << 20));  // as if it had always been so
}

TEST_F(ContentTest, RandomOperationsMatchAByteString) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    Bytes model;
    auto content = Make();
    for (int step = 0; step < 60; ++step) {
      const size_t offset = random() % 1'500'000;
      const size_t length = 1 + random() % (random() % 4 == 0 ? 600'000 : 5000);
      switch (random() % 8) {
        case 0:
        case 1:
        case 2: {
          const Bytes data = PseudoRandom(length, random());
          ASSERT_TRUE(IsOk(content->Write(offset, data)));
          if (model.size() < offset + length) model.resize(offset + length);
          std::copy(data.begin(), data.end(), model.begin() + static_cast<ptrdiff_t>(offset));
          break;
        }
        case 3: {  // append
          const Bytes data = PseudoRandom(length, random());
          ASSERT_TRUE(IsOk(content->Write(model.size(), data)));
          Append(model, data);
          break;
        }
        case 4:
          ASSERT_TRUE(IsOk(content->Truncate(offset)));
          model.resize(offset);
          break;
        case 5: {
          ASSERT_TRUE(IsOk(content->PunchHole(offset, length)));
          for (size_t i = offset; i < std::min(offset + length, model.size()); ++i) model[i] = 0;
          break;
        }
        case 6: Settled(*content); break;
        case 7: {  // closed and opened again
          const auto extents = Settled(*content);
          content = Make(extents, model.size());
          break;
        }
      }
      ASSERT_NO_FATAL_FAILURE(Expect(*content, model));
    }
    Settled(*content);
    ASSERT_NO_FATAL_FAILURE(Expect(*content, model));
  }
}

TEST_F(ContentTest, HolesAreFound) {
  auto content = Make();
  ASSERT_TRUE(IsOk(content->Truncate(10'000'000)));
  ASSERT_TRUE(IsOk(content->Write(4'000'000, PseudoRandom(1000, 1))));
  for (int settled = 0; settled < 2; ++settled) {
    EXPECT_EQ(*content->SeekData(0), 4'000'000U);
    EXPECT_EQ(*content->SeekHole(4'000'000), 4'001'000U);
    EXPECT_EQ(content->SeekData(4'001'000).code(), Code::kNotFound);
    EXPECT_EQ(*content->SeekHole(0), 0U);
    Settled(*content);
  }
  EXPECT_EQ(content->allocated(), 1000U);
}

}  // namespace
}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
// Replays the committed corpus, so that what a fuzzer once found stays fixed in builds without one.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "engine/base/fd.h"
#include "tests/fuzz/targets.h"

namespace bkfs::fuzz {
namespace {

namespace fs = std::filesystem;

fs::path CorpusOf(const Target& target) {
  return fs::path(BKFS_FUZZ_CORPUS) / std::string(target.name);
}

class Replay : public ::testing::TestWithParam<Target> {};

TEST_P(Replay, Corpus) {
  const Target& target = GetParam();
  size_t files = 0;
  for (const auto& file : fs::directory_iterator(CorpusOf(target))) {
    SCOPED_TRACE(file.path().string());
    target.run(ReadWholeFile(file.path().string()).value());
    ++files;
  }
  EXPECT_GT(files, 0U);
}

// The seeds as they are today, every truncation of them and a few thousand small changes.
TEST_P(Replay, SeedsAndTheirNeighbours) {
  const Target& target = GetParam();
  for (const Seed& seed : MakeSeeds()) {
    if (seed.target != target.name) continue;
    target.run(seed.input);
    size_t step = 1 + seed.input.size() / 400;
    for (size_t i = 0; i < seed.input.size(); i += step) {
      Bytes bad = seed.input;
      bad[i] ^= static_cast<uint8_t>(1 << (i % 8));
      target.run(bad);
      target.run(ByteView(seed.input).first(i));
    }
  }
  target.run({});
}

INSTANTIATE_TEST_SUITE_P(Targets, Replay, ::testing::ValuesIn(Targets().begin(), Targets().end()),
                         [](const auto& param) { return std::string(param.param.name); });

// BKFS_WRITE_SEEDS=1 writes the seeds into the corpus.
TEST(Seeds, EachTargetHasSome) {
  for (const Target& target : Targets()) {
    size_t seeds = 0;
    for (const Seed& seed : MakeSeeds()) {
      if (seed.target != target.name) continue;
      ++seeds;
      if (std::getenv("BKFS_WRITE_SEEDS") == nullptr) continue;
      fs::path path = CorpusOf(target) / ("seed-" + std::string(seed.name));
      ASSERT_TRUE(MakeDirectories(CorpusOf(target).string()).ok());
      fs::remove(path);
      ASSERT_TRUE(WriteNewFile(path.string(), seed.input, 0644).ok());
    }
    EXPECT_GT(seeds, 0U) << target.name;
  }
}

}  // namespace
}  // namespace bkfs::fuzz

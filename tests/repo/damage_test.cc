// SPDX-License-Identifier: Apache-2.0
// What a storage host can do to packs and index segments, and what readers must make of it.
#include <gtest/gtest.h>

#include <map>

#include "tests/support/test_repository.h"

namespace bkfs {
namespace {

class DamageTest : public ::testing::Test {
 protected:
  DamageTest() : test_(store_) {
    auto repo = test_.OpenMaster();
    EXPECT_TRUE(IsOk(repo));
    // Two packs of contents, several frames each.
    for (uint64_t pack = 0; pack < 2; ++pack) {
      WriterOptions options;
      options.contents_frame = 20000;
      auto writer = std::move((*repo)->NewWriter(NewMemorySpool(), options)).value();
      for (uint64_t i = 0; i < 10; ++i) {
        Bytes data = PseudoRandom(9000, pack * 100 + i);
        auto id = writer->Add(PackKind::kContents, data);
        EXPECT_TRUE(IsOk(id));
        blobs_[*id] = std::move(data);
      }
      EXPECT_TRUE(IsOk(writer->Flush()));
    }
    EXPECT_TRUE(IsOk(store_.List("", [&](const std::string& name, uint64_t) {
      if (name.starts_with("packs/")) packs_.push_back(name);
      if (name.starts_with("index/")) segments_.push_back(name);
      return Status();
    })));
    EXPECT_EQ(packs_.size(), 2U);
    EXPECT_EQ(segments_.size(), 2U);
  }

  // Reads everything with a fresh cache: right bytes or an error, never wrong bytes. Returns how
  // many failed.
  size_t CountFailures() {
    auto repo = test_.Open(test_.CloneMaster(), test_.folder() + "/c" + std::to_string(++round_));
    EXPECT_TRUE(IsOk(repo));
    size_t failed = 0;
    for (const auto& [id, data] : blobs_) {
      auto read = (*repo)->blobs().Read(PackKind::kContents, id);
      if (!read.ok()) {
        EXPECT_EQ(read.code(), Code::kCorrupt) << read.status().message();
        ++failed;
      } else {
        EXPECT_EQ(Bytes(read->bytes.begin(), read->bytes.end()), data);
      }
    }
    return failed;
  }

  MemoryBackend store_;
  TestRepository test_;
  std::map<BlobId, Bytes> blobs_;
  std::vector<std::string> packs_;
  std::vector<std::string> segments_;
  int round_ = 0;
};

TEST_F(DamageTest, NothingDamagedNothingFails) { EXPECT_EQ(CountFailures(), 0U); }

TEST_F(DamageTest, AFlippedBitFailsTheBlobsOfItsFrameOnly) {
  const Bytes good = *store_.Get(packs_[0]);
  for (size_t at = kPackHeader; at < good.size() - 2000; at += good.size() / 7) {
    Bytes bad = good;
    bad[at] ^= 0x10;
    store_.Replace(packs_[0], bad);
    const size_t failed = CountFailures();
    EXPECT_GE(failed, 1U);
    EXPECT_LE(failed, 3U);  // as many as share a frame
  }
}

TEST_F(DamageTest, ADamagedFooterDoesNotMatterWhileTheIndexIsThere) {
  Bytes bad = *store_.Get(packs_[0]);
  bad[bad.size() - 100] ^= 1;
  store_.Replace(packs_[0], bad);
  EXPECT_EQ(CountFailures(), 0U);
}

TEST_F(DamageTest, ACutPackFailsWhatIsGone) {
  Bytes cut = *store_.Get(packs_[0]);
  cut.resize(cut.size() / 2);
  store_.Replace(packs_[0], cut);
  const size_t failed = CountFailures();
  EXPECT_GE(failed, 4U);
  EXPECT_LE(failed, 7U);
}

TEST_F(DamageTest, SwappedPacksFailAll) {
  const Bytes first = *store_.Get(packs_[0]);
  store_.Replace(packs_[0], *store_.Get(packs_[1]));
  store_.Replace(packs_[1], first);
  EXPECT_EQ(CountFailures(), blobs_.size());
}

TEST_F(DamageTest, AMissingPackFailsItsBlobsOnly) {
  ASSERT_TRUE(IsOk(store_.Remove(packs_[1])));
  EXPECT_EQ(CountFailures(), 10U);
}

TEST_F(DamageTest, ADamagedSegmentHidesItsPacksOnly) {
  const Bytes good = *store_.Get(segments_[0]);
  for (size_t at = 0; at < good.size(); at += good.size() / 5) {
    Bytes bad = good;
    bad[at] ^= 1;
    store_.Replace(segments_[0], bad);
    EXPECT_EQ(CountFailures(), 10U);
  }
  Bytes cut(good.begin(), good.begin() + 50);
  store_.Replace(segments_[0], cut);
  EXPECT_EQ(CountFailures(), 10U);
}

TEST_F(DamageTest, AnIndexOfAnotherRepositoryIsRefused) {
  MemoryBackend other_store;
  TestRepository other(other_store);
  auto repo = other.OpenMaster();
  auto writer = std::move((*repo)->NewWriter(NewMemorySpool(), {})).value();
  ASSERT_TRUE(IsOk(writer->Add(PackKind::kContents, PseudoRandom(100, 1))));
  ASSERT_TRUE(IsOk(writer->Flush()));
  ASSERT_TRUE(IsOk(other_store.List("", [&](const std::string& name, uint64_t) {
    if (name != "bkfs.repo") store_.Replace(name, *other_store.Get(name));
    return Status();
  })));
  EXPECT_EQ(CountFailures(), 0U);
}

}  // namespace
}  // namespace bkfs

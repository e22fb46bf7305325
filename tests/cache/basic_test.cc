// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "tests/cache/cache_fixture.h"
#include "tests/support/loop_mount.h"

namespace bkfs {
namespace {

using Basic = CacheTest;

TEST_F(Basic, APackAndItsBlobs) {
  Open();
  const PackFooter footer = FooterOf(100, 25);
  auto number = cache_->AddPack(IdFrom<PackId>(1), 123'456, footer);
  ASSERT_TRUE(number.ok());
  for (const PackBlob& blob : footer.blobs) {
    auto found = cache_->Find(blob.id);
    ASSERT_TRUE(found.ok() && found->has_value());
    const BlobLocation& place = **found;
    const PackFrame& frame = footer.frames[blob.frame];
    EXPECT_EQ(place.pack, *number);
    EXPECT_EQ(place.offset, blob.offset);
    EXPECT_EQ(place.length, blob.length);
    EXPECT_EQ(place.frame.offset, frame.offset);
    EXPECT_EQ(place.frame.length, frame.length);
    EXPECT_EQ(place.frame.plain, frame.plain);
    EXPECT_EQ(place.frame.slot, frame.slot);
  }
  EXPECT_FALSE(Knows(99));
  EXPECT_FALSE(Knows(125));
  auto pack = cache_->Pack(*number);
  ASSERT_TRUE(pack.ok());
  EXPECT_EQ(pack->id, IdFrom<PackId>(1));
  EXPECT_EQ(pack->size, 123'456U);
  EXPECT_EQ(pack->kind, PackKind::kContents);
  EXPECT_EQ(pack->signer, footer.signer);
  ASSERT_EQ(pack->slots.size(), 1U);
  EXPECT_EQ(pack->slots[0].epoch, 3U);
  EXPECT_EQ(pack->slots[0].writer, footer.slots[0].writer);
  EXPECT_EQ(pack->slots[0].box, footer.slots[0].box);
  EXPECT_EQ(cache_->Pack(*number + 1).code(), Code::kNotFound);
}

TEST_F(Basic, ExtremeNumbersSurvive) {
  Open();
  PackFooter footer;
  footer.kind = PackKind::kTrees;
  for (uint32_t i = 0; i < 300; ++i) {
    footer.slots.push_back(
        {.epoch = ~i, .cipher = Cipher::kChaCha20Poly1305, .writer = {}, .box = Bytes(i)});
  }
  footer.frames.push_back({.offset = UINT32_MAX, .length = UINT32_MAX, .plain = 128, .slot = 299});
  footer.blobs.push_back({.id = {}, .frame = 0, .offset = UINT32_MAX, .length = 0});
  auto number = cache_->AddPack(IdFrom<PackId>(1), UINT64_MAX, footer);
  ASSERT_TRUE(number.ok());
  Open();
  auto place = cache_->Find(BlobId{});
  ASSERT_TRUE(place.ok() && place->has_value());
  EXPECT_EQ((*place)->frame.offset, UINT32_MAX);
  EXPECT_EQ((*place)->frame.plain, 128U);
  EXPECT_EQ((*place)->frame.slot, 299U);
  EXPECT_EQ((*place)->length, 0U);
  auto pack = cache_->Pack(*number);
  ASSERT_TRUE(pack.ok());
  EXPECT_EQ(pack->size, UINT64_MAX);
  EXPECT_EQ(pack->kind, PackKind::kTrees);
  ASSERT_EQ(pack->slots.size(), 300U);
  EXPECT_EQ(pack->slots[299].epoch, ~299U);
  EXPECT_EQ(pack->slots[299].cipher, Cipher::kChaCha20Poly1305);
  EXPECT_EQ(pack->slots[299].box.size(), 299U);
}

TEST_F(Basic, ABlobWithoutItsFrameIsRefusedWhole) {
  Open();
  PackFooter footer = FooterOf(0, 5);
  footer.blobs[4].frame = 1;
  EXPECT_EQ(cache_->AddPack(IdFrom<PackId>(1), 1, footer).code(), Code::kCorrupt);
  EXPECT_FALSE(Knows(0));
  EXPECT_FALSE((*cache_->FindPack(IdFrom<PackId>(1))).has_value());
}

TEST_F(Basic, ABlobInSeveralPacks) {
  Open();
  const uint32_t one = MustAdd(1, 0, 10);
  const uint32_t two = MustAdd(2, 5, 10);
  const uint32_t three = MustAdd(3, 5, 1);
  auto all = cache_->FindAll(IdFrom<BlobId>(5));
  ASSERT_TRUE(all.ok());
  ASSERT_EQ(all->size(), 3U);
  EXPECT_EQ((*cache_->Find(IdFrom<BlobId>(5)))->pack, three);
  ASSERT_TRUE(cache_->RemovePack(IdFrom<PackId>(3)).ok());
  EXPECT_EQ((*cache_->Find(IdFrom<BlobId>(5)))->pack, two);
  ASSERT_TRUE(cache_->RemovePack(IdFrom<PackId>(2)).ok());
  EXPECT_EQ((*cache_->Find(IdFrom<BlobId>(5)))->pack, one);
  EXPECT_FALSE(Knows(12));
  ASSERT_TRUE(cache_->RemovePack(IdFrom<PackId>(1)).ok());
  EXPECT_FALSE(Knows(5));
  EXPECT_TRUE(cache_->FindAll(IdFrom<BlobId>(5))->empty());
  EXPECT_TRUE(cache_->RemovePack(IdFrom<PackId>(1)).ok());
}

TEST_F(Basic, TheSamePackTwiceIsTheSameNumber) {
  Open();
  const uint32_t one = MustAdd(1, 0, 10);
  EXPECT_EQ(MustAdd(1, 0, 10), one);
  std::vector<IndexCache::NewPack> packs(3);
  for (auto& pack : packs) pack = {IdFrom<PackId>(2), 77, FooterOf(50, 5)};
  ASSERT_TRUE(cache_->AddPacks(packs).ok());
  ASSERT_TRUE(cache_->AddPacks(packs).ok());
  EXPECT_EQ(cache_->FindAll(IdFrom<BlobId>(52))->size(), 1U);
  EXPECT_EQ(cache_->GetStats()->packs, 2U);
  Open();
  EXPECT_EQ(MustAdd(1, 0, 10), one);
  // Once removed, its number is not used for anything again.
  ASSERT_TRUE(cache_->RemovePack(IdFrom<PackId>(1)).ok());
  EXPECT_NE(MustAdd(1, 0, 10), one);
  EXPECT_EQ(cache_->Pack(one).code(), Code::kNotFound);
}

TEST_F(Basic, ForEachPackSeesAllAndMayUseTheCache) {
  Open();
  std::vector<IndexCache::NewPack> packs;
  for (uint64_t i = 0; i < 1000; ++i) {
    packs.push_back({IdFrom<PackId>(i), i, FooterOf(i * 10, 2)});
  }
  ASSERT_TRUE(cache_->AddPacks(packs).ok());
  size_t seen = 0;
  Status status = cache_->ForEachPack([&](uint32_t number, const CachedPack& pack) -> Status {
    EXPECT_EQ(pack.id, IdFrom<PackId>(pack.size));
    EXPECT_EQ(cache_->Pack(number)->id, pack.id);
    ++seen;
    return cache_->RemovePack(pack.id);
  });
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(seen, 1000U);
  EXPECT_EQ(cache_->GetStats()->packs, 0U);
}

TEST_F(Basic, SegmentsAndNotes) {
  Open();
  EXPECT_TRUE(cache_->Segments()->empty());
  const std::vector<PackId> packs = {IdFrom<PackId>(1), IdFrom<PackId>(2)};
  ASSERT_TRUE(cache_->MarkSegment(IdFrom<IndexId>(1), packs).ok());
  ASSERT_TRUE(cache_->MarkSegment(IdFrom<IndexId>(2), {}).ok());
  ASSERT_TRUE(cache_->PutNote("last", AsBytes("five")).ok());
  ASSERT_TRUE(cache_->PutNote(std::string(1000, 'n'), AsBytes("long")).ok());
  ASSERT_TRUE(cache_->PutNote("", {}).ok());
  Open();
  EXPECT_EQ(cache_->Segments()->size(), 2U);
  EXPECT_EQ(*cache_->SegmentPacks(IdFrom<IndexId>(1)), packs);
  EXPECT_TRUE(cache_->SegmentPacks(IdFrom<IndexId>(2))->empty());
  EXPECT_EQ(cache_->SegmentPacks(IdFrom<IndexId>(3)).code(), Code::kNotFound);
  ASSERT_TRUE(cache_->UnmarkSegment(IdFrom<IndexId>(1)).ok());
  ASSERT_TRUE(cache_->UnmarkSegment(IdFrom<IndexId>(3)).ok());
  EXPECT_EQ(*cache_->Segments(), std::vector<IndexId>{IdFrom<IndexId>(2)});
  EXPECT_EQ(AsText(**cache_->GetNote("last")), "five");
  EXPECT_EQ(AsText(**cache_->GetNote(std::string(1000, 'n'))), "long");
  EXPECT_TRUE((*cache_->GetNote(""))->empty());
  EXPECT_FALSE((*cache_->GetNote("other")).has_value());
}

TEST_F(Basic, ClearForgetsEverythingAndGoesOn) {
  Open();
  const uint32_t number = MustAdd(1, 0, 10);
  EXPECT_TRUE(cache_->Pack(number).ok());
  ASSERT_TRUE(cache_->MarkSegment(IdFrom<IndexId>(1), {}).ok());
  ASSERT_TRUE(cache_->PutNote("n", AsBytes("v")).ok());
  ASSERT_TRUE(cache_->Clear().ok());
  EXPECT_FALSE(Knows(0));
  EXPECT_EQ(cache_->Pack(number).code(), Code::kNotFound);
  EXPECT_TRUE(cache_->Segments()->empty());
  EXPECT_FALSE((*cache_->GetNote("n")).has_value());
  EXPECT_EQ(cache_->GetStats()->packs, 0U);
  MustAdd(1, 0, 10);
  Open();
  EXPECT_TRUE(Knows(0));
}

TEST_F(Basic, StatsAreNearTheTruth) {
  Open();
  for (uint64_t i = 0; i < 50; ++i) MustAdd(i, i * 1000, 1000);
  auto stats = cache_->GetStats();
  ASSERT_TRUE(stats.ok());
  EXPECT_EQ(stats->packs, 50U);
  EXPECT_NEAR(static_cast<double>(stats->blobs), 50'000, 500);
  EXPECT_GT(stats->disk_bytes, 50'000U * 60);
}

TEST_F(Basic, TheRowsOfRemovedPacksGoInTime) {
  memory_ = 4 << 20;
  Open();
  for (uint64_t round = 0; round < 12; ++round) {
    for (uint64_t i = 0; i < 10; ++i) {
      const uint64_t pack = round * 10 + i;
      MustAdd(pack, pack * 5000, 5000);
    }
    for (uint64_t i = 0; i < 10; ++i) {
      ASSERT_TRUE(cache_->RemovePack(IdFrom<PackId>(round * 10 + i)).ok());
    }
  }
  Open();
  auto stats = cache_->GetStats();
  ASSERT_TRUE(stats.ok());
  std::printf("600,000 blobs came and went, %.1f MB are left\n",
              static_cast<double>(stats->disk_bytes) / 1e6);
  EXPECT_LT(stats->disk_bytes, 25U << 20);  // all of them were 55
}

TEST_F(Basic, EverythingIsPrivate) {
  Open();
  struct stat st {};
  ASSERT_EQ(::stat(directory().c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0700U);
}

TEST_F(Basic, AFullDiskIsAnErrorAndNoDamage) {
  if (!IsRoot()) GTEST_SKIP() << "mounting needs root";
  LoopMount disk("mkfs.ext4 -q -F -m 0", "64M");
  ASSERT_TRUE(disk.mounted());
  auto open = [&] {
    IndexCache::Options options;
    options.directory = disk.path() + "/cache";
    options.memory_bytes = memory_;
    options.local_key = KeyFrom(1);
    return IndexCache::Open(std::move(options), log_);
  };
  auto cache = open();
  ASSERT_TRUE(cache.ok()) << cache.status().ToString();
  const std::string ballast = disk.path() + "/ballast";
  ASSERT_TRUE(WriteNewFile(ballast, Bytes(30 << 20, 1), 0600).ok());
  Status status;
  uint64_t added = 0;
  for (; status.ok() && added < 1000; ++added) {
    status = (*cache)->AddPack(IdFrom<PackId>(added), 1, FooterOf(added * 5000, 5000)).status();
  }
  EXPECT_EQ(status.code(), Code::kNoSpace) << status.ToString();
  // What was added is still found, or has to be loaded again; it is never wrong.
  for (uint64_t i = 0; i + 1 < added; ++i) {
    auto found = (*cache)->Find(IdFrom<BlobId>(i * 5000));
    if (found.ok() && found->has_value()) {
      EXPECT_EQ((*cache)->Pack((*found)->pack)->id, IdFrom<PackId>(i));
    }
  }
  // Goes on when there is room again, without being reopened.
  ASSERT_EQ(::unlink(ballast.c_str()), 0);
  for (int tries = 0; tries < 300 && !status.ok(); ++tries) {
    status = (*cache)->AddPack(IdFrom<PackId>(5000), 1, FooterOf(1 << 30, 100)).status();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  ASSERT_TRUE(status.ok()) << status.ToString();
  cache = Status(Code::kIo, "closed");
  cache = open();
  ASSERT_TRUE(cache.ok()) << cache.status().ToString();
  EXPECT_TRUE((*cache)->Find(IdFrom<BlobId>(1 << 30))->has_value());
}

TEST_F(Basic, ADiskThatIsFullAgainAndAgain) {
  if (!IsRoot()) GTEST_SKIP() << "mounting needs root";
  LoopMount disk("mkfs.ext4 -q -F -m 0", "96M");
  ASSERT_TRUE(disk.mounted());
  IndexCache::Options options;
  options.directory = disk.path() + "/cache";
  options.memory_bytes = 4 << 20;
  options.local_key = KeyFrom(1);
  auto opened = IndexCache::Open(std::move(options), log_);
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  cache_ = std::move(*opened);
  MustAdd(0, 0, 100);
  std::atomic<bool> done{false};
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 1; t <= 2; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; !done.load(); ++i) {
        const uint64_t pack = t * 1'000'000 + i % 40;
        Status status =
            cache_->AddPack(IdFrom<PackId>(pack), 1, FooterOf(pack * 1000, 1000)).status();
        if (status.ok()) status = cache_->PutNote("note", Bytes(1000));
        if (status.ok()) status = cache_->RemovePack(IdFrom<PackId>(pack));
        EXPECT_TRUE(status.ok() || status.Is(Code::kNoSpace)) << status.ToString();
        if (!status.ok()) refused.fetch_add(1);
      }
    });
  }
  threads.emplace_back([&] {  // who only reads notices nothing
    while (!done.load()) EXPECT_TRUE(Knows(50));
  });
  const std::string ballast = disk.path() + "/ballast";
  for (int round = 0; round < 3; ++round) {
    refused.store(0);
    for (int i = 0; i < 1000 && refused.load() < 20; ++i) {
      // As much as there is room for, again whenever compaction has made some.
      Shell("head -c 200M /dev/zero >> " + ballast + " 2> /dev/null");
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    EXPECT_GT(refused.load(), 0);
    ASSERT_EQ(::unlink(ballast.c_str()), 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  }
  done.store(true);
  for (auto& thread : threads) thread.join();
  MustAdd(7, 10'000, 100);
  EXPECT_TRUE(Knows(10'050));
  cache_.reset();
}

TEST_F(Basic, FoldersThatCannotBe) {
  ASSERT_TRUE(WriteNewFile(scratch_.path() + "/file", AsBytes("x"), 0600).ok());
  IndexCache::Options options;
  options.directory = scratch_.path() + "/file/cache";
  options.local_key = KeyFrom(1);
  EXPECT_EQ(IndexCache::Open(std::move(options), log_).code(), Code::kNotDirectory);
}

}  // namespace
}  // namespace bkfs

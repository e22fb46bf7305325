// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <thread>
#include <vector>

#include "engine/cache/live_numbers.h"
#include "engine/cache/pack_memory.h"
#include "tests/cache/cache_fixture.h"

namespace bkfs {
namespace {

using Threads = CacheTest;

TEST_F(Threads, EverybodyAtOnce) {
  memory_ = 4 << 20;
  Open();
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; !done.load(); ++i) {
        const uint64_t blob = (i * 37 + t * 1000) % 60'000;
        auto found = cache_->Find(IdFrom<BlobId>(blob));
        ASSERT_TRUE(found.ok()) << found.status().ToString();
        if (!found->has_value()) continue;
        auto pack = cache_->Pack((*found)->pack);
        // Between the two the pack may have been removed.
        ASSERT_TRUE(pack.ok() || pack.code() == Code::kNotFound);
        ASSERT_TRUE(!pack.ok() || pack->id == IdFrom<PackId>(blob / 1000));
      }
    });
  }
  threads.emplace_back([&] {
    while (!done.load()) {
      ASSERT_TRUE(cache_->ForEachPack([](uint32_t, const CachedPack&) { return OkStatus(); }).ok());
      ASSERT_TRUE(cache_->GetStats().ok());
    }
  });
  for (uint64_t round = 0; round < 5; ++round) {
    for (uint64_t pack = 0; pack < 60; ++pack) MustAdd(pack, pack * 1000, 1000);
    for (uint64_t pack = round % 2; pack < 60; pack += 2) {
      ASSERT_TRUE(cache_->RemovePack(IdFrom<PackId>(pack)).ok());
    }
  }
  done.store(true);
  for (auto& thread : threads) thread.join();
}

TEST_F(Threads, ClearWhileOthersLook) {
  Open();
  std::atomic<bool> done{false};
  std::thread looking([&] {
    while (!done.load()) {
      ASSERT_TRUE(cache_->Find(IdFrom<BlobId>(1)).ok());
      ASSERT_TRUE(cache_->Segments().ok());
    }
  });
  for (int i = 0; i < 5; ++i) {
    MustAdd(1, 0, 100);
    ASSERT_TRUE(cache_->Clear().ok());
  }
  done.store(true);
  looking.join();
  EXPECT_FALSE(Knows(1));
}

TEST_F(Threads, ThePackAddedByTwoIsOne) {
  Open();
  for (uint64_t round = 0; round < 20; ++round) {
    std::atomic<uint32_t> numbers[4];
    std::vector<std::thread> threads;
    for (auto& number : numbers) {
      threads.emplace_back([&] { number = MustAdd(round, round * 10, 10); });
    }
    for (auto& thread : threads) thread.join();
    for (auto& number : numbers) EXPECT_EQ(number.load(), numbers[0].load());
  }
  EXPECT_EQ(cache_->GetStats()->packs, 20U);
}

TEST(LiveNumbersTest, DeadOnlyWhenSettled) {
  LiveNumbers live;
  EXPECT_FALSE(live.Live(0));
  EXPECT_FALSE(live.Dead(0));
  live.Add(70);
  live.Add(70);
  EXPECT_TRUE(live.Live(70));
  EXPECT_FALSE(live.Live(69));
  EXPECT_FALSE(live.Dead(69));
  live.SettleBelow(71);
  EXPECT_TRUE(live.Dead(69));
  EXPECT_FALSE(live.Dead(70));
  EXPECT_FALSE(live.Dead(71));
  EXPECT_EQ(live.Count(), 1U);
  live.Remove(70);
  live.Remove(70);
  live.Remove(100'000);
  EXPECT_TRUE(live.Dead(70));
  EXPECT_EQ(live.Count(), 0U);
}

TEST(PackMemoryTest, TheOnesUnusedForLongestGo) {
  PackMemory memory(64 << 10);
  CachedPack pack;
  pack.slots.resize(1);
  pack.slots[0].box.resize(80);
  for (uint32_t i = 0; i < 1000; ++i) {
    pack.size = i;
    memory.Keep(i, pack);
    ASSERT_TRUE(memory.Find(0).has_value()) << i;  // used all the time
  }
  EXPECT_FALSE(memory.Find(1).has_value());
  EXPECT_EQ(memory.Find(999)->size, 999U);
  uint32_t kept = 0;
  for (uint32_t i = 0; i < 1000; ++i) kept += memory.Find(i).has_value() ? 1 : 0;
  EXPECT_GT(kept, 100U);
  EXPECT_LT(kept, 400U);
  pack.slots.assign(1000, pack.slots[0]);
  memory.Keep(2000, pack);  // larger than everything allowed
  EXPECT_FALSE(memory.Find(2000).has_value());
  memory.Keep(1, {});
  memory.Drop(1);
  EXPECT_FALSE(memory.Find(1).has_value());
}

}  // namespace
}  // namespace bkfs

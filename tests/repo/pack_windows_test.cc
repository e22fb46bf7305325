// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/pack_windows.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "backends/fault/fault_backend.h"
#include "engine/base/transfer.h"
#include "tests/support/test_repository.h"

namespace bkfs {
namespace {

using Op = FaultBackend::Op;
constexpr uint64_t kPackSize = 9'000'000;
constexpr uint64_t kMiB = 1 << 20;

class PackWindowsTest : public testing::Test {
 protected:
  PackWindowsTest() : store_(memory_), bytes_(PseudoRandom(kPackSize, 1)) {
    store_.MakeFar();
    BKFS_CHECK(memory_.PutOne("packs/aa/1", bytes_).ok());
  }
  static PackWindows::Pack PackOf(PackKind kind) { return {1, kind, kPackSize, "packs/aa/1"}; }
  // Reads and compares.
  void Read(PackKind kind, uint64_t offset, uint64_t length) {
    Bytes out(length);
    ASSERT_TRUE(IsOk(windows_.Read(PackOf(kind), offset, out))) << offset;
    ASSERT_TRUE(std::equal(out.begin(), out.end(), bytes_.begin() + static_cast<ptrdiff_t>(offset)))
        << offset;
  }
  uint64_t requests() const { return store_.Count(Op::kReadAt); }

  MemoryBackend memory_;
  FaultBackend store_;
  const Bytes bytes_;
  PackWindows windows_{store_, 64 * kMiB};
};

TEST_F(PackWindowsTest, WhatIsNearIsReadAsItIsAskedFor) {
  PackWindows windows(memory_, 64 * kMiB);
  Bytes out(1000);
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(IsOk(windows.Read(PackOf(PackKind::kTrees), 5000, out)));
  }
  EXPECT_EQ(windows.bytes(), 0U);
  // The same far away is kept.
  Read(PackKind::kTrees, 5000, 1000);
  Read(PackKind::kTrees, 5000, 1000);
  EXPECT_EQ(requests(), 1U);
  EXPECT_GT(windows_.bytes(), 0U);
}

TEST_F(PackWindowsTest, DirectoriesTakeFewRequestsInWhateverOrder) {
  for (uint64_t at = kPackSize - 20'000; at >= 20'000; at -= 20'000) {
    Read(PackKind::kTrees, at, 20'000);
  }
  EXPECT_LE(requests(), 6U);
  PackWindows forwards(store_, 64 * kMiB);
  const uint64_t before = requests();
  Bytes out(20'000);
  for (uint64_t at = 0; at + out.size() <= kPackSize; at += out.size()) {
    ASSERT_TRUE(IsOk(forwards.Read(PackOf(PackKind::kTrees), at, out)));
  }
  EXPECT_LE(requests() - before, 7U);
}

TEST_F(PackWindowsTest, ContentsInOrderTakeFewRequests) {
  for (uint64_t at = 16; at + 200'000 <= kPackSize; at += 200'000) {
    Read(PackKind::kContents, at, 200'000);
  }
  EXPECT_LE(requests(), 6U);
}

TEST_F(PackWindowsTest, ContentsHereAndThereAreNotFetchedInVain) {
  uint64_t wanted = 0;
  for (uint64_t at = kPackSize - 500'000; at > 600'000; at -= 600'000) {
    Read(PackKind::kContents, at, 1000);
    wanted += 1000;
  }
  EXPECT_EQ(windows_.bytes(), wanted);
}

TEST_F(PackWindowsTest, AReaderInOrderIsToldWhatComesNext) {
  const auto pack = PackOf(PackKind::kContents);
  EXPECT_EQ(windows_.Ahead(pack, 0).length, 0U);
  Read(PackKind::kContents, 0, 1000);
  EXPECT_EQ(windows_.Ahead(pack, 1000).length, 0U);  // it may have been all
  Read(PackKind::kContents, 1000, 1000);
  EXPECT_EQ(windows_.Ahead(pack, 2000).length, 0U);  // most of the window is to be read still
  uint64_t told = 1000 + kMiB;
  for (uint64_t at = 2000; at + 1000 <= kPackSize; at += 1000) {
    Read(PackKind::kContents, at, 1000);
    const auto range = windows_.Ahead(pack, at + 1000);
    if (range.length == 0) continue;
    EXPECT_EQ(range.offset, told);
    told += range.length;
    windows_.Fetch(pack, range.offset, range.length);
  }
  EXPECT_EQ(told, kPackSize);
  EXPECT_LE(requests(), 7U);
  EXPECT_EQ(windows_.Ahead(PackOf(PackKind::kTrees), kPackSize).length, 0U);
}

TEST_F(PackWindowsTest, NoMoreIsFetchedThanThereIs) {
  Read(PackKind::kTrees, kPackSize - 10, 10);
  Read(PackKind::kContents, kPackSize - 2000, 1000);
  Read(PackKind::kContents, kPackSize - 1000, 1000);
  Bytes beyond(20);
  EXPECT_EQ(windows_.Read(PackOf(PackKind::kTrees), kPackSize - 10, beyond).code(), Code::kCorrupt);
}

TEST_F(PackWindowsTest, APackThatWasCutIsReadUpToThere) {
  ASSERT_TRUE(memory_.PutOne("packs/aa/2", ByteView(bytes_).first(300'000)).ok());
  const PackWindows::Pack cut{2, PackKind::kTrees, kPackSize, "packs/aa/2"};
  Bytes out(1000);
  EXPECT_TRUE(IsOk(windows_.Read(cut, 299'000, out)));
  EXPECT_TRUE(std::equal(out.begin(), out.end(), bytes_.begin() + 299'000));
  EXPECT_EQ(windows_.Read(cut, 299'500, out).code(), Code::kCorrupt);
}

TEST_F(PackWindowsTest, WhatWasFetchedAheadIsThere) {
  windows_.Fetch(PackOf(PackKind::kContents), 1000, 3 * kMiB);
  EXPECT_EQ(requests(), 1U);
  windows_.Fetch(PackOf(PackKind::kContents), 2000, kMiB);
  for (uint64_t at = 1000; at < 3 * kMiB; at += 100'000) Read(PackKind::kContents, at, 1000);
  EXPECT_EQ(requests(), 1U);
  // Overlaps in every way.
  windows_.Fetch(PackOf(PackKind::kContents), 0, 2000);
  windows_.Fetch(PackOf(PackKind::kContents), 1000, 4 * kMiB);
  Read(PackKind::kContents, 0, 5000);
  Read(PackKind::kContents, 500, 5 * kMiB);
  Read(PackKind::kTrees, 4 * kMiB, 100);
}

TEST_F(PackWindowsTest, MemoryIsBounded) {
  PackWindows windows(store_, 2 * kMiB);
  Bytes out(20'000);
  for (int round = 0; round < 2; ++round) {
    for (uint64_t at = 0; at + out.size() <= kPackSize; at += out.size()) {
      ASSERT_TRUE(IsOk(windows.Read(PackOf(PackKind::kContents), at, out)));
      ASSERT_LE(windows.bytes(), 2 * kMiB);
    }
  }
}

TEST_F(PackWindowsTest, AFailureIsNotKept) {
  store_.Add({.op = Op::kReadAt, .count = 1});
  Bytes out(1000);
  EXPECT_EQ(windows_.Read(PackOf(PackKind::kTrees), 0, out).code(), Code::kUnavailable);
  Read(PackKind::kTrees, 0, 1000);
}

TEST_F(PackWindowsTest, OneRequestForManyReaders) {
  store_.Add(
      {.op = Op::kReadAt, .action = FaultBackend::Action::kDelay, .delay_nanos = 100'000'000});
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) threads.emplace_back([&] { Read(PackKind::kTrees, 5000, 1000); });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(requests(), 1U);
}

TEST_F(PackWindowsTest, AWaitingReaderEndsWhenItsWatchSaysSo) {
  store_.Add(
      {.op = Op::kReadAt, .action = FaultBackend::Action::kDelay, .delay_nanos = 60'000'000'000});
  std::atomic<bool> enough = false;
  std::thread loader([&] {
    WaitLimit limit(60'000'000'000, [&] { return enough.load(); });
    WatchScope scope(limit);
    Bytes out(1000);
    EXPECT_EQ(windows_.Read(PackOf(PackKind::kTrees), 0, out).code(), Code::kInterrupted);
  });
  while (requests() == 0) std::this_thread::yield();
  {
    WaitLimit limit(50'000'000, nullptr);
    WatchScope scope(limit);
    Bytes out(1000);
    EXPECT_EQ(windows_.Read(PackOf(PackKind::kTrees), 0, out).code(), Code::kUnavailable);
  }
  enough = true;
  loader.join();
  EXPECT_EQ(requests(), 1U);
}

TEST_F(PackWindowsTest, ManyThreadsManyPlaces) {
  PackWindows windows(store_, 3 * kMiB);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Bytes out(3000);
      for (uint64_t i = 0; i < 500; ++i) {
        const uint64_t at = (i * 7'919 + t * 104'729 * (i % 3)) * 131 % (kPackSize - out.size());
        const PackKind kind = t % 2 == 0 ? PackKind::kTrees : PackKind::kContents;
        if (i % 10 == 0) windows.Fetch(PackOf(kind), at, out.size());
        ASSERT_TRUE(IsOk(windows.Read(PackOf(kind), at, out)));
        ASSERT_TRUE(
            std::equal(out.begin(), out.end(), bytes_.begin() + static_cast<ptrdiff_t>(at)));
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace bkfs

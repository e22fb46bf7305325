// SPDX-License-Identifier: Apache-2.0
// Sources that change, vanish or cannot be read; stores that fail; users who change their mind.
#include <atomic>

#include "engine/maintain/check.h"
#include "tests/transfer/transfer_fixture.h"

namespace bkfs {
namespace {

class BackupFailureTest : public TransferTest {
 protected:
  size_t Snapshots() { return Objects("snapshots/").size(); }
  void ExpectSound() {
    faulty_.Heal();
    Reopen(test_.CloneMaster(), "fresh-" + std::to_string(++fresh_));
    auto report = CheckRepository(*repo_, {.read = {.what = ReadSelection::What::kAll}}, {});
    ASSERT_TRUE(IsOk(report));
    for (const auto& problem : report->objects) {
      ADD_FAILURE() << problem.object << ": " << problem.why.message();
    }
    for (const auto& file : report->files) {
      ADD_FAILURE() << file.path << ": " << file.why.message();
    }
  }
  int fresh_ = 0;
};

TEST_F(BackupFailureTest, CancelledMakesNoSnapshot) {
  for (int i = 0; i < 50; ++i) Write(At("f" + std::to_string(i)), PseudoRandom(1000, 1));
  std::atomic<int> asked = 0;
  watcher_.cancelled = [&] { return ++asked > 20; };
  EXPECT_EQ(Backup().code(), Code::kInterrupted);
  EXPECT_EQ(Snapshots(), 0U);
  watcher_.cancelled = nullptr;
  EXPECT_TRUE(IsOk(Backup()));
}

TEST_F(BackupFailureTest, WhatVanishesWhileWalkingIsNoFailure) {
  for (char c = 'a'; c <= 'f'; ++c) Write(At(std::string(1, c)), PseudoRandom(100, 1));
  Write(At("z/inside"), Bytes(3));
  std::atomic<int> asked = 0;
  watcher_.cancelled = [&] {
    if (++asked == 2) {  // the names have been listed
      std::filesystem::remove(At("e"));
      std::filesystem::remove_all(At("z"));
    }
    return false;
  };
  auto made = Backup();
  ASSERT_TRUE(IsOk(made));
  EXPECT_TRUE(watcher_.failures().empty());
  EXPECT_EQ(made->totals.files, 5U);
}

// The contents that are stored and the size and time beside them belong together.
TEST_F(BackupFailureTest, AFileThatGrowsWhileItIsReadIsToldOfOrReadAgain) {
  Write(At("log"), PseudoRandom(40 << 20, 1));  // too large to be read a second time
  std::atomic<int> asked = 0;
  watcher_.cancelled = [&] {
    if (++asked > 3) {  // its reading has begun
      const int fd = ::open(At("log").c_str(), O_WRONLY | O_APPEND);
      EXPECT_EQ(::write(fd, "more", 4), 4);
      ::close(fd);
    }
    return false;
  };
  auto made = Backup();
  watcher_.cancelled = nullptr;
  ASSERT_TRUE(IsOk(made));
  ASSERT_EQ(watcher_.failures().size(), 1U);
  EXPECT_NE(watcher_.failures().at(At("log")).message().find("changed"), std::string::npos);
  EXPECT_EQ(made->counts.failures, 1U);
  // What there is of it is whole.
  ASSERT_TRUE(IsOk(Restore(made->snapshot)));
  auto data = ReadWholeFile(dest() + "/log");
  ASSERT_TRUE(IsOk(data));
  const Bytes all = *ReadWholeFile(At("log"));
  EXPECT_TRUE(std::equal(data->begin(), data->end(), all.begin()));
  // And the next backup does not take it for unchanged.
  Reopen();
  auto next = Backup();
  ASSERT_TRUE(IsOk(next));
  EXPECT_EQ(next->counts.read_files, 1U);
}

TEST_F(BackupFailureTest, AFileReplacedByAFifoDoesNotHang) {
  for (char c = 'a'; c <= 'c'; ++c) Write(At(std::string(1, c)), PseudoRandom(100, 1));
  std::atomic<int> asked = 0;
  watcher_.cancelled = [&] {
    if (++asked == 1) {
      std::filesystem::remove(At("b"));
      EXPECT_EQ(::mkfifo(At("b").c_str(), 0600), 0);
    }
    return false;
  };
  EXPECT_TRUE(IsOk(Backup()));
}

TEST_F(BackupFailureTest, WhatCannotBeReadIsNamedAndTheRestIsThere) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
  Write(At("mine"), Bytes(10));
  Write(At("theirs"), Bytes(10));
  Write(At("closed/inside"), Bytes(10));
  ASSERT_EQ(::chmod(At("theirs").c_str(), 0), 0);
  ASSERT_EQ(::chmod(At("closed").c_str(), 0), 0);
  ASSERT_EQ(::chmod(scratch_.path().c_str(), 0755), 0);
  ASSERT_EQ(::seteuid(65534), 0);
  auto made = Backup();
  ASSERT_EQ(::seteuid(0), 0);
  ASSERT_TRUE(IsOk(made));
  const auto failures = watcher_.failures();
  EXPECT_EQ(failures.size(), 2U);
  EXPECT_EQ(failures.at(At("theirs")).code(), Code::kDenied);
  EXPECT_EQ(failures.at(At("closed")).code(), Code::kDenied);
  EXPECT_EQ(made->totals.files, 1U);
  EXPECT_EQ(made->totals.directories, 1U);  // the closed one, empty
}

// Whatever operation of the store fails: an error, no snapshot that lacks anything, and a backup
// once the store works again.
TEST_F(BackupFailureTest, AStoreThatFailsAtAnyOperation) {
  for (int i = 0; i < 5; ++i) Write(At("f" + std::to_string(i)), PseudoRandom(200'000, 9));
  uint64_t operations = 0;
  for (uint64_t n = 0;; ++n) {
    Write(At("changing"), PseudoRandom(100'000, 100 + n));
    Reopen(test_.CloneMaster(), "cache-" + std::to_string(n % 3));
    const size_t before = Snapshots();
    operations = faulty_.Count();
    faulty_.StopAfter(n, n % 2 == 1);
    auto made = Backup();
    if (made.ok()) {
      operations = faulty_.Count() - operations;
      EXPECT_LE(operations, n + 4);  // at the end the lease goes, if it can
      break;
    }
    EXPECT_EQ(made.code(), Code::kUnavailable) << made.status().message();
    // The record may be there: its reply was lost, or whether its lease held could not be asked.
    EXPECT_LE(Snapshots(), before + 1);
    ExpectSound();
  }
  EXPECT_GT(operations, 4U);
  ExpectSound();
  auto last = Backup();
  ASSERT_TRUE(IsOk(last));
  ASSERT_TRUE(IsOk(Restore(last->snapshot)));
  EXPECT_EQ(Describe(source()), Describe(dest()));
}

TEST_F(BackupFailureTest, KeysThatMayNotWriteAreRefused) {
  Write(At("a"), Bytes(10));
  for (KeyType type : {KeyType::kReadOnly, KeyType::kMaintain, KeyType::kLogOnly}) {
    Reopen(test_.Derive(type), "cache-" + std::string(KeyTypeName(type)));
    EXPECT_EQ(Backup().code(), Code::kDenied) << KeyTypeName(type);
  }
}

}  // namespace
}  // namespace bkfs

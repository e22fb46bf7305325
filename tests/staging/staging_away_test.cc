// SPDX-License-Identifier: Apache-2.0
// What waits for the store holds up nobody who need not.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "backends/fault/fault_backend.h"
#include "engine/base/transfer.h"
#include "tests/staging/staging_fixture.h"

namespace bkfs {
namespace {

using Op = FaultBackend::Op;
constexpr int64_t kLong = 3'000'000'000;  // healed or not

// Something that waits for the store on a thread of its own, until it is told not to.
class Waiting {
 public:
  explicit Waiting(std::function<Status()> what)
      : thread_([this, what = std::move(what)] {
          WaitLimit limit(WaitLimit::kForever, [this] { return over_.load(); });
          const WatchScope scope(limit);
          status_ = what();
          done_ = true;
        }) {}
  ~Waiting() { (void)Stop(); }
  bool done() const { return done_; }
  Status Stop() {
    over_ = true;
    if (thread_.joinable()) thread_.join();
    return status_;
  }

 private:
  std::atomic<bool> over_ = false;
  std::atomic<bool> done_ = false;
  Status status_;
  std::thread thread_;
};

class StagingAwayTest : public ::testing::Test {
 protected:
  StagingAwayTest() : faulty_(store_), staged_(faulty_) { staged_.OpenMaster(); }
  Staging& staging() { return staged_.staging(); }
  void Hold(Op op, const std::string& prefix) {
    asked_ = faulty_.Count(op);
    faulty_.Add(
        {.op = op, .prefix = prefix, .action = FaultBackend::Action::kDelay, .delay_nanos = kLong});
  }
  void UntilHeld(Op op) {
    while (faulty_.Count(op) == asked_) std::this_thread::yield();
  }

  MemoryBackend store_;
  FaultBackend faulty_;
  StagedRepository staged_;
  uint64_t asked_ = 0;
};

TEST_F(StagingAwayTest, ADirectoryThatIsFetchedIsWaitedForByThoseWhoLookIntoIt) {
  NewNode how;
  how.kind = EntryKind::kDirectory;
  const NodeId dir = staging().Create(staged_.Series("home"), "dir", how)->id;
  // Too long a list to come along with its parent's.
  for (int i = 0; i < 3000; ++i) {
    const std::string name = ToHex(PseudoRandom(100, static_cast<uint64_t>(i)));
    ASSERT_TRUE(IsOk(staging().Create(dir, name, {})));
  }
  ASSERT_TRUE(IsOk(staging().Commit("home")));
  staged_.Close();
  staged_.Open(staged_.test().CloneMaster(), "elsewhere");
  const NodeId root = staged_.Series("home");
  const NodeId stored = staging().Lookup(root, "dir")->id;
  Hold(Op::kReadAt, "packs/");
  Waiting looking([&] { return staging().Lookup(stored, "name").status(); });
  UntilHeld(Op::kReadAt);
  staged_.WriteFile(root, "a", AsBytes("hello"));
  EXPECT_TRUE(IsOk(staging().StatusText()));
  EXPECT_FALSE(looking.done());
  EXPECT_EQ(looking.Stop().code(), Code::kInterrupted);
  faulty_.Heal();
  EXPECT_EQ(staging().Lookup(stored, "name").code(), Code::kNotFound);
}

TEST_F(StagingAwayTest, ACommitIsWaitedForByItsOwnSeriesAlone) {
  staged_.WriteFile(staged_.Series("home"), "a", AsBytes("hello"));
  staged_.Series("empty");
  staged_.Series("made");
  Hold(Op::kPut, "packs/");
  Waiting committing([&] { return staging().Commit("home").status(); });
  UntilHeld(Op::kPut);
  EXPECT_TRUE(IsOk(staging().EndSeries("empty")));
  EXPECT_TRUE(IsOk(staging().RenameSeries("made", "work")));
  EXPECT_FALSE(committing.done());
  Waiting other([&] { return staging().Commit("work").status(); });
  Waiting end([&] { return staging().EndSeries("home"); });
  Waiting rename([&] { return staging().RenameSeries("work", "home"); });
  // They wait, and can be told not to.
  EXPECT_EQ(other.Stop().code(), Code::kInterrupted);
  EXPECT_EQ(end.Stop().code(), Code::kInterrupted);
  EXPECT_EQ(rename.Stop().code(), Code::kInterrupted);
  EXPECT_EQ(committing.Stop().code(), Code::kInterrupted);
  faulty_.Heal();
  EXPECT_TRUE(IsOk(staging().Commit("home")));
  EXPECT_TRUE(IsOk(staging().EndSeries("home")));
}

TEST_F(StagingAwayTest, WhatIsCommittedByItselfIsGivenUpAtTheEnd) {
  staged_.Close();
  staged_.options.commit_idle_ns = 1;
  staged_.OpenMaster();
  Hold(Op::kPut, "packs/");
  staged_.WriteFile(staged_.Series("home"), "a", AsBytes("hello"));
  UntilHeld(Op::kPut);
  staging().StopCommitting();
  faulty_.Heal();
  EXPECT_TRUE(IsOk(staging().CommitAll()));
}

}  // namespace
}  // namespace bkfs

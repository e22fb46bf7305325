// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <thread>

#include "backends/decorators/bandwidth_backend.h"
#include "backends/decorators/retry_backend.h"
#include "backends/decorators/stall_backend.h"
#include "backends/fault/fault_backend.h"
#include "backends/memory/memory_backend.h"
#include "engine/base/clock.h"
#include "engine/base/transfer.h"
#include "tests/support/test_logger.h"

namespace bkfs {
namespace {

using Op = FaultBackend::Op;
using Action = FaultBackend::Action;
constexpr int64_t kMillisecond = 1'000'000;
constexpr int64_t kSecond = 1'000'000'000;

// A store in memory that misbehaves, and is tried again.
class RetryTest : public testing::Test {
 protected:
  RetryTest() {
    auto fault = std::make_unique<FaultBackend>(memory_);
    fault_ = fault.get();
    const RetryOptions options{.first_ns = kMillisecond,
                               .longest_ns = 4 * kMillisecond,
                               .total_ns = 2 * kSecond,
                               .away_ns = kSecond / 20};
    store_ = std::make_unique<RetryBackend>(std::move(fault), options, log_);
  }
  void Fail(Op op, uint64_t count, Action action = Action::kFail, uint64_t amount = 1) {
    fault_->Add({.op = op, .count = count, .action = action, .amount = amount});
  }
  std::set<std::string> Listed() {
    std::multiset<std::string> names;
    EXPECT_TRUE(store_
                    ->List("",
                           [&](const std::string& name, uint64_t) {
                             names.insert(name);
                             return Status();
                           })
                    .ok());
    std::set<std::string> once(names.begin(), names.end());
    EXPECT_EQ(once.size(), names.size());
    return once;
  }

  MemoryBackend memory_;
  FaultBackend* fault_ = nullptr;
  TestLogger log_;
  std::unique_ptr<RetryBackend> store_;
};

TEST_F(RetryTest, EveryOperationIsTriedAgain) {
  Fail(Op::kAny, 1);
  ASSERT_TRUE(store_->PutOne("a", AsBytes("12345")).ok());
  for (Op op : {Op::kGet, Op::kReadAt, Op::kSize, Op::kModifiedAt, Op::kSpace, Op::kList}) {
    Fail(op, 2);
  }
  EXPECT_EQ(AsText(store_->Get("a").value()), "12345");
  Bytes two(2);
  EXPECT_TRUE(store_->ReadAt("a", 1, two).ok());
  EXPECT_EQ(AsText(two), "23");
  EXPECT_EQ(store_->Size("a").value(), 5U);
  EXPECT_TRUE(store_->ModifiedAt("a").ok());
  EXPECT_TRUE(store_->Space().ok());
  EXPECT_EQ(Listed(), std::set<std::string>{"a"});
  Fail(Op::kRemove, 2);
  EXPECT_TRUE(store_->RemoveAll({"a"}).ok());
  EXPECT_EQ(store_->Get("a").code(), Code::kNotFound);
  EXPECT_EQ(log_.Take(), "");  // a hiccup is nobody's concern
}

TEST_F(RetryTest, AStoreThatIsAwayIsToldOnce) {
  EXPECT_EQ(store_->Health().silent_ns, 0);
  ASSERT_TRUE(store_->PutOne("a", AsBytes("12345")).ok());
  fault_->Add({.op = Op::kGet, .error = Status(Code::kUnavailable, "no way")});
  for (int i = 0; i < 2; ++i) {
    WaitLimit limit(kSecond / 10, nullptr);
    WatchScope scope(limit);
    EXPECT_EQ(store_->Get("a").code(), Code::kUnavailable);
  }
  const StoreHealth health = store_->Health();
  EXPECT_GE(health.silent_ns, kSecond / 5);  // one silence, with a pause between two who asked
  EXPECT_NE(health.failure.message().find("no way"), std::string::npos);
  std::string told = log_.Take();
  EXPECT_NE(told.find("does not answer"), std::string::npos) << told;
  EXPECT_NE(told.find("no way"), std::string::npos) << told;
  EXPECT_EQ(std::count(told.begin(), told.end(), '\n'), 1) << told;
  fault_->Heal();
  EXPECT_TRUE(store_->Size("a").ok());
  EXPECT_EQ(store_->Health().silent_ns, 0);
  EXPECT_TRUE(store_->Health().failure.ok());
  told = log_.Take();
  EXPECT_NE(told.find("answers again"), std::string::npos) << told;
  EXPECT_EQ(std::count(told.begin(), told.end(), '\n'), 1) << told;
}

// A store that takes bytes and then fails, or hands out some.
class MovingBackend final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  Status Put(const std::string& name, std::span<const ByteView> parts) override {
    BKFS_TRY(SleepWatched(kSecond / 20));
    BKFS_TRY(TellSending(1));
    seen_ = health_ ? health_().silent_ns : 0;
    return ForwardingBackend::Put(name, parts);
  }
  std::function<StoreHealth()> health_;
  int64_t seen_ = -1;
};

TEST(StorePulseTest, WhatIsSentIsASignOfLifeUntilSomethingFails) {
  MemoryBackend memory;
  TestLogger log;
  auto fault = std::make_unique<FaultBackend>(memory);
  FaultBackend* faults = fault.get();
  auto moving = std::make_unique<MovingBackend>(std::move(fault));
  MovingBackend* mover = moving.get();
  RetryBackend store(std::move(moving), {.first_ns = kMillisecond}, log);
  mover->health_ = [&] { return store.Health(); };
  ASSERT_TRUE(store.PutOne("a", AsBytes("1")).ok());
  EXPECT_LT(mover->seen_, kSecond / 20);
  faults->Add({.op = Op::kPut, .count = 1});
  ASSERT_TRUE(store.PutOne("b", AsBytes("1")).ok());
  EXPECT_GE(mover->seen_, kSecond / 20);  // of the second try
  EXPECT_EQ(store.Health().silent_ns, 0);
}

TEST_F(RetryTest, OtherFailuresAreFinal) {
  for (Code code : {Code::kDenied, Code::kNoSpace, Code::kCorrupt, Code::kIo}) {
    fault_->Heal();
    fault_->Add({.op = Op::kGet, .error = Status(code, "no")});
    const uint64_t before = fault_->Count(Op::kGet);
    EXPECT_EQ(store_->Get("a").code(), code);
    EXPECT_EQ(fault_->Count(Op::kGet), before + 1);
  }
}

TEST_F(RetryTest, EndsWhenTheTimeIsOver) {
  auto fault = std::make_unique<FaultBackend>(memory_);
  fault->Add({.op = Op::kGet});
  store_ = std::make_unique<RetryBackend>(
      std::move(fault),
      RetryOptions{.first_ns = kMillisecond, .longest_ns = kMillisecond, .total_ns = kSecond / 20},
      log_);
  auto got = store_->Get("a");
  EXPECT_EQ(got.code(), Code::kUnavailable);
  EXPECT_NE(got.status().message().find("given up after"), std::string::npos)
      << got.status().message();
}

TEST_F(RetryTest, AWatchEndsIt) {
  Fail(Op::kGet, FaultBackend::kForever);
  {
    WaitLimit limit(20 * kMillisecond, nullptr);
    WatchScope scope(limit);
    auto got = store_->Get("a");
    EXPECT_EQ(got.code(), Code::kUnavailable);
    EXPECT_NE(got.status().message().find("has not answered"), std::string::npos);
  }
  WaitLimit interrupted(kSecond, [] { return true; });
  WatchScope scope(interrupted);
  EXPECT_EQ(store_->Get("a").code(), Code::kInterrupted);
}

TEST_F(RetryTest, ALostReplyOfAPut) {
  Bytes large(300'000, 7);
  for (const Bytes& data : {Bytes(), Bytes(10, 1), large}) {
    fault_->Heal();
    Fail(Op::kPut, 1, Action::kLose);
    const std::string name = "a" + std::to_string(data.size());
    const ByteView view(data);
    const ByteView parts[] = {view.first(data.size() / 3), view.subspan(data.size() / 3)};
    EXPECT_TRUE(store_->Put(name, parts).ok());
    EXPECT_EQ(fault_->Count(Op::kPut) % 2, 0U);
    EXPECT_EQ(store_->Get(name).value(), data);
  }
}

TEST_F(RetryTest, SomebodyElsesObjectIsNotOurs) {
  Bytes ours(300'000, 7);
  for (const size_t at : {size_t{0}, ours.size() - 1}) {
    for (const bool shorter : {false, true}) {
      MemoryBackend memory;
      Bytes theirs = ours;
      theirs[at] = 8;
      if (shorter) theirs.pop_back();
      ASSERT_TRUE(memory.PutOne("a", theirs).ok());
      auto fault = std::make_unique<FaultBackend>(memory);
      fault->Add({.op = Op::kPut, .count = 1});
      RetryBackend store(std::move(fault), RetryOptions{.first_ns = kMillisecond}, log_);
      EXPECT_EQ(store.PutOne("a", ours).code(), Code::kExists);
    }
  }
  // At the first try nothing of ours can be there, whatever it is.
  ASSERT_TRUE(memory_.PutOne("same", AsBytes("x")).ok());
  EXPECT_EQ(store_->PutOne("same", AsBytes("x")).code(), Code::kExists);
}

TEST_F(RetryTest, AnObjectRemovedBeforeItWasCompared) {
  Fail(Op::kPut, 1, Action::kLose);
  fault_->Add({.op = Op::kSize, .error = Status(Code::kNotFound, "gone")});
  EXPECT_EQ(store_->PutOne("a", AsBytes("x")).code(), Code::kExists);
}

TEST_F(RetryTest, ALostReplyOfARemove) {
  ASSERT_TRUE(memory_.PutOne("a", AsBytes("x")).ok());
  Fail(Op::kRemove, 1, Action::kLose);
  EXPECT_TRUE(store_->Remove("a").ok());
  EXPECT_EQ(store_->Remove("a").code(), Code::kNotFound);
}

TEST_F(RetryTest, AListThatBreaksGoesOn) {
  std::set<std::string> all;
  for (int i = 0; i < 100; ++i) {
    const std::string name = "packs/" + std::to_string(i);
    all.insert(name);
    ASSERT_TRUE(memory_.PutOne(name, AsBytes("x")).ok());
  }
  const uint64_t cuts[] = {40, 20, 70};
  for (uint64_t i = 0; i < 3; ++i) {
    fault_->Add(
        {.op = Op::kList, .first = i + 1, .count = 1, .action = Action::kCut, .amount = cuts[i]});
  }
  EXPECT_EQ(Listed(), all);
  EXPECT_EQ(fault_->Count(Op::kList), 4U);
}

TEST_F(RetryTest, TheVisitorsErrorIsNotTheStores) {
  ASSERT_TRUE(memory_.PutOne("a", AsBytes("x")).ok());
  int calls = 0;
  EXPECT_EQ(store_
                ->List("",
                       [&](const std::string&, uint64_t) {
                         ++calls;
                         return Status(Code::kUnavailable, "the visitor's own");
                       })
                .message(),
            "the visitor's own");
  EXPECT_EQ(calls, 1);
}

class StallTest : public testing::Test {
 protected:
  // Nothing comes for `nanos`, then it works.
  StallBackend Store(int64_t nanos, int64_t limit) {
    auto fault = std::make_unique<FaultBackend>(memory_);
    fault->Add({.action = Action::kDelay, .delay_nanos = nanos});
    return {std::move(fault), limit};
  }
  MemoryBackend memory_;
};

TEST_F(StallTest, ARequestThatHangsIsGivenUp) {
  auto store = Store(60 * kSecond, 50 * kMillisecond);
  ASSERT_TRUE(memory_.PutOne("a", AsBytes("x")).ok());
  Bytes one(1);
  const ByteView part = AsBytes("x");
  const auto visit = [](const std::string&, uint64_t) { return Status(); };
  for (const Status& status :
       {store.Get("a").status(), store.ReadAt("a", 0, one), store.Put("b", std::span(&part, 1)),
        store.Size("a").status(), store.ModifiedAt("a").status(), store.List("", visit),
        store.Remove("a"), store.RemoveAll({"a"}), store.Space().status(),
        store.Repack({}).status(), store.LockedUntil("a").status()}) {
    EXPECT_EQ(status.code(), Code::kUnavailable) << status.message();
    EXPECT_NE(status.message().find("nothing has moved"), std::string::npos) << status.message();
  }
}

TEST_F(StallTest, OneThatIsOnlySlowIsNot) {
  auto store = Store(100 * kMillisecond, 30 * kSecond);
  ASSERT_TRUE(store.PutOne("a", AsBytes("x")).ok());
  EXPECT_TRUE(store.Get("a").ok());
}

TEST_F(StallTest, SleepingForALimitOfBandwidthIsNoStall) {
  StallBackend store(std::make_unique<BandwidthBackend>(std::make_unique<MemoryBackend>(),
                                                        Bandwidth{.up = 1 << 20, .down = 0}),
                     30 * kMillisecond);
  // 256 KiB at a time, each of which takes a quarter of a second.
  EXPECT_TRUE(store.PutOne("a", Bytes(400'000)).ok());
}

// The time that it takes at least; how much more it is depends on the machine.
TEST(BandwidthTest, KeepsToTheLimit) {
  const SystemClock clock;
  BandwidthBackend store(std::make_unique<MemoryBackend>(), {.up = 4 << 20, .down = 2 << 20});
  int64_t began = clock.MonotonicNanos();
  ASSERT_TRUE(store.PutOne("a", Bytes(2 << 20)).ok());
  EXPECT_GE(clock.MonotonicNanos() - began, kSecond / 2 - kSecond / 9);
  began = clock.MonotonicNanos();
  EXPECT_EQ(store.Get("a")->size(), size_t{2} << 20);
  EXPECT_GE(clock.MonotonicNanos() - began, kSecond - kSecond / 9);
}

TEST(BandwidthTest, AllThreadsTogether) {
  const SystemClock clock;
  BandwidthBackend store(std::make_unique<MemoryBackend>(), {.up = 4 << 20, .down = 0});
  const int64_t began = clock.MonotonicNanos();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back(
        [&, i] { EXPECT_TRUE(store.PutOne("a" + std::to_string(i), Bytes(1 << 20)).ok()); });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_GE(clock.MonotonicNanos() - began, kSecond - kSecond / 9);
  EXPECT_TRUE(store.Get("a0").ok());
}

TEST(BandwidthTest, AWatchEndsTheSleep) {
  BandwidthBackend store(std::make_unique<MemoryBackend>(), {.up = kLeastBandwidth, .down = 0});
  WaitLimit limit(50 * kMillisecond, nullptr);
  WatchScope scope(limit);
  EXPECT_EQ(store.PutOne("a", Bytes(1 << 20)).code(), Code::kUnavailable);
  EXPECT_EQ(store.Get("a").code(), Code::kNotFound);
}

}  // namespace
}  // namespace bkfs

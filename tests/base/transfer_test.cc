// SPDX-License-Identifier: Apache-2.0
#include "engine/base/transfer.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

namespace bkfs {
namespace {

class Recorder final : public TransferWatch {
 public:
  Recorder(std::string name, std::string& told, Status answer = {})
      : name_(std::move(name)), told_(told), answer_(std::move(answer)) {}
  Status Sending(uint64_t bytes) override { return Note("s" + std::to_string(bytes)); }
  Status Received(uint64_t bytes) override { return Note("r" + std::to_string(bytes)); }
  Status Waiting() override { return Note("w"); }

 private:
  Status Note(const std::string& what) {
    told_ += name_ + what + " ";
    return answer_;
  }
  const std::string name_;
  std::string& told_;
  const Status answer_;
};

TEST(TransferTest, NobodyWatches) {
  EXPECT_TRUE(TellSending(1).ok());
  EXPECT_TRUE(TellReceived(1).ok());
  EXPECT_TRUE(TellWaiting().ok());
}

TEST(TransferTest, InnermostFirstAndOnlyWhileTheScopeLasts) {
  std::string told;
  Recorder outer("a", told);
  Recorder inner("b", told);
  {
    WatchScope one(outer);
    {
      WatchScope two(inner);
      EXPECT_TRUE(TellSending(5).ok());
    }
    EXPECT_TRUE(TellReceived(7).ok());
  }
  EXPECT_TRUE(TellWaiting().ok());
  EXPECT_EQ(told, "bs5 as5 ar7 ");
}

TEST(TransferTest, TheFirstRefusalCounts) {
  std::string told;
  Recorder outer("a", told);
  Recorder inner("b", told, Status(Code::kUnavailable, "enough"));
  WatchScope one(outer);
  WatchScope two(inner);
  EXPECT_EQ(TellWaiting().message(), "enough");
  EXPECT_EQ(told, "bw ");
}

TEST(TransferTest, OtherThreadsAreNotWatched) {
  std::string told;
  Recorder watch("a", told);
  WatchScope scope(watch);
  std::thread([] { EXPECT_TRUE(TellSending(1).ok()); }).join();
  EXPECT_EQ(told, "");
}

TEST(TransferTest, ALimitOfTime) {
  WaitLimit limit(50'000'000, nullptr);
  WatchScope scope(limit);
  EXPECT_TRUE(TellWaiting().ok());
  Status ended = SleepWatched(60'000'000'000);
  EXPECT_EQ(ended.code(), Code::kUnavailable);
  EXPECT_NE(ended.message().find("has not answered"), std::string::npos);
}

TEST(TransferTest, AnInterruption) {
  int asked = 0;
  WaitLimit limit(60'000'000'000, [&] { return ++asked == 2; });
  WatchScope scope(limit);
  EXPECT_EQ(SleepWatched(60'000'000'000).code(), Code::kInterrupted);
}

TEST(TransferTest, SleepsToItsEnd) { EXPECT_TRUE(SleepWatched(1'000'000).ok()); }

}  // namespace
}  // namespace bkfs

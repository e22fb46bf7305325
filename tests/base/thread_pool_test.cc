// SPDX-License-Identifier: Apache-2.0
#include "engine/base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <memory>

namespace bkfs {
namespace {

TEST(ThreadPool, RunsEverything) {
  std::atomic<int> done = 0;
  {
    ThreadPool pool(3, 4);
    EXPECT_EQ(pool.threads(), 3U);
    for (int i = 0; i < 1000; ++i) pool.Submit([&done] { ++done; });
  }
  EXPECT_EQ(done, 1000);
}

TEST(ThreadPool, DrainWaitsForRunningTasksAndTheirCaptures) {
  ThreadPool pool(2, 100);
  std::atomic<int> done = 0;
  auto captured = std::make_shared<int>(1);
  for (int i = 0; i < 100; ++i) {
    pool.Submit([&done, captured] { done += *captured; });
  }
  pool.Drain();
  EXPECT_EQ(done, 100);
  EXPECT_EQ(captured.use_count(), 1);
  pool.Drain();
}

TEST(ThreadPool, FullQueueRefusesAndBlocks) {
  ThreadPool pool(1, 1);
  std::latch started(1);
  std::latch release(1);
  pool.Submit([&] {
    started.count_down();
    release.wait();
  });
  started.wait();
  EXPECT_TRUE(pool.TrySubmit([] {}));
  EXPECT_FALSE(pool.TrySubmit([] { FAIL() << "must not run"; }));
  std::atomic<bool> submitted = false;
  std::thread blocked([&] {
    pool.Submit([] {});
    submitted = true;
  });
  EXPECT_FALSE(submitted);
  release.count_down();
  blocked.join();
  EXPECT_TRUE(submitted);
  pool.Drain();
}

TEST(ThreadPool, NeverWithoutThreadOrRoom) {
  ThreadPool pool(0, 0);
  EXPECT_EQ(pool.threads(), 1U);
  std::atomic<bool> ran = false;
  pool.Submit([&] { ran = true; });
  pool.Drain();
  EXPECT_TRUE(ran);
}

}  // namespace
}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/base/process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace bkfs {
namespace {

TEST(ProcessTest, ThisOneRuns) {
  const ProcessIdentity self = ThisProcess();
  EXPECT_NE(self.started, 0U);
  EXPECT_TRUE(IsRunning(self.pid, self.started));
  EXPECT_FALSE(IsRunning(self.pid, self.started + 1));  // another one with its number
  EXPECT_TRUE(IsRunning(0, 0));                         // nobody knows
}

// Where nobody waits for children, as in a container without an init, they stay in the table.
TEST(ProcessTest, ADeadOneThatNobodyHasWaitedForDoesNot) {
  int started[2];
  ASSERT_EQ(::pipe(started), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const uint64_t ticks = ThisProcess().started;
    (void)!::write(started[1], &ticks, sizeof ticks);
    for (;;) ::pause();
  }
  uint64_t ticks = 0;
  ASSERT_EQ(::read(started[0], &ticks, sizeof ticks), static_cast<ssize_t>(sizeof ticks));
  const auto pid = static_cast<uint64_t>(child);
  EXPECT_TRUE(IsRunning(pid, ticks));
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  EXPECT_FALSE(IsRunning(pid, ticks));
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_FALSE(IsRunning(pid, ticks));
  ::close(started[0]);
  ::close(started[1]);
}

}  // namespace
}  // namespace bkfs

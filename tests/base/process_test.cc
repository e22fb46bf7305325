// SPDX-License-Identifier: Apache-2.0
#include "engine/base/process.h"

#include <gtest/gtest.h>
#include <sched.h>
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

// A container on the same machine has other processes of the same numbers.
TEST(ProcessTest, AnotherNamespaceIsAnotherMachine) {
  const ProcessIdentity self = ThisProcess();
  int told[2];
  ASSERT_EQ(::pipe(told), 0);
  const pid_t outer = ::fork();
  ASSERT_GE(outer, 0);
  if (outer == 0) {
    const int spaces = CLONE_NEWPID | (::geteuid() == 0 ? 0 : CLONE_NEWUSER);
    if (::unshare(spaces) != 0) ::_exit(1);
    const pid_t inner = ::fork();
    if (inner == 0) {
      const ProcessIdentity other = ThisProcess();
      ::_exit(::write(told[1], other.boot.data(), other.boot.size()) == 16 ? 0 : 1);
    }
    int status = 1;
    ::waitpid(inner, &status, 0);
    ::_exit(status == 0 ? 0 : 1);
  }
  int status = 1;
  ASSERT_EQ(::waitpid(outer, &status, 0), outer);
  ASSERT_EQ(status, 0);
  std::array<uint8_t, 16> boot{};
  ASSERT_EQ(::read(told[0], boot.data(), boot.size()), 16);
  EXPECT_NE(boot, self.boot);
  EXPECT_EQ(ThisProcess().boot, self.boot);
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

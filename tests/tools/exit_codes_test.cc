// SPDX-License-Identifier: Apache-2.0
#include "tools/exit_codes.h"

#include <gtest/gtest.h>

namespace bkfs {
namespace {

TEST(ExitCodesTest, AreTheDocumentedOnes) {
  auto code = [](Code c) { return static_cast<int>(ExitCodeOf(Status(c, "x"))); };
  EXPECT_EQ(ExitCodeOf(OkStatus()), 0);
  EXPECT_EQ(code(Code::kIo), 1);
  EXPECT_EQ(code(Code::kDenied), 1);
  EXPECT_EQ(code(Code::kInvalid), 2);
  EXPECT_EQ(code(Code::kNoRepository), 10);
  EXPECT_EQ(code(Code::kWrongKey), 12);
  EXPECT_EQ(code(Code::kCorrupt), 13);
  EXPECT_EQ(code(Code::kInterrupted), 130);
}

}  // namespace
}  // namespace bkfs

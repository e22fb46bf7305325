// SPDX-License-Identifier: Apache-2.0
#include "engine/base/status.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <set>

namespace bkfs {
namespace {

TEST(Status, CarriesCodeMessageErrno) {
  EXPECT_TRUE(Status().ok());
  EXPECT_EQ(Status().ToString(), "ok");
  Status status = Status::FromErrno(ENOSPC, "write /x");
  EXPECT_EQ(status.code(), Code::kNoSpace);
  EXPECT_EQ(status.system_errno(), ENOSPC);
  EXPECT_EQ(status.message().find("write /x: "), 0U);
  Status wrapped = status.WithContext("pack ab");
  EXPECT_EQ(wrapped.code(), Code::kNoSpace);
  EXPECT_EQ(wrapped.system_errno(), ENOSPC);
  EXPECT_EQ(wrapped.message().find("pack ab: write /x: "), 0U);
  EXPECT_TRUE(Status().WithContext("x").ok());
  Status copy = wrapped;
  EXPECT_EQ(copy.message(), wrapped.message());
}

TEST(Status, EveryCodeHasItsWord) {
  std::set<std::string_view> words;
  for (int i = 0; i <= static_cast<int>(Code::kNoRepository); ++i) {
    words.insert(CodeName(static_cast<Code>(i)));
  }
  EXPECT_EQ(words.size(), static_cast<size_t>(Code::kNoRepository) + 1);
  EXPECT_EQ(words.count("unknown"), 0U);
}

Result<std::unique_ptr<int>> Half(int n) {
  if (n % 2 != 0) return Status(Code::kInvalid, "odd");
  return std::make_unique<int>(n / 2);
}

Result<int> Quarter(int n) {
  BKFS_ASSIGN(std::unique_ptr<int> half, Half(n));
  BKFS_ASSIGN(auto quarter, Half(*half));
  BKFS_TRY(OkStatus());
  return *quarter;
}

TEST(Result, PassesValuesAndFailures) {
  EXPECT_EQ(Quarter(8).value(), 2);
  EXPECT_EQ(Quarter(6).code(), Code::kInvalid);
  EXPECT_EQ(Quarter(6).status().message(), "odd");
  EXPECT_TRUE(Quarter(8).status().ok());
  Result<int> result = Quarter(8);
  result = Quarter(7);
  EXPECT_FALSE(result.ok());
  result = Quarter(4);
  EXPECT_EQ(*result, 1);
}

TEST(ResultDeathTest, ValueOfAFailureAborts) {
  EXPECT_DEATH((void)Quarter(7).value(), "odd");
  EXPECT_DEATH(BKFS_CHECK(1 == 2), "broken invariant: 1 == 2");
}

}  // namespace
}  // namespace bkfs

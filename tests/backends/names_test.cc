// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "engine/repo/backend.h"

namespace bkfs {
namespace {

TEST(ObjectNames, EveryByte) {
  for (int c = 0; c < 256; ++c) {
    const std::string name = std::string("a") + static_cast<char>(c) + "b";
    const bool good =
        (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '/';
    EXPECT_EQ(CheckObjectName(name).ok(), good) << c;
  }
}

TEST(ObjectNames, LengthAndWords) {
  EXPECT_TRUE(CheckObjectName(std::string(200, 'a')).ok());
  EXPECT_EQ(CheckObjectName(std::string(201, 'a')).code(), Code::kInvalid);
  EXPECT_LT(CheckObjectName(std::string(1 << 20, 'a')).message().size(), 300U);
  for (const char* bad : {"", "/", "//", "a/", "/a", ".", "..", "a/./b", "a/../b", "a/.."}) {
    EXPECT_EQ(CheckObjectName(bad).code(), Code::kInvalid) << bad;
  }
  for (const char* good : {"a", "...", ".a", "..a", "a/b/c.d-e"}) {
    EXPECT_TRUE(CheckObjectName(good).ok()) << good;
  }
}

TEST(ObjectNames, Prefixes) {
  for (const char* good : {"", "a/", "packs/ab/"}) EXPECT_TRUE(CheckObjectPrefix(good).ok());
  for (const char* bad : {"a", "/", "a//", "../", "packs/A/", "packs/ab"}) {
    EXPECT_EQ(CheckObjectPrefix(bad).code(), Code::kInvalid) << bad;
  }
}

}  // namespace
}  // namespace bkfs

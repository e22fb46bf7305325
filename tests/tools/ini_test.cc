// SPDX-License-Identifier: Apache-2.0
#include "tools/ini.h"

#include <gtest/gtest.h>

namespace bkfs {
namespace {

std::string ErrorOf(std::string_view text) { return ParseIni(text, "f.ini").status().message(); }

TEST(IniTest, SectionsKeysAndComments) {
  auto entries =
      ParseIni("# comment\n; another\n\n[One]\r\n a = 1 \nb=x=y # kept\n[ Two ]\na=\n", "f.ini");
  ASSERT_TRUE(entries.ok());
  ASSERT_EQ(entries->size(), 3u);
  EXPECT_EQ((*entries)[0].section, "One");
  EXPECT_EQ((*entries)[0].key, "a");
  EXPECT_EQ((*entries)[0].value, "1");
  EXPECT_EQ((*entries)[0].line, 5);
  EXPECT_EQ((*entries)[1].value, "x=y # kept");
  EXPECT_EQ((*entries)[2].section, "Two");
  EXPECT_EQ((*entries)[2].value, "");
}

TEST(IniTest, NoLineFeedAtTheEnd) {
  auto entries = ParseIni("[S]\nk=v", "f.ini");
  ASSERT_TRUE(entries.ok());
  ASSERT_EQ(entries->size(), 1u);
  EXPECT_EQ(entries->front().value, "v");
}

TEST(IniTest, ErrorsNameFileAndLine) {
  EXPECT_EQ(ErrorOf("[S]\nword\n"), "f.ini:2: want key = value, have 'word'");
  EXPECT_EQ(ErrorOf("\n[S\n"), "f.ini:2: want [Section], have '[S'");
  EXPECT_EQ(ErrorOf("[]\n"), "f.ini:1: want [Section], have '[]'");
  EXPECT_EQ(ErrorOf("k=v\n"), "f.ini:1: 'k' stands before the first [Section]");
  EXPECT_EQ(ErrorOf("[S]\n=v\n"), "f.ini:2: want key = value, have '=v'");
  EXPECT_EQ(ErrorOf(std::string_view("[S]\na\0=b\n", 9)),
            "f.ini:2: a NUL byte; this is no configuration file");
  EXPECT_EQ(ErrorOf("[S]\na\x1b[31m\n"),
            "f.ini:2: a control character; this is no configuration file");
  EXPECT_EQ(ErrorOf("[S]\n" + std::string(9000, 'a')), "f.ini:2: the line is too long");
}

}  // namespace
}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/glob.h"

#include <gtest/gtest.h>

#include "tests/support/scratch.h"

namespace bkfs {
namespace {

struct Case {
  const char* pattern;
  const char* text;
  bool matches;
};

TEST(GlobTest, Table) {
  const Case cases[] = {
      {"a", "a", true},
      {"a", "b", false},
      {"a", "ab", false},
      {"*", "anything", true},
      {"*", "", true},
      {"*", "a/b", false},
      {"*.o", "x.o", true},
      {"*.o", "x.oo", false},
      {"a?c", "abc", true},
      {"a?c", "a/c", false},
      {"[a-c]x", "bx", true},
      {"[a-c]x", "dx", false},
      {"[!a-c]x", "dx", true},
      {"[!a-c]x", "ax", false},
      {"[]a]", "]", true},
      {"[a", "[a", true},
      {"\\*", "*", true},
      {"\\*", "x", false},
      {"a\\", "a\\", true},
      {"**", "a/b/c", true},
      {"**/x", "x", true},
      {"**/x", "a/b/x", true},
      {"**/x", "a/b/xx", false},
      {"a/**", "a/b", true},
      {"a/**", "a", false},
      {"a/**/z", "a/z", true},
      {"a/**/z", "a/b/c/z", true},
      {"a/**/z", "b/z", false},
      {"a/*/z", "a/b/z", true},
      {"a/*/z", "a/b/c/z", false},
      {"*a*b*", "xxaxxbxx", true},
      {"*a*b*", "xxbxxaxx", false},
      {"[\xc0-\xff]", "\xe4", true},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(GlobMatch(c.pattern, c.text), c.matches) << c.pattern << " on " << c.text;
  }
}

// Would take longer than the universe has with naive backtracking.
TEST(GlobTest, NoPatternTakesForEver) {
  std::string pattern;
  for (int i = 0; i < 200; ++i) pattern += "a*";
  pattern += "b";
  EXPECT_FALSE(GlobMatch(pattern, std::string(5000, 'a')));
  std::string deep;
  std::string path;
  for (int i = 0; i < 100; ++i) deep += "**/a/";
  for (int i = 0; i < 2000; ++i) path += "a/";
  EXPECT_FALSE(GlobMatch(deep + "b", path + "c"));
}

bool Excluded(std::vector<const char*> patterns, const char* relative, bool directory = false) {
  ExcludeList list;
  for (const char* pattern : patterns) EXPECT_TRUE(list.Add(pattern).ok());
  return list.Excludes(relative, "/home/me/" + std::string(relative), directory);
}

TEST(ExcludeListTest, AsAGitignoreFile) {
  EXPECT_TRUE(Excluded({"*.o"}, "a/b/x.o"));
  EXPECT_FALSE(Excluded({"*.o"}, "a.o/b"));  // but nothing below an excluded directory is asked
  EXPECT_TRUE(Excluded({"cache/"}, "x/cache", true));
  EXPECT_FALSE(Excluded({"cache/"}, "x/cache", false));
  EXPECT_TRUE(Excluded({"/build"}, "build"));
  EXPECT_FALSE(Excluded({"a/build"}, "x/a/build"));
  EXPECT_TRUE(Excluded({"**/a/build"}, "x/a/build"));
  EXPECT_TRUE(Excluded({"/home/me/x"}, "x"));
  EXPECT_FALSE(Excluded({"*.log", "!keep.log"}, "keep.log"));
  EXPECT_TRUE(Excluded({"*.log", "!keep.log"}, "other.log"));
  EXPECT_TRUE(Excluded({"!keep.log", "*.log"}, "keep.log"));  // the last one decides
}

TEST(ExcludeListTest, BadPatternsAndFiles) {
  ExcludeList list;
  EXPECT_EQ(list.Add("").code(), Code::kInvalid);
  EXPECT_EQ(list.Add("!").code(), Code::kInvalid);
  EXPECT_EQ(list.AddFile("/nowhere/at/all").code(), Code::kNotFound);
  ScratchFolder scratch;
  const std::string path = scratch.path() + "/excludes";
  ASSERT_TRUE(WriteNewFile(path, AsBytes("# comment\n\n*.tmp \r\n!x.tmp\n"), 0600).ok());
  ASSERT_TRUE(list.AddFile(path).ok());
  EXPECT_TRUE(list.Excludes("a.tmp", "/a.tmp", false));
  EXPECT_FALSE(list.Excludes("x.tmp", "/x.tmp", false));
  EXPECT_FALSE(list.Excludes("# comment", "/# comment", false));
}

}  // namespace
}  // namespace bkfs

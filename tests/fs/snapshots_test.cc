// SPDX-License-Identifier: Apache-2.0
// /snapshots, /latest and /by-name.
#include <cerrno>

#include "tests/fs/tree_under_test.h"

namespace bkfs {
namespace {

using Names = std::vector<std::string>;

class SnapshotsTest : public TreeTest {
 protected:
  SnapshotsTest() {
    EXPECT_EQ(tree().MakeDir("/incoming/s"), 0);
    EXPECT_EQ(tree().MakeDir("/incoming/s/d"), 0);
    for (const auto& name : {"a", "b", "d/c"}) {
      EXPECT_EQ(tree().WriteFile(std::string("/incoming/s/") + name, Content(name)), 0);
    }
    EXPECT_EQ(tree().Symlink("a", "/incoming/s/link"), 0);
    first_ = Commit();
  }
  static Bytes Content(const std::string& name) {
    return PseudoRandom(700'000, std::hash<std::string>()(name));
  }
  std::string Commit() {
    auto id = stack_.staging()->Commit("s");
    EXPECT_TRUE(IsOk(id));
    return "/snapshots/" + id->hex();
  }

  std::string first_;
};

TEST_P(SnapshotsTest, ShowWhatWasCopiedIn) {
  EXPECT_EQ(List(first_), (Names{"a", "b", "d", "link"}));
  EXPECT_EQ(Read(first_ + "/d/c"), Content("d/c"));
  EXPECT_EQ(Link(first_ + "/link"), "a");
  EXPECT_EQ(Read(first_ + "/a"), Content("a"));
  TreeUnderTest::Stat stat;
  EXPECT_EQ(tree().GetStat(first_ + "/absent", stat), ENOENT);
  EXPECT_EQ(tree().GetStat("/snapshots/0123456789abcdef0123456789abcdef", stat), ENOENT);
  EXPECT_EQ(tree().GetStat("/snapshots/nonsense", stat), ENOENT);
}

TEST_P(SnapshotsTest, AtAnyOffset) {
  const Bytes whole = Content("a");
  for (uint64_t at : {0U, 1U, 4095U, 65'536U, 699'990U, 699'999U, 700'000U, 800'000U}) {
    for (size_t size : {1U, 100U, 131'072U}) {
      Bytes data;
      ASSERT_EQ(tree().ReadAt(first_ + "/a", at, size, data), 0);
      const uint64_t begin = std::min<uint64_t>(at, whole.size());
      const uint64_t end = std::min<uint64_t>(at + size, whole.size());
      EXPECT_EQ(data, Bytes(whole.begin() + static_cast<ptrdiff_t>(begin),
                            whole.begin() + static_cast<ptrdiff_t>(end)));
    }
  }
}

TEST_P(SnapshotsTest, NothingCanBeChanged) {
  for (const std::string& top : {first_, std::string("/latest"), std::string("/by-name")}) {
    EXPECT_EQ(tree().MakeDir(top + "/new"), EROFS) << top;
    EXPECT_EQ(tree().WriteFile(top + "/new", {}), EROFS) << top;
  }
  EXPECT_EQ(tree().WriteAt(first_ + "/a", 0, Bytes(1)), EROFS);
  EXPECT_EQ(tree().Truncate(first_ + "/a", 0), EROFS);
  EXPECT_EQ(tree().Unlink(first_ + "/a"), EROFS);
  EXPECT_EQ(tree().Rmdir(first_ + "/d"), EROFS);
  EXPECT_EQ(tree().Rename(first_ + "/a", first_ + "/x"), EROFS);
  EXPECT_EQ(tree().Chmod(first_ + "/a", 0600), EROFS);
  EXPECT_EQ(tree().SetXattr(first_ + "/a", "user.x", "y"), EROFS);
  EXPECT_EQ(Read(first_ + "/a"), Content("a"));
}

TEST_P(SnapshotsTest, InodeNumbersStay) {
  const uint64_t a = Stat(first_ + "/a").ino;
  const uint64_t d = Stat(first_ + "/d").ino;
  EXPECT_NE(a, d);
  ASSERT_EQ(tree().WriteFile("/incoming/s/b", AsBytes("other")), 0);
  const std::string second = Commit();
  EXPECT_EQ(Stat(second + "/a").ino, a);  // unchanged: the same file for the kernel's cache
  EXPECT_NE(Stat(second + "/b").ino, Stat(first_ + "/b").ino);
  stack_.Up();
  EXPECT_EQ(Stat(first_ + "/a").ino, a);
  EXPECT_EQ(Stat(first_ + "/d").ino, d);
}

TEST_P(SnapshotsTest, LatestAndByName) {
  EXPECT_EQ(Link("/latest/s"), "../" + first_.substr(1));
  ASSERT_EQ(tree().WriteFile("/incoming/s/a", AsBytes("second")), 0);
  const std::string second = Commit();
  for (int i = 0; i < 100 && Link("/latest/s") != "../" + second.substr(1); ++i) ::usleep(100'000);
  EXPECT_EQ(Link("/latest/s"), "../" + second.substr(1));
  EXPECT_EQ(List("/by-name"), Names{"s"});
  const Names times = List("/by-name/s");
  ASSERT_EQ(times.size(), 2U);
  EXPECT_EQ(Link("/by-name/s/" + times[0]), "../../" + first_.substr(1));
  EXPECT_EQ(List("/snapshots").size(), 2U);
  TreeUnderTest::Stat stat;
  EXPECT_EQ(tree().GetStat("/latest/none", stat), ENOENT);
  EXPECT_EQ(tree().GetStat("/by-name/s/yesterday", stat), ENOENT);
}

TEST_P(SnapshotsTest, ThoseOfOthersAppear) {
  ASSERT_EQ(List("/snapshots").size(), 1U);
  {
    TreeStack* mine = &stack_;
    auto other = mine->test().Open(mine->test().Derive(KeyType::kReadWrite),
                                   mine->test().folder() + "/other");
    ASSERT_TRUE(IsOk(other));
    Staging::Options options;
    options.directory = (*other)->local_directory() + "/staging";
    options.commit_idle_ns = 0;
    auto staging = Staging::Open(**other, std::move(options));
    ASSERT_TRUE(IsOk(staging));
    ASSERT_TRUE(IsOk((*staging)->CreateSeries("theirs", {.mode = 0755})));
    ASSERT_TRUE(IsOk((*staging)->Commit("theirs")));
  }
  bool there = false;
  for (int i = 0; i < 60 && !there; ++i) {
    there = List("/latest") == Names{"s", "theirs"};
    if (!there) ::usleep(100'000);
  }
  EXPECT_TRUE(there);
  EXPECT_EQ(List("/latest/theirs"), Names{});
}

// Exactly the file whose bytes are damaged.
TEST_P(SnapshotsTest, DamageIsAnErrorAndNothingElse) {
  std::string largest;
  uint64_t size = 0;
  ASSERT_TRUE(IsOk(stack_.store().List("packs/", [&](const std::string& name, uint64_t bytes) {
    if (bytes > size) largest = name;
    size = std::max(size, bytes);
    return Status();
  })));
  Bytes pack = *stack_.store().Get(largest);
  pack[pack.size() / 6] ^= 1;
  stack_.store().Replace(largest, pack);
  stack_.Up(stack_.test().CloneMaster(), "fresh");
  int failed = 0;
  for (const std::string name : {"a", "b", "d/c"}) {
    Bytes data;
    const int error = tree().ReadFile(first_ + "/" + name, data);
    if (error == 0) {
      EXPECT_EQ(data, Content(name));
    } else {
      EXPECT_EQ(error, EIO);
      ++failed;
    }
  }
  EXPECT_EQ(failed, 1);
}

TEST_P(SnapshotsTest, KeysSeeWhatTheyMay) {
  Bytes data;
  Names names;
  stack_.Up(stack_.test().Derive(KeyType::kReadOnly), "read-only");
  EXPECT_EQ(Read(first_ + "/a"), Content("a"));
  EXPECT_EQ(tree().MakeDir("/incoming"), EROFS);
  stack_.Up(stack_.test().Derive(KeyType::kMaintain), "maintain");
  EXPECT_EQ(List(first_), (Names{"a", "b", "d", "link"}));
  EXPECT_EQ(tree().ReadFile(first_ + "/a", data), EACCES);
  stack_.Up(stack_.test().Derive(KeyType::kLogOnly), "log-only");
  EXPECT_EQ(List("/snapshots").size(), 1U);
  EXPECT_EQ(tree().List(first_, names), EACCES);
}

INSTANTIATE_TEST_SUITE_P(InProcessAndMounted, SnapshotsTest, ::testing::Bool(),
                         [](const auto& way) { return way.param ? "Mounted" : "InProcess"; });

}  // namespace
}  // namespace bkfs

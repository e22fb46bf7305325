// SPDX-License-Identifier: Apache-2.0
// /incoming: what a filesystem must do.
#include <fcntl.h>

#include <cerrno>
#include <ctime>

#include "tests/fs/tree_under_test.h"

namespace bkfs {
namespace {

using Names = std::vector<std::string>;
constexpr unsigned kNoReplaceFlag = Staging::kNoReplace;
constexpr unsigned kExchangeFlag = Staging::kExchange;

class IncomingTest : public TreeTest {
 protected:
  IncomingTest() { EXPECT_EQ(tree().MakeDir("/incoming/s"), 0); }
  static std::string At(const std::string& path) { return "/incoming/s/" + path; }
  void Write(const std::string& path, std::string_view text) {
    ASSERT_EQ(tree().WriteFile(At(path), AsBytes(text)), 0) << path;
  }
  std::string Text(const std::string& path) {
    const Bytes data = Read(At(path));
    return std::string(AsText(data));
  }
};

TEST_P(IncomingTest, FilesAndDirectories) {
  Write("a", "hello");
  ASSERT_EQ(tree().MakeDir(At("d"), 0750), 0);
  Write("d/b", "");
  ASSERT_EQ(tree().Symlink("../a", At("d/l")), 0);
  EXPECT_EQ(List("/incoming/s"), (Names{"a", "d"}));
  EXPECT_EQ(List(At("d")), (Names{"b", "l"}));
  EXPECT_EQ(Text("a"), "hello");
  EXPECT_EQ(Link(At("d/l")), "../a");
  EXPECT_EQ(Stat(At("d")).mode, 0750U);
  EXPECT_EQ(Stat(At("d/l")).size, 4U);
  EXPECT_EQ(List("/incoming"), (Names{".status", "s"}));
}

TEST_P(IncomingTest, Errors) {
  Write("f", "x");
  ASSERT_EQ(tree().MakeDir(At("d")), 0);
  Write("d/x", "x");
  Bytes data;
  EXPECT_EQ(tree().ReadFile(At("absent"), data), ENOENT);
  EXPECT_EQ(tree().MakeDir(At("d")), EEXIST);
  EXPECT_EQ(tree().Rmdir(At("d")), ENOTEMPTY);
  EXPECT_EQ(tree().Rmdir(At("f")), ENOTDIR);
  EXPECT_EQ(tree().Unlink(At("d")), EISDIR);
  EXPECT_EQ(tree().Unlink(At("absent")), ENOENT);
  EXPECT_EQ(tree().MakeDir(At(std::string(256, 'n'))), ENAMETOOLONG);
  EXPECT_EQ(tree().MakeDir(At(std::string(255, 'n'))), 0);
  EXPECT_EQ(tree().WriteFile(At("f/x"), {}), ENOTDIR);
  EXPECT_EQ(tree().Link(At("f"), At("d")), EEXIST);
  std::string value;
  EXPECT_EQ(tree().GetXattr(At("f"), "user.none", value), ENODATA);
  EXPECT_EQ(tree().MakeDir("/new"), EROFS);
  EXPECT_EQ(tree().WriteFile("/incoming/file", {}), EPERM);
  EXPECT_EQ(tree().MakeDir("/incoming/.hidden"), EINVAL);
}

TEST_P(IncomingTest, RandomWritesTruncateAndGrow) {
  Bytes model = PseudoRandom(300'000, 1);
  ASSERT_EQ(tree().WriteFile(At("f"), model), 0);
  for (uint64_t i = 0; i < 20; ++i) {
    const uint64_t at = i * 7919 * 13 % 400'000;
    const Bytes patch = PseudoRandom(100 + i * 991, i);
    ASSERT_EQ(tree().WriteAt(At("f"), at, patch), 0);
    if (model.size() < at + patch.size()) model.resize(at + patch.size());
    std::copy(patch.begin(), patch.end(), model.begin() + static_cast<ptrdiff_t>(at));
    if (i % 7 == 6) {
      const uint64_t size = i * 31'337 % 350'000;
      ASSERT_EQ(tree().Truncate(At("f"), size), 0);
      model.resize(size);
    }
    if (i % 5 == 4) {
      ASSERT_EQ(tree().Sync("/incoming/s"), 0);
    }
    ASSERT_EQ(Read(At("f")), model) << i;
  }
  ASSERT_EQ(tree().Truncate(At("f"), 1'000'000), 0);
  model.resize(1'000'000);
  EXPECT_EQ(Read(At("f")), model);
  EXPECT_EQ(Read("/latest/s/f").size() <= 1'000'000, true);
}

TEST_P(IncomingTest, HolesAndAllocation) {
  Write("f", "");
  ASSERT_EQ(tree().WriteAt(At("f"), 3 << 20, Bytes(1 << 20, 'x')), 0);
  ASSERT_EQ(tree().Truncate(At("f"), 8 << 20), 0);
  uint64_t at = 0;
  ASSERT_EQ(tree().Seek(At("f"), false, 0, at), 0);
  EXPECT_EQ(at, 3U << 20);
  ASSERT_EQ(tree().Seek(At("f"), true, at, at), 0);
  EXPECT_EQ(at, 4U << 20);
  EXPECT_EQ(tree().Seek(At("f"), false, 5 << 20, at), ENXIO);
  ASSERT_EQ(tree().Allocate(At("f"), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 << 20, 1 << 20),
            0);
  EXPECT_EQ(tree().Seek(At("f"), false, 0, at), ENXIO);
  EXPECT_EQ(Read(At("f")), Bytes(8 << 20));
  ASSERT_EQ(tree().Allocate(At("f"), 0, 8 << 20, 100), 0);
  EXPECT_EQ(Stat(At("f")).size, (8U << 20) + 100);
  EXPECT_EQ(tree().Allocate(At("f"), FALLOC_FL_COLLAPSE_RANGE, 0, 4096), EOPNOTSUPP);
}

TEST_P(IncomingTest, Renames) {
  Write("a", "a");
  Write("b", "b");
  ASSERT_EQ(tree().Rename(At("a"), At("b")), 0);
  EXPECT_EQ(Text("b"), "a");
  EXPECT_EQ(List("/incoming/s"), Names{"b"});
  Write("c", "c");
  EXPECT_EQ(tree().Rename(At("b"), At("c"), kNoReplaceFlag), EEXIST);
  ASSERT_EQ(tree().Rename(At("b"), At("c"), kExchangeFlag), 0);
  EXPECT_EQ(Text("b") + Text("c"), "ca");
  ASSERT_EQ(tree().MakeDir(At("d")), 0);
  ASSERT_EQ(tree().MakeDir(At("d/e")), 0);
  EXPECT_EQ(tree().Rename(At("d"), At("d/e/f")), EINVAL);
  EXPECT_EQ(tree().Rename(At("b"), At("d")), EISDIR);
  EXPECT_EQ(tree().Rename(At("d"), At("b")), ENOTDIR);
  ASSERT_EQ(tree().MakeDir(At("g")), 0);
  Write("g/x", "x");
  EXPECT_EQ(tree().Rename(At("d"), At("g")), ENOTEMPTY);
  ASSERT_EQ(tree().Rename(At("g"), At("d/e")), 0);  // an empty directory gives way
  EXPECT_EQ(Text("d/e/x"), "x");
  ASSERT_EQ(tree().MakeDir("/incoming/other"), 0);
  EXPECT_EQ(tree().Rename(At("b"), "/incoming/other/b"), EXDEV);
  EXPECT_EQ(tree().Rename("/incoming/other", At("other")), EXDEV);
  ASSERT_EQ(tree().Rename("/incoming/other", "/incoming/third"), 0);
  EXPECT_EQ(List("/incoming"), (Names{".status", "s", "third"}));
  EXPECT_NE(tree().Rename("/incoming/third", "/incoming/.status"), 0);
}

TEST_P(IncomingTest, HardLinks) {
  Write("a", "one");
  ASSERT_EQ(tree().MakeDir(At("d")), 0);
  ASSERT_EQ(tree().Link(At("a"), At("d/b")), 0);
  EXPECT_EQ(Stat(At("a")).nlink, 2U);
  EXPECT_EQ(Stat(At("a")).ino, Stat(At("d/b")).ino);
  ASSERT_EQ(tree().WriteFile(At("d/b"), AsBytes("changed")), 0);
  EXPECT_EQ(Text("a"), "changed");
  ASSERT_EQ(tree().Sync("/incoming/s"), 0);
  EXPECT_EQ(Stat("/latest/s/a").ino, Stat("/latest/s/d/b").ino);
  EXPECT_EQ(Stat("/latest/s/a").nlink, 2U);
  ASSERT_EQ(tree().Unlink(At("a")), 0);
  EXPECT_EQ(Text("d/b"), "changed");
  EXPECT_EQ(Stat(At("d/b")).nlink, 1U);
  ASSERT_EQ(tree().MakeDir("/incoming/other"), 0);
  EXPECT_EQ(tree().Link(At("d/b"), "/incoming/other/b"), EXDEV);
}

TEST_P(IncomingTest, AttributesAndXattrs) {
  Write("f", "x");
  ASSERT_EQ(tree().Chmod(At("f"), 0640), 0);
  EXPECT_EQ(Stat(At("f")).mode, 0640U);
  ASSERT_EQ(tree().SetTime(At("f"), {-5, 123456789}), 0);
  EXPECT_EQ(Stat(At("f")).mtime, (Timestamp{-5, 123456789}));
  ASSERT_EQ(tree().SetXattr(At("f"), "user.a", "1"), 0);
  EXPECT_EQ(tree().SetXattr(At("f"), "user.a", "2", XattrMode::kCreate), EEXIST);
  EXPECT_EQ(tree().SetXattr(At("f"), "user.b", "2", XattrMode::kReplace), ENODATA);
  const std::string large(60 << 10, 'v');
  ASSERT_EQ(tree().SetXattr(At("f"), "user.large", large), 0);
  EXPECT_TRUE(Xattr(At("f"), "user.large") == large);
  ASSERT_EQ(tree().Sync("/incoming/s"), 0);
  EXPECT_TRUE(Xattr("/latest/s/f", "user.large") == large);
  EXPECT_EQ(Stat("/latest/s/f").mtime, (Timestamp{-5, 123456789}));
  ASSERT_EQ(tree().RemoveXattr(At("f"), "user.a"), 0);
  EXPECT_EQ(tree().RemoveXattr(At("f"), "user.a"), ENODATA);
  EXPECT_EQ(Xattr(At("f"), "user.bkfs.state"), "stored");
  ASSERT_EQ(tree().Sync("/incoming/s"), 0);
  EXPECT_EQ(Xattr(At("f"), "user.bkfs.state"), "snapshot");
}

TEST_P(IncomingTest, ADirectoryOfManyEntriesIsListedWhole) {
  Names expected;
  for (int i = 0; i < 3000; ++i) {
    const std::string name = "entry " + std::to_string(i * 7919 % 100003);
    Write(name, "");
    expected.push_back(name);
  }
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(List("/incoming/s"), expected);
  ASSERT_EQ(tree().Sync("/incoming/s"), 0);
  EXPECT_EQ(List("/latest/s"), expected);
  for (const auto& name : expected) {
    if (name.back() == '7') {
      ASSERT_EQ(tree().Unlink(At(name)), 0);
    }
  }
  std::erase_if(expected, [](const std::string& name) { return name.back() == '7'; });
  EXPECT_EQ(List("/incoming/s"), expected);
}

TEST_P(IncomingTest, SeriesComeGoAndComeBack) {
  Write("f", "one");
  EXPECT_EQ(tree().Rmdir("/incoming/s"), ENOTEMPTY);
  ASSERT_EQ(tree().Sync("/incoming/s"), 0);
  ASSERT_EQ(tree().Rmdir("/incoming/s"), 0);
  EXPECT_EQ(List("/incoming"), Names{".status"});
  EXPECT_EQ(List("/latest"), Names{"s"});
  ASSERT_EQ(tree().MakeDir("/incoming/s"), 0);
  EXPECT_EQ(Text("f"), "one");
  Bytes status;
  ASSERT_EQ(tree().ReadAt("/incoming/.status", 0, 100'000, status), 0);
  EXPECT_NE(AsText(status).find("series: s"), std::string::npos);
}

TEST_P(IncomingTest, EverythingIsThereAfterARemount) {
  Write("closed", "not in a snapshot yet");
  ASSERT_EQ(tree().MakeDir(At("d")), 0);
  Write("d/large", std::string(3'000'000, 'x'));
  const uint64_t ino = Stat(At("d/large")).ino;
  stack_.Up();
  EXPECT_EQ(Text("closed"), "not in a snapshot yet");
  EXPECT_EQ(Text("d/large").size(), 3'000'000U);
  EXPECT_EQ(Stat(At("d/large")).ino, ino);
  ASSERT_EQ(tree().Sync("/incoming/s"), 0);
  stack_.Up(stack_.test().CloneMaster(), "another machine");
  EXPECT_EQ(List("/incoming"), (Names{".status", "s"}));  // this key's series
  EXPECT_EQ(Text("closed"), "not in a snapshot yet");
}

TEST_P(IncomingTest, AWriteOnlyKeySeesNamesAndNoContents) {
  const KeyMaterial key = stack_.test().Derive(KeyType::kWriteOnly);
  stack_.Up(TestRepository::Reload(key), "write-only");
  ASSERT_EQ(tree().MakeDir("/incoming/w"), 0);
  ASSERT_EQ(tree().WriteFile("/incoming/w/f", Bytes(200'000, 'x')), 0);
  ASSERT_EQ(tree().Sync("/incoming/w"), 0);
  Bytes data;
  EXPECT_EQ(tree().ReadFile("/incoming/w/f", data), EACCES);
  EXPECT_EQ(Stat("/incoming/w/f").size, 200'000U);
  Names names;
  EXPECT_NE(tree().List("/snapshots", names), 0);
  ASSERT_EQ(tree().WriteFile("/incoming/w/g", AsBytes("new")), 0);
  EXPECT_EQ(Read("/incoming/w/g").size(), 3U);  // still here
  stack_.Up(TestRepository::Reload(key), "write-only");
  EXPECT_EQ(List("/incoming/w"), (Names{"f", "g"}));
}

TEST_P(IncomingTest, AStoreThatIsFullOrGoneIsToldAtSync) {
  Write("f", std::string(100'000, 'x'));
  stack_.faulty().Add(
      {.op = FaultBackend::Op::kPut, .prefix = "packs/", .error = {Code::kNoSpace, "full"}});
  EXPECT_EQ(tree().Sync("/incoming/s"), ENOSPC);
  EXPECT_EQ(Text("f").size(), 100'000U);
  stack_.faulty().Heal();
  // A try that began before may still end.
  int synced = -1;
  for (int i = 0; i < 20 && synced != 0; ++i) synced = tree().Sync("/incoming/s");
  EXPECT_EQ(synced, 0);
  EXPECT_EQ(Read("/latest/s/f").size(), 100'000U);
}

INSTANTIATE_TEST_SUITE_P(InProcessAndMounted, IncomingTest, ::testing::Bool(),
                         [](const auto& way) { return way.param ? "Mounted" : "InProcess"; });

}  // namespace
}  // namespace bkfs

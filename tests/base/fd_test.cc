// SPDX-License-Identifier: Apache-2.0
#include "engine/base/fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

namespace bkfs {
namespace {

class FdTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "bkfs_fd_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { EXPECT_TRUE(RemoveTree(folder_).ok()); }
  std::string folder_;
};

TEST_F(FdTest, UniqueFdClosesOnce) {
  UniqueFd fd = OpenFile("/dev/null", O_RDONLY).value();
  int raw = fd.get();
  EXPECT_TRUE(fd.valid());
  UniqueFd moved = std::move(fd);
  EXPECT_FALSE(fd.valid());  // NOLINT: the moved-from state is the point
  EXPECT_EQ(moved.get(), raw);
  EXPECT_NE(::fcntl(raw, F_GETFD) & FD_CLOEXEC, 0);
  moved.Reset();
  EXPECT_EQ(::fcntl(raw, F_GETFD), -1);
}

TEST_F(FdTest, WriteNewFileThenReadIt) {
  std::string path = folder_ + "/file";
  EXPECT_TRUE(WriteNewFile(path, AsBytes("hello"), 0640).ok());
  EXPECT_EQ(AsText(ReadWholeFile(path).value()), "hello");
  Status again = WriteNewFile(path, AsBytes("other"), 0640);
  EXPECT_EQ(again.code(), Code::kExists);
  EXPECT_EQ(again.system_errno(), EEXIST);
  EXPECT_NE(again.message().find(path), std::string::npos);
  EXPECT_EQ(AsText(ReadWholeFile(path).value()), "hello");
  EXPECT_EQ(ReadWholeFile(path, 4).code(), Code::kTooLarge);
  EXPECT_EQ(ReadWholeFile(folder_).code(), Code::kIsDirectory);
  EXPECT_EQ(ReadWholeFile(folder_ + "/none").code(), Code::kNotFound);
}

TEST_F(FdTest, SparseFileAboveTheLimitTakesNoMemory) {
  std::string path = folder_ + "/sparse";
  UniqueFd fd = OpenFile(path, O_RDWR | O_CREAT).value();
  ASSERT_EQ(::ftruncate(fd.get(), off_t{1} << 42), 0);
  EXPECT_EQ(ReadWholeFile(path).code(), Code::kTooLarge);
}

TEST_F(FdTest, PositionalReadsAndWrites) {
  std::string path = folder_ + "/file";
  UniqueFd fd = OpenFile(path, O_RDWR | O_CREAT).value();
  EXPECT_TRUE(PwriteAll(fd.get(), AsBytes("abc"), 10, path).ok());
  Bytes out(3);
  EXPECT_TRUE(PreadAll(fd.get(), out, 10, path).ok());
  EXPECT_EQ(AsText(out), "abc");
  EXPECT_EQ(PreadAll(fd.get(), out, 11, path).code(), Code::kCorrupt);
  EXPECT_TRUE(SyncFd(fd.get(), path).ok());
  EXPECT_TRUE(SyncDirectory(folder_).ok());
  EXPECT_EQ(WriteAll(-1, AsBytes("x"), "nowhere").code(), Code::kIo);
}

TEST_F(FdTest, MakeAndRemoveTrees) {
  EXPECT_TRUE(MakeDirectories(folder_ + "/a/b/c").ok());
  EXPECT_TRUE(MakeDirectories(folder_ + "/a/b/c").ok());
  EXPECT_TRUE(MakeDirectories(folder_ + "/a/b/c/").ok());
  EXPECT_TRUE(WriteNewFile(folder_ + "/a/f", {}, 0600).ok());
  EXPECT_FALSE(MakeDirectories(folder_ + "/a/f").ok());
  EXPECT_FALSE(MakeDirectories(folder_ + "/a/f/g").ok());
  ASSERT_EQ(::symlink("/etc", (folder_ + "/a/link").c_str()), 0);
  EXPECT_TRUE(RemoveTree(folder_ + "/a").ok());
  EXPECT_TRUE(RemoveTree(folder_ + "/a").ok());
  EXPECT_EQ(::access("/etc", F_OK), 0);
  EXPECT_NE(::access((folder_ + "/a").c_str(), F_OK), 0);
}

}  // namespace
}  // namespace bkfs

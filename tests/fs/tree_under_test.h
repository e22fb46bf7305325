// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "backends/fault/fault_backend.h"
#include "fs/filesystem.h"
#include "tests/support/test_repository.h"

namespace bkfs {

// What a program can do with the mounted tree. Paths begin at the mount's root with '/'. Errors are
// errno values; 0 is success.
class TreeUnderTest {
 public:
  virtual ~TreeUnderTest() = default;

  struct Stat {
    uint64_t ino = 0;
    EntryKind kind = EntryKind::kFile;
    uint32_t mode = 0;
    uint32_t nlink = 0;
    uint64_t size = 0;
    Timestamp mtime;
  };

  virtual int MakeDir(const std::string& path, uint32_t mode = 0755) = 0;
  // open(O_CREAT | O_TRUNC), write, close.
  virtual int WriteFile(const std::string& path, ByteView data) = 0;
  virtual int WriteAt(const std::string& path, uint64_t offset, ByteView data) = 0;
  virtual int ReadFile(const std::string& path, Bytes& out) = 0;
  virtual int ReadAt(const std::string& path, uint64_t offset, size_t size, Bytes& out) = 0;
  virtual int Truncate(const std::string& path, uint64_t size) = 0;
  virtual int Rename(const std::string& from, const std::string& to, unsigned flags = 0) = 0;
  virtual int Link(const std::string& from, const std::string& to) = 0;
  virtual int Symlink(const std::string& target, const std::string& path) = 0;
  virtual int ReadLink(const std::string& path, std::string& out) = 0;
  virtual int Unlink(const std::string& path) = 0;
  virtual int Rmdir(const std::string& path) = 0;
  // Sorted, without "." and "..".
  virtual int List(const std::string& path, std::vector<std::string>& out) = 0;
  virtual int GetStat(const std::string& path, Stat& out) = 0;
  virtual int Chmod(const std::string& path, uint32_t mode) = 0;
  virtual int SetTime(const std::string& path, Timestamp mtime) = 0;
  virtual int SetXattr(const std::string& path, const std::string& name, const std::string& value,
                       XattrMode mode = XattrMode::kAny) = 0;
  virtual int GetXattr(const std::string& path, const std::string& name, std::string& out) = 0;
  virtual int RemoveXattr(const std::string& path, const std::string& name) = 0;
  virtual int Allocate(const std::string& path, int mode, uint64_t offset, uint64_t length) = 0;
  // SEEK_DATA, or SEEK_HOLE.
  virtual int Seek(const std::string& path, bool hole, uint64_t offset, uint64_t& out) = 0;
  virtual int Sync(const std::string& directory) = 0;
};

// A repository with a filesystem over it, which can be taken down and up again.
class TreeStack {
 public:
  explicit TreeStack(bool mounted);
  ~TreeStack();

  void Up() { Up(test_.CloneMaster(), "cache"); }
  void Up(KeyMaterial key, const std::string& cache);
  void Down();
  TreeUnderTest& tree() { return *tree_; }
  Repository& repo() { return *repo_; }
  Staging* staging() { return staging_.get(); }  // null with keys that cannot write
  MemoryBackend& store() { return store_; }
  FaultBackend& faulty() { return faulty_; }
  TestRepository& test() { return test_; }

 private:
  const bool mounted_;
  MemoryBackend store_;
  FaultBackend faulty_;
  TestRepository test_;
  std::unique_ptr<Repository> repo_;
  std::unique_ptr<ReaderLease> lease_;
  std::unique_ptr<Staging> staging_;
  std::unique_ptr<FileSystem> fs_;
  std::unique_ptr<TreeUnderTest> tree_;
};

std::unique_ptr<TreeUnderTest> NewInProcessTree(FileSystem& fs);
// Mounts; unmounts with this object.
std::unique_ptr<TreeUnderTest> NewMountedTree(FileSystem& fs, Logger& log, bool read_only);

// Cases that run both ways: true is mounted.
class TreeTest : public ::testing::TestWithParam<bool> {
 protected:
  TreeTest() : stack_(GetParam()) { stack_.Up(); }
  TreeUnderTest& tree() { return stack_.tree(); }
  Bytes Read(const std::string& path) {
    Bytes out;
    EXPECT_EQ(tree().ReadFile(path, out), 0) << path;
    return out;
  }
  TreeUnderTest::Stat Stat(const std::string& path) {
    TreeUnderTest::Stat out;
    EXPECT_EQ(tree().GetStat(path, out), 0) << path;
    return out;
  }
  std::vector<std::string> List(const std::string& path) {
    std::vector<std::string> out;
    EXPECT_EQ(tree().List(path, out), 0) << path;
    return out;
  }
  std::string Link(const std::string& path) {
    std::string out;
    EXPECT_EQ(tree().ReadLink(path, out), 0) << path;
    return out;
  }
  std::string Xattr(const std::string& path, const std::string& name) {
    std::string out;
    EXPECT_EQ(tree().GetXattr(path, name, out), 0) << path;
    return out;
  }

  TreeStack stack_;
};

}  // namespace bkfs

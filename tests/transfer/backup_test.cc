// SPDX-License-Identifier: Apache-2.0
// Whole trees to a repository and back, and what of them is read again.
#include <sys/resource.h>

#include "engine/transfer/find.h"
#include "tests/support/loop_mount.h"
#include "tests/transfer/transfer_fixture.h"

namespace bkfs {
namespace {

class BackupTest : public TransferTest {
 protected:
  // Paths in the snapshot.
  std::vector<std::string> Names(const SnapshotId& id) {
    std::vector<std::string> names;
    EXPECT_TRUE(IsOk(WalkTree(repo_->trees(), Root(id), [&](const std::string& path, const Entry&) {
      names.push_back(path);
      return Status();
    })));
    return names;
  }

  void MakeWorstCase() {
    Write(At("empty"), {});
    Write(At("one"), Bytes(1, 'x'));
    Write(At("large"), PseudoRandom(5'000'000, 1));
    Write(At(std::string(255, 'n')), PseudoRandom(100, 2));
    Write(At("new\nline"), PseudoRandom(100, 3));
    Write(At("\xff\xfe invalid"), PseudoRandom(100, 4));
    std::string deep = source();
    for (int i = 0; i < 200; ++i) deep += "/d";
    Write(deep + "/bottom", PseudoRandom(10, 5));
    MakeSpecials();
    const int fd = ::open(At("sparse").c_str(), O_CREAT | O_WRONLY, 0600);
    ASSERT_EQ(::pwrite(fd, "data", 4, 40 << 20), 4);
    ASSERT_EQ(::ftruncate(fd, 80 << 20), 0);
    ::close(fd);
    SetTime(At("one"), -1000, 5);
    SetTime(At("large"), 1'000'000'000, 999'999'999);
    SetTime(source(), 1234567890, 7);
  }

  void MakeSpecials() {
    std::filesystem::create_directory(At("links"));
    ASSERT_EQ(::link(At("one").c_str(), At("links/one again").c_str()), 0);
    ASSERT_EQ(::link(At("one").c_str(), At("aaa").c_str()), 0);
    ASSERT_EQ(::symlink(std::string(4000, 't').c_str(), At("symlink").c_str()), 0);
    ASSERT_EQ(::link(At("symlink").c_str(), At("links/symlink").c_str()), 0);
    ASSERT_EQ(::mkfifo(At("fifo").c_str(), 0604), 0);
    ASSERT_EQ(::mknod(At("socket").c_str(), S_IFSOCK | 0600, 0), 0);
    if (IsRoot()) {
      ASSERT_EQ(::mknod(At("device").c_str(), S_IFCHR | 0640, makedev(1, 3)), 0);
      ASSERT_EQ(::chown(At("empty").c_str(), 1234, 4321), 0);
    }
    Write(At("secret"), PseudoRandom(50, 6));
    ASSERT_EQ(::chmod(At("secret").c_str(), IsRoot() ? 0 : 0400), 0);
    Write(At("setuid"), PseudoRandom(50, 7));
    ASSERT_EQ(::chmod(At("setuid").c_str(), 06755), 0);
    const Bytes value = PseudoRandom(3000, 8);
    ASSERT_EQ(::setxattr(At("one").c_str(), "user.long", value.data(), value.size(), 0), 0);
    ASSERT_EQ(::setxattr(At("links").c_str(), "user.empty", "", 0, 0), 0);
  }
};

TEST_F(BackupTest, WorstCaseThereAndBack) {
  MakeWorstCase();
  auto made = Backup();
  ASSERT_TRUE(IsOk(made));
  EXPECT_TRUE(watcher_.failures().empty());
  auto restored = Restore(made->snapshot);
  ASSERT_TRUE(IsOk(restored));
  EXPECT_TRUE(watcher_.failures().empty());
  EXPECT_EQ(Describe(source()), Describe(dest()));
  // Once more over what is there: nothing to do.
  auto again = Restore(made->snapshot);
  ASSERT_TRUE(IsOk(again));
  EXPECT_EQ(again->written, 0U);
  EXPECT_EQ(Describe(source()), Describe(dest()));
}

TEST_F(BackupTest, WhatIsUnchangedIsNotRead) {
  MakeWorstCase();
  auto first = Backup();
  ASSERT_TRUE(IsOk(first));
  EXPECT_GT(first->counts.read_files, 0U);
  Reopen();
  auto second = Backup();
  ASSERT_TRUE(IsOk(second));
  EXPECT_EQ(second->counts.read_files, 0U);
  EXPECT_EQ(second->writer.blobs_new, 0U);
  EXPECT_EQ(Root(first->snapshot).directory, Root(second->snapshot).directory);
  ASSERT_EQ(::chmod(At("new\nline").c_str(), 0600), 0);  // its ctime: contents are looked at
  auto third = Backup();
  ASSERT_TRUE(IsOk(third));
  EXPECT_EQ(third->counts.read_files, 1U);
  EXPECT_EQ(third->writer.bytes_new < 1'000'000, true);
}

TEST_F(BackupTest, AWriteOnlyKeyDoesNotReadTwiceEither) {
  MakeWorstCase();
  const KeyMaterial key = test_.Derive(KeyType::kWriteOnly);
  Reopen(TestRepository::Reload(key), "write-only");
  auto first = Backup();
  ASSERT_TRUE(IsOk(first));
  Reopen(TestRepository::Reload(key), "write-only");
  auto second = Backup();
  ASSERT_TRUE(IsOk(second));
  EXPECT_EQ(second->counts.read_files, 0U);
  ASSERT_TRUE(IsOk(Restore(second->snapshot)));
  EXPECT_EQ(Describe(source()), Describe(dest()));
  // Without its local state it reads everything, and stores no contents twice.
  Reopen(TestRepository::Reload(key), "write-only-2");
  auto third = Backup();
  ASSERT_TRUE(IsOk(third));
  EXPECT_GT(third->counts.read_files, 0U);
  EXPECT_EQ(third->writer.bytes_new, 0U);
}

// A file is taken over only while all of its pieces are in the repository.
TEST_F(BackupTest, WhatHasVanishedFromTheStoreIsReadAgain) {
  Write(At("a"), PseudoRandom(300'000, 1));
  ASSERT_TRUE(IsOk(Backup()));
  std::filesystem::create_directory(At("other"));
  Write(At("other/b"), PseudoRandom(300'000, 2));
  ASSERT_TRUE(IsOk(Backup()));
  for (const auto& name : Objects("packs/")) ASSERT_TRUE(IsOk(store_.Remove(name)));
  for (const auto& name : Objects("index/")) ASSERT_TRUE(IsOk(store_.Remove(name)));
  for (const auto& name : Objects("snapshots/")) ASSERT_TRUE(IsOk(store_.Remove(name)));
  Reopen();
  auto made = Backup();
  ASSERT_TRUE(IsOk(made));
  EXPECT_EQ(made->counts.read_files, 2U);
  ASSERT_TRUE(IsOk(Restore(made->snapshot)));
  EXPECT_TRUE(watcher_.failures().empty());
  EXPECT_EQ(Describe(source()), Describe(dest()));
}

TEST_F(BackupTest, Excludes) {
  for (const char* path : {"a.o", "a.c", "x/b.o", "x/keep.o", "cache/1", "x/cache/2", "y/cache"}) {
    Write(At(path), Bytes(10));
  }
  BackupOptions options = Options();
  for (const char* pattern : {"*.o", "!keep.o", "cache/"}) {
    ASSERT_TRUE(IsOk(options.excludes.Add(pattern)));
  }
  auto made = Backup(options);
  ASSERT_TRUE(IsOk(made));
  EXPECT_EQ(Names(made->snapshot),
            (std::vector<std::string>{"a.c", "x", "x/keep.o", "y", "y/cache"}));
}

TEST_F(BackupTest, SeveralPathsKeepTheirPlacesAndOneFileStandsAlone) {
  for (const char* path : {"one/a", "two/deep/b", "two/other/c", "three"})
    Write(At(path), Bytes(5));
  BackupOptions options = Options();
  options.paths = {At("one"), At("two/deep/"), At("three"), At("one/a")};
  auto made = Backup(options);
  ASSERT_TRUE(IsOk(made));
  const std::string top = source().substr(1);
  auto names = Names(made->snapshot);
  std::erase_if(names, [&](const std::string& name) { return !name.starts_with(top + "/"); });
  std::vector<std::string> expected;
  for (const char* path : {"one", "one/a", "three", "two", "two/deep", "two/deep/b"}) {
    expected.push_back(top + "/" + path);
  }
  EXPECT_EQ(names, expected);
  options.paths = {At("three")};
  auto single = Backup(options);
  ASSERT_TRUE(IsOk(single));
  EXPECT_EQ(Names(single->snapshot), std::vector<std::string>{"three"});
  options.paths = {At("missing")};
  EXPECT_EQ(Backup(options).code(), Code::kNotFound);
}

TEST_F(BackupTest, TheRepositoryItselfIsLeftOut) {
  Write(At("a"), Bytes(5));
  Write(At("repo/pack"), Bytes(5));
  BackupOptions options = Options();
  options.never = {At("repo"), At("not there")};
  auto made = Backup(options);
  ASSERT_TRUE(IsOk(made));
  EXPECT_EQ(Names(made->snapshot), std::vector<std::string>{"a"});
  options.paths = {At("repo")};
  EXPECT_EQ(Backup(options).code(), Code::kInvalid);
}

TEST_F(BackupTest, OneFileSystem) {
  if (!IsRoot()) GTEST_SKIP() << "needs root";
  LoopMount disk("mkfs.ext4 -q -F", "8M");
  ASSERT_TRUE(disk.mounted());
  Write(disk.path() + "/inside", Bytes(5));
  BackupOptions options = Options();
  options.paths = {std::filesystem::path(disk.path()).parent_path().string()};
  ASSERT_TRUE(IsOk(options.excludes.Add("image")));
  options.one_file_system = true;
  auto made = Backup(options);
  ASSERT_TRUE(IsOk(made));
  EXPECT_EQ(Names(made->snapshot), std::vector<std::string>{"mnt"});  // the place, empty
}

TEST_F(BackupTest, ADeepTree) {
  constexpr int kDepth = 1500;
  rlimit limit{};  // a descriptor for each directory on the way down
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = limit.rlim_max;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  UniqueFd at(::open(source().c_str(), O_PATH | O_DIRECTORY));
  for (int i = 0; i < kDepth; ++i) {
    ASSERT_EQ(::mkdirat(at.get(), "d", 0755), 0);
    at = UniqueFd(::openat(at.get(), "d", O_PATH | O_DIRECTORY));
  }
  const UniqueFd file(::openat(at.get(), "bottom", O_CREAT | O_WRONLY, 0644));
  ASSERT_TRUE(file.valid());
  auto made = Backup();
  ASSERT_TRUE(IsOk(made));
  EXPECT_TRUE(watcher_.failures().empty());
  EXPECT_EQ(made->totals.directories, static_cast<uint64_t>(kDepth));
  EXPECT_EQ(made->totals.files, 1U);
  auto restored = Restore(made->snapshot);
  ASSERT_TRUE(IsOk(restored));
  EXPECT_TRUE(watcher_.failures().empty());
  EXPECT_EQ(restored->written, 1U);
}

}  // namespace
}  // namespace bkfs

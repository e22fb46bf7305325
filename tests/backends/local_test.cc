// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <thread>
#include <vector>

#include "backends/local/local_backend.h"
#include "tests/support/loop_mount.h"
#include "tests/support/scratch.h"

namespace bkfs {
namespace {

namespace stdfs = std::filesystem;

std::unique_ptr<Backend> MustOpen(const std::string& path, bool create = true) {
  auto backend = OpenLocalBackend(path, create);
  BKFS_CHECK(backend.ok());
  return std::move(*backend);
}

size_t FilesIn(const std::string& folder) {
  std::error_code error;
  size_t count = 0;
  for (stdfs::directory_iterator it(folder, error), end; it != end; ++it) ++count;
  return count;
}

mode_t ModeOf(const std::string& path) {
  struct stat st {};
  EXPECT_EQ(::lstat(path.c_str(), &st), 0) << path;
  return st.st_mode & 07777;
}

// A file that looks like what a killed process left behind.
void LeaveTemporary(const std::string& path, int64_t age_seconds) {
  ASSERT_TRUE(WriteNewFile(path, AsBytes("half"), 0600).ok());
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  timespec times[2] = {now, now};
  times[1].tv_sec -= age_seconds;
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
}

TEST(LocalBackend, OpeningWhatIsNotThere) {
  ScratchFolder scratch;
  const std::string path = scratch.path() + "/a/b/c";
  EXPECT_EQ(OpenLocalBackend(path, false).code(), Code::kNoRepository);
  EXPECT_FALSE(stdfs::exists(scratch.path() + "/a"));
  EXPECT_EQ(OpenLocalBackend("", false).code(), Code::kNoRepository);
  MustOpen(path);
  EXPECT_TRUE(OpenLocalBackend(path, false).ok());
  EXPECT_TRUE(OpenLocalBackend(path + "/", true).ok());
}

TEST(LocalBackend, OpeningAFile) {
  ScratchFolder scratch;
  const std::string path = scratch.path() + "/file";
  ASSERT_TRUE(WriteNewFile(path, AsBytes("x"), 0600).ok());
  EXPECT_EQ(OpenLocalBackend(path, false).code(), Code::kNotDirectory);
  EXPECT_EQ(OpenLocalBackend(path, true).code(), Code::kNotDirectory);
  EXPECT_EQ(OpenLocalBackend(path + "/below", false).code(), Code::kNotDirectory);
  EXPECT_EQ(OpenLocalBackend(path + "/below", true).code(), Code::kNotDirectory);
}

TEST(LocalBackend, ARelativePathStaysThatFolder) {
  ScratchFolder scratch;
  ScratchFolder elsewhere;
  const stdfs::path before = stdfs::current_path();
  stdfs::current_path(scratch.path());
  auto backend = MustOpen("repo/deep");
  stdfs::current_path(elsewhere.path());
  EXPECT_TRUE(backend->PutOne("packs/ab/1", AsBytes("x")).ok());
  stdfs::current_path(before);
  EXPECT_TRUE(stdfs::exists(scratch.path() + "/repo/deep/packs/ab/1"));
}

TEST(LocalBackend, EverythingIsPrivate) {
  ScratchFolder scratch;
  const std::string root = scratch.path() + "/repo";
  auto backend = MustOpen(root);
  ASSERT_TRUE(backend->PutOne("packs/ab/1", AsBytes("x")).ok());
  EXPECT_EQ(ModeOf(root), 0700U);
  EXPECT_EQ(ModeOf(root + "/packs"), 0700U);
  EXPECT_EQ(ModeOf(root + "/packs/ab"), 0700U);
  EXPECT_EQ(ModeOf(root + "/_tmp"), 0700U);
  EXPECT_EQ(ModeOf(root + "/packs/ab/1"), 0600U);
  EXPECT_EQ(FilesIn(root + "/_tmp"), 0U);
}

TEST(LocalBackend, SymbolicLinksAreNotFollowed) {
  ScratchFolder scratch;
  const std::string root = scratch.path() + "/repo";
  const std::string outside = scratch.path() + "/outside";
  auto backend = MustOpen(root);
  ASSERT_TRUE(backend->PutOne("packs/ab/real", AsBytes("x")).ok());
  ASSERT_EQ(::mkdir(outside.c_str(), 0700), 0);
  ASSERT_TRUE(WriteNewFile(outside + "/secret", AsBytes("secret"), 0600).ok());
  stdfs::create_symlink(outside + "/secret", root + "/packs/ab/link");
  stdfs::create_directory_symlink(outside, root + "/packs/cd");
  stdfs::create_symlink(outside + "/nowhere", root + "/packs/ab/dangling");

  std::vector<std::string> names;
  ASSERT_TRUE(backend
                  ->List("",
                         [&](const std::string& name, uint64_t) {
                           names.push_back(name);
                           return OkStatus();
                         })
                  .ok());
  EXPECT_EQ(names, std::vector<std::string>{"packs/ab/real"});
  uint8_t byte = 0;
  for (const std::string name : {"packs/ab/link", "packs/cd/secret"}) {
    EXPECT_EQ(backend->Get(name).code(), Code::kDenied) << name;
    EXPECT_EQ(backend->ReadAt(name, 0, {&byte, 1}).code(), Code::kDenied) << name;
    EXPECT_EQ(backend->Size(name).code(), Code::kDenied) << name;
    EXPECT_EQ(backend->Remove(name).code(), Code::kDenied) << name;
  }
  EXPECT_EQ(backend->PutOne("packs/ab/dangling", AsBytes("x")).code(), Code::kExists);
  EXPECT_EQ(backend->PutOne("packs/cd/new", AsBytes("x")).code(), Code::kDenied);
  EXPECT_EQ(FilesIn(outside), 1U);
  EXPECT_EQ(FilesIn(root + "/_tmp"), 0U);
}

TEST(LocalBackend, ThingsThatAreNoObjects) {
  ScratchFolder scratch;
  auto backend = MustOpen(scratch.path());
  ASSERT_EQ(::mkfifo((scratch.path() + "/fifo").c_str(), 0600), 0);
  ASSERT_TRUE(WriteNewFile(scratch.path() + "/README.TXT", AsBytes("hello"), 0600).ok());
  ASSERT_EQ(::mkdir((scratch.path() + "/lost+found").c_str(), 0700), 0);
  EXPECT_EQ(backend->Get("fifo").code(), Code::kNotFound);
  EXPECT_EQ(backend->Remove("fifo").code(), Code::kNotFound);
  ASSERT_TRUE(backend->PutOne("packs/ab/1", AsBytes("x")).ok());
  EXPECT_EQ(backend->PutOne("packs/ab", AsBytes("x")).code(), Code::kIsDirectory);
  int seen = 0;
  auto count = [&](const std::string&, uint64_t) {
    ++seen;
    return OkStatus();
  };
  ASSERT_TRUE(backend->List("", count).ok());
  EXPECT_EQ(seen, 1);
}

TEST(LocalBackend, OldLeftoversGoAndNewOnesStay) {
  ScratchFolder scratch;
  ASSERT_TRUE(MustOpen(scratch.path())->PutOne("a", AsBytes("x")).ok());
  LeaveTemporary(scratch.path() + "/_tmp/old", 25 * 3600);
  LeaveTemporary(scratch.path() + "/_tmp/young", 23 * 3600);
  auto backend = MustOpen(scratch.path(), false);
  EXPECT_FALSE(stdfs::exists(scratch.path() + "/_tmp/old"));
  EXPECT_TRUE(stdfs::exists(scratch.path() + "/_tmp/young"));
  EXPECT_TRUE(backend->Get("a").ok());
}

TEST(LocalBackend, AFolderThatVanishesIsMadeAgain) {
  ScratchFolder scratch;
  auto backend = MustOpen(scratch.path());
  ASSERT_TRUE(backend->PutOne("packs/ab/1", AsBytes("x")).ok());
  ASSERT_TRUE(RemoveTree(scratch.path() + "/packs").ok());
  ASSERT_TRUE(RemoveTree(scratch.path() + "/_tmp").ok());
  ASSERT_TRUE(backend->PutOne("packs/ab/1", AsBytes("y")).ok());
  EXPECT_EQ(AsText(*backend->Get("packs/ab/1")), "y");
}

TEST(LocalBackend, ATruncatedFileIsCorruptNotShort) {
  ScratchFolder scratch;
  auto backend = MustOpen(scratch.path());
  ASSERT_TRUE(backend->PutOne("a", Bytes(1000)).ok());
  Bytes range(500);
  ASSERT_TRUE(backend->ReadAt("a", 500, range).ok());
  ASSERT_EQ(::truncate((scratch.path() + "/a").c_str(), 700), 0);
  Status status = backend->ReadAt("a", 500, range);
  EXPECT_EQ(status.code(), Code::kCorrupt);
  EXPECT_NE(status.message().find(scratch.path() + "/a"), std::string::npos);
}

TEST(LocalBackend, AnAbsurdlyLargeFileIsRefused) {
  ScratchFolder scratch;
  auto backend = MustOpen(scratch.path());
  ASSERT_TRUE(backend->PutOne("a", AsBytes("x")).ok());
  ASSERT_EQ(::truncate((scratch.path() + "/a").c_str(), int64_t{1} << 40), 0);
  EXPECT_EQ(backend->Get("a").code(), Code::kTooLarge);
  EXPECT_EQ(*backend->Size("a"), uint64_t{1} << 40);
}

TEST(LocalBackend, DescriptorsAreBounded) {
  ScratchFolder scratch;
  auto backend = MustOpen(scratch.path());
  const size_t before = FilesIn("/proc/self/fd");
  for (int i = 0; i < 300; ++i) {
    const std::string name = "packs/" + std::to_string(i);
    ASSERT_TRUE(backend->PutOne(name, AsBytes(name)).ok());
    uint8_t byte = 0;
    ASSERT_TRUE(backend->ReadAt(name, 0, {&byte, 1}).ok());
  }
  EXPECT_LE(FilesIn("/proc/self/fd"), before + 64);
  backend.reset();
  EXPECT_LE(FilesIn("/proc/self/fd"), before);
}

TEST(LocalBackend, ReadsGoOnWhileFilesFallOutAndAreRemoved) {
  ScratchFolder scratch;
  auto backend = MustOpen(scratch.path());
  constexpr int kObjects = 100;  // more than stay open
  auto name = [](int i) { return "packs/" + std::to_string(i); };
  for (int i = 0; i < kObjects; ++i) ASSERT_TRUE(backend->PutOne(name(i), AsBytes(name(i))).ok());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 5000; ++i) {
        const std::string wanted = name((i * 7 + t * 31) % kObjects);
        Bytes out(wanted.size());
        Status status = backend->ReadAt(wanted, 0, out);
        EXPECT_TRUE(status.Is(Code::kNotFound) || (status.ok() && AsText(out) == wanted));
      }
    });
  }
  for (int i = 0; i < kObjects; i += 2) EXPECT_TRUE(backend->Remove(name(i)).ok());
  for (auto& thread : threads) thread.join();
}

TEST(LocalBackend, AFullDiskIsNoSpaceAndLeavesNothing) {
  if (!IsRoot()) GTEST_SKIP() << "mounting needs root";
  LoopMount disk("mkfs.ext4 -q -F", "16M");
  ASSERT_TRUE(disk.mounted());
  const std::string root = disk.path() + "/repo";
  auto backend = MustOpen(root);
  ASSERT_TRUE(backend->PutOne("packs/00/small", Bytes(1000)).ok());
  const uint64_t free_before = backend->Space()->available;
  const Bytes large(32 << 20, 7);
  for (int i = 0; i < 3; ++i) {
    Status status = backend->PutOne("packs/00/large", large);
    EXPECT_EQ(status.code(), Code::kNoSpace) << status.ToString();
    EXPECT_EQ(FilesIn(root + "/_tmp"), 0U);
    EXPECT_EQ(backend->Get("packs/00/large").code(), Code::kNotFound);
  }
  EXPECT_GE(backend->Space()->available + 65536, free_before);
  EXPECT_TRUE(backend->PutOne("packs/00/fits", Bytes(1 << 20)).ok());
}

TEST(LocalBackend, ADiskThatFillsUpSlowlyKeepsWhatItTook) {
  if (!IsRoot()) GTEST_SKIP() << "mounting needs root";
  LoopMount disk("mkfs.ext4 -q -F -m 0", "8M");
  ASSERT_TRUE(disk.mounted());
  auto backend = MustOpen(disk.path() + "/repo");
  int stored = 0;
  Status status;
  while (status.ok() && stored < 1000) {
    status = backend->PutOne("packs/" + std::to_string(stored), Bytes(100'000, 9));
    if (status.ok()) ++stored;
  }
  EXPECT_EQ(status.code(), Code::kNoSpace) << status.ToString();
  EXPECT_GT(stored, 10);
  EXPECT_EQ(FilesIn(disk.path() + "/repo/_tmp"), 0U);
  for (int i = 0; i < stored; ++i) {
    auto back = backend->Get("packs/" + std::to_string(i));
    EXPECT_TRUE(back.ok() && *back == Bytes(100'000, 9)) << i;
  }
  EXPECT_TRUE(backend->Remove("packs/0").ok());
  EXPECT_TRUE(backend->PutOne("packs/again", Bytes(50'000)).ok());
}

TEST(LocalBackend, AReadOnlyDiskIsReadOnly) {
  if (!IsRoot()) GTEST_SKIP() << "mounting needs root";
  LoopMount disk("mkfs.ext4 -q -F", "8M");
  ASSERT_TRUE(disk.mounted());
  ASSERT_TRUE(MustOpen(disk.path() + "/repo")->PutOne("a", AsBytes("x")).ok());
  ASSERT_EQ(Shell("mount -o remount,ro " + disk.path()), 0);
  auto backend = MustOpen(disk.path() + "/repo", false);
  EXPECT_TRUE(backend->Get("a").ok());
  EXPECT_EQ(backend->PutOne("b", AsBytes("x")).code(), Code::kReadOnly);
  EXPECT_EQ(backend->Remove("a").code(), Code::kReadOnly);
}

// What Put and Remove acknowledged is there (or gone) after the power was cut.
TEST(LocalBackend, APowerCutLosesNothingAcknowledged) {
  if (!IsRoot()) GTEST_SKIP() << "mounting needs root";
  for (const std::string mkfs : {"mkfs.ext4 -q -F", "mkfs.xfs -q"}) {
    SCOPED_TRACE(mkfs);
    LoopMount disk(mkfs, "320M");
    ASSERT_TRUE(disk.mounted());
    auto backend = MustOpen(disk.path() + "/new/repo");
    for (int i = 0; i < 20; ++i) {
      ASSERT_TRUE(backend->PutOne("packs/" + std::to_string(i) + "/x", Bytes(70'000, 5)).ok());
    }
    ASSERT_TRUE(backend->Remove("packs/7/x").ok());
    backend.reset();
    ASSERT_TRUE(disk.CutPower());
    backend = MustOpen(disk.path() + "/new/repo", false);
    for (int i = 0; i < 20; ++i) {
      auto back = backend->Get("packs/" + std::to_string(i) + "/x");
      if (i == 7) {
        EXPECT_EQ(back.code(), Code::kNotFound);
      } else {
        EXPECT_TRUE(back.ok() && *back == Bytes(70'000, 5)) << i << back.status().ToString();
      }
    }
  }
}

// Runs `body` with the file access rights of an ordinary user.
template <typename Body>
void AsNobody(const Body& body) {
  std::thread([&] {
    ::setfsgid(65534);
    ::setfsuid(65534);  // of this thread alone
    body();
  }).join();
}

TEST(LocalBackend, FoldersThatMayNotBeUsed) {
  if (!IsRoot()) GTEST_SKIP() << "changing users needs root";
  ScratchFolder scratch;
  ASSERT_EQ(::chmod(scratch.path().c_str(), 0755), 0);
  const std::string root = scratch.path() + "/repo";
  ASSERT_TRUE(MustOpen(root)->PutOne("packs/ab/1", AsBytes("x")).ok());
  AsNobody([&] {
    EXPECT_EQ(OpenLocalBackend(root, false).code(), Code::kDenied);
    EXPECT_EQ(OpenLocalBackend(scratch.path() + "/other", true).code(), Code::kDenied);
  });
  // Now it may be read and not be written.
  ASSERT_EQ(Shell("chmod -R a+rX " + root), 0);
  AsNobody([&] {
    auto backend = MustOpen(root, false);
    EXPECT_TRUE(backend->Get("packs/ab/1").ok());
    EXPECT_EQ(backend->PutOne("packs/ab/2", AsBytes("x")).code(), Code::kDenied);
    EXPECT_EQ(backend->PutOne("new/2", AsBytes("x")).code(), Code::kDenied);
    EXPECT_EQ(backend->Remove("packs/ab/1").code(), Code::kDenied);
  });
  // One folder and one file in it are closed.
  ASSERT_TRUE(MustOpen(root)->PutOne("packs/cd/3", AsBytes("x")).ok());
  AsNobody([&] {
    auto backend = MustOpen(root, false);
    EXPECT_EQ(backend->Get("packs/cd/3").code(), Code::kDenied);
    auto ignore = [](const std::string&, uint64_t) { return OkStatus(); };
    Status status = backend->List("packs/", ignore);
    EXPECT_EQ(status.code(), Code::kDenied);
    EXPECT_NE(status.message().find("packs/cd"), std::string::npos) << status.message();
  });
}

}  // namespace
}  // namespace bkfs

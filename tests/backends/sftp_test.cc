// SPDX-License-Identifier: Apache-2.0
// What an SFTP store does with its folder, and on servers of other kinds.
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "tests/backends/sftp_server.h"
#include "tests/support/loop_mount.h"

namespace bkfs {
namespace {

namespace fs = std::filesystem;

SshServer& Server() { return SshServer::Shared(); }

size_t FilesIn(const std::string& folder) {
  std::error_code error;
  size_t count = 0;
  for (const auto& entry : fs::directory_iterator(folder, error)) count += entry.exists() ? 1 : 0;
  return count;
}

TEST(SftpStore, AFolderThatIsNotThere) {
  SftpOptions options = Server().Options();
  const std::string path = options.path;
  Status status = OpenStatus(std::move(options), false);
  EXPECT_EQ(status.code(), Code::kNoRepository) << status.ToString();
  EXPECT_NE(status.message().find(path), std::string::npos) << status.message();
  EXPECT_FALSE(fs::exists(path));
}

TEST(SftpStore, AFileIsNoStore) {
  for (const bool create : {false, true}) {
    SftpOptions options = Server().Options();
    std::ofstream(options.path) << "x";
    EXPECT_EQ(OpenStatus(std::move(options), create).code(), Code::kNotDirectory);
  }
}

TEST(SftpStore, FoldersAreMadePrivate) {
  SftpOptions options = Server().Options();
  options.path += "/a/b";
  const std::string path = options.path;
  auto backend = OpenOrDie(std::move(options));
  ASSERT_TRUE(backend->PutOne("packs/aa/x", AsBytes("x")).ok());
  struct stat st {};
  ASSERT_EQ(::stat((path + "/packs/aa/x").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0600U);
  EXPECT_EQ(st.st_nlink, 1U);
  for (const char* folder : {"", "/..", "/packs", "/packs/aa", "/_tmp"}) {
    ASSERT_EQ(::stat((path + folder).c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 07777, 0700U) << folder;
  }
  EXPECT_EQ(FilesIn(path + "/_tmp"), 0U);
}

TEST(SftpStore, PathsBelowTheHomeFolder) {
  int number = 0;
  for (const std::string form : {"name/", "~/name/", "~//name/", "./name/"}) {
    const std::string leaf = "r" + std::to_string(++number);
    SftpOptions options = Server().Options();
    options.path = form + leaf + "/";
    auto backend = OpenOrDie(std::move(options));
    EXPECT_TRUE(backend->PutOne("a", AsBytes("x")).ok());
    EXPECT_TRUE(fs::exists(Server().Fact("home") + "/name/" + leaf + "/a")) << form;
  }
  SftpOptions home = Server().Options();
  home.path = "~";
  EXPECT_TRUE(OpenStatus(std::move(home), false).ok());
}

TEST(SftpStore, NamesOfFoldersWithAllSortsOfCharacters) {
  SftpOptions options = Server().Options();
  options.path += "/a b/ä€/'\"$(x)*?[]\\/-n\n#";
  const std::string path = options.path;
  auto backend = OpenOrDie(std::move(options));
  EXPECT_TRUE(backend->PutOne("packs/a", AsBytes("x")).ok());
  EXPECT_TRUE(fs::exists(path + "/packs/a"));
  EXPECT_EQ(backend->Describe().find('\n'), std::string::npos);
  EXPECT_NE(backend->Describe().find("ä€"), std::string::npos) << backend->Describe();
}

TEST(SftpStore, LinksAndFoldersAreNoObjects) {
  SftpOptions options = Server().Options();
  const std::string path = options.path;
  auto backend = OpenOrDie(std::move(options));
  ASSERT_TRUE(backend->PutOne("packs/a", AsBytes("x")).ok());
  fs::create_symlink(path + "/packs/a", path + "/link");
  fs::create_directory_symlink(path + "/packs", path + "/folder-link");
  fs::create_directory(path + "/packs/folder");
  EXPECT_EQ(backend->Get("link").code(), Code::kDenied);
  EXPECT_EQ(backend->Size("link").code(), Code::kDenied);
  EXPECT_EQ(backend->PutOne("link", AsBytes("y")).code(), Code::kExists);
  EXPECT_EQ(backend->PutOne("packs/folder", AsBytes("y")).code(), Code::kIsDirectory);
  EXPECT_EQ(backend->PutOne("packs/a/b", AsBytes("y")).code(), Code::kNotDirectory);
  std::set<std::string> seen;
  ASSERT_TRUE(backend
                  ->List("",
                         [&](const std::string& name, uint64_t) -> Status {
                           seen.insert(name);
                           return {};
                         })
                  .ok());
  EXPECT_EQ(seen, std::set<std::string>{"packs/a"});
  EXPECT_EQ(FilesIn(path + "/_tmp"), 0U);
}

TEST(SftpStore, LeftoversGoAfterADay) {
  SftpOptions options = Server().Options();
  const std::string path = options.path;
  auto again = [&] {
    SftpOptions out = Server().Options();
    out.path = path;
    return out;
  };
  OpenOrDie(std::move(options));
  std::ofstream(path + "/_tmp/old") << "x";
  std::ofstream(path + "/_tmp/new") << "x";
  const auto day = std::chrono::hours(25);
  fs::last_write_time(path + "/_tmp/old", fs::file_time_type::clock::now() - day);
  auto reader = OpenOrDie(again(), false);
  EXPECT_TRUE(fs::exists(path + "/_tmp/old"));
  ASSERT_TRUE(reader->PutOne("a", AsBytes("x")).ok());
  EXPECT_FALSE(fs::exists(path + "/_tmp/old"));
  EXPECT_TRUE(fs::exists(path + "/_tmp/new"));
}

TEST(SftpStore, AFullDisk) {
  ASSERT_TRUE(IsRoot());
  const LoopMount disk("mkfs.ext4 -q -F -m 0", "16M");
  ASSERT_TRUE(disk.mounted());
  SshServer server;  // after the mount, which its namespace would not see
  SftpOptions options = server.Options();
  options.path = disk.path() + "/store";
  auto backend = OpenOrDie(std::move(options));
  const Bytes some(4 << 20, 'x');
  int stored = 0;
  Status status;
  for (; stored < 10 && status.ok(); ++stored) {
    status = backend->PutOne("packs/" + std::to_string(stored), some);
  }
  EXPECT_EQ(status.code(), Code::kNoSpace) << status.ToString();
  const std::string last = "packs/" + std::to_string(stored - 1);
  EXPECT_EQ(backend->Get(last).code(), Code::kNotFound);
  ASSERT_TRUE(backend->Space().ok());
  EXPECT_EQ(FilesIn(disk.path() + "/store/_tmp"), 0U);
  // Removing makes room, and the store goes on.
  EXPECT_TRUE(backend->Remove("packs/0").ok());
  status = backend->PutOne(last, some);
  EXPECT_TRUE(status.ok()) << status.ToString();
}

TEST(SftpStore, AReadOnlyFilesystem) {
  ASSERT_TRUE(IsRoot());
  const LoopMount disk("mkfs.ext4 -q -F", "16M");
  ASSERT_TRUE(disk.mounted());
  fs::create_directory(disk.path() + "/store");
  ASSERT_EQ(Shell("mount -o remount,ro " + disk.path()), 0);
  SshServer server;
  SftpOptions options = server.Options();
  options.path = disk.path() + "/store";
  auto backend = OpenOrDie(std::move(options), false);
  Status status = backend->PutOne("a", AsBytes("x"));
  EXPECT_EQ(status.code(), Code::kReadOnly) << status.ToString();
}

TEST(SftpStore, AFolderThatOneMayNotWriteTo) {
  SftpOptions options = Server().Options();
  const std::string path = options.path;
  OpenOrDie(std::move(options));
  ASSERT_EQ(::chmod(path.c_str(), 0755), 0);
  auto as_other = [&] {
    SftpOptions out = Server().Options();
    out.path = path;
    out.user = Server().Fact("password_user");
    out.key_file = "";
    out.password = Secret::CopyOf(AsBytes(Server().Fact("password")));
    return out;
  };
  fs::remove(path + "/_tmp");
  std::ofstream(path + "/a") << "x";
  ASSERT_EQ(::chmod((path + "/a").c_str(), 0644), 0);
  for (const bool create : {false, true}) {
    auto backend = OpenOrDie(as_other(), create);
    Status status = backend->PutOne("b", AsBytes("x"));
    EXPECT_EQ(status.code(), Code::kDenied) << status.ToString();
    status = backend->Remove("a");
    EXPECT_EQ(status.code(), Code::kDenied) << status.ToString();
    EXPECT_TRUE(backend->Get("a").ok());
  }
}

// `what` must be in the log of a store that is made on such a server.
void ExpectWarning(SshServer& server, const std::string& what) {
  KeepingLogger log;
  auto backend = OpenSftpBackend(server.Options(), log, true);
  ASSERT_TRUE(backend.ok()) << backend.status().ToString();
  ASSERT_TRUE((*backend)->PutOne("a", AsBytes("x")).ok());
  ASSERT_TRUE((*backend)->PutOne("b", AsBytes("x")).ok());
  const std::string text = log.text();
  const size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << text;
  EXPECT_EQ(text.find(what, at + 1), std::string::npos) << "more than once: " << text;
}

TEST(SftpStore, WhatAServerCannotDoIsTold) {
  SshServer no_sync({"--sftp", "internal-sftp -P fsync"});
  ExpectWarning(no_sync, "fsync@openssh.com");
  SshServer no_links({"--sftp", "internal-sftp -P hardlink"});
  ExpectWarning(no_links, "hard links");
}

TEST(SftpStore, AServerThatReplacesIsNotWrittenTo) {
  const std::vector<std::string> servers = {
      std::string(BKFS_STORES_FOLDER) + "/overwriting_sftp.py", "internal-sftp -P hardlink,rename"};
  for (const std::string& sftp : servers) {
    SshServer server({"--sftp", sftp});
    SftpOptions options = server.Options();
    const std::string path = options.path;
    Status status = OpenStatus(std::move(options));
    EXPECT_EQ(status.code(), Code::kUnsupported) << sftp << ": " << status.ToString();
    options = server.Options();
    options.path = path;
    auto backend = OpenOrDie(std::move(options), false);
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(backend->PutOne("a", AsBytes("x")).code(), Code::kUnsupported);
    }
    EXPECT_EQ(backend->Get("a").code(), Code::kNotFound);
  }
}

// New keys are agreed on in the midst of transfers.
TEST(SftpStore, KeysAreRenewed) {
  SshServer server({"--option", "RekeyLimit 1M"});
  auto backend = OpenOrDie(server.Options());
  const Bytes data(20 << 20, 'x');
  ASSERT_TRUE(backend->PutOne("a", data).ok());
  auto back = backend->Get("a");
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  EXPECT_TRUE(*back == data);
}

TEST(SftpStore, NoMoreConnectionsThanAllowed) {
  SshServer server;
  SftpOptions options = server.Options();
  options.connections = 3;
  auto backend = OpenOrDie(std::move(options));
  std::vector<std::thread> threads;
  for (int t = 0; t < 12; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 5; ++i) {
        const std::string name = std::to_string(t) + "/" + std::to_string(i);
        EXPECT_TRUE(backend->PutOne(name, AsBytes(name)).ok());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(server.Tell("connections"), "3");
}

// 64 threads and two clients: what conformance tests with less.
TEST(SftpStore, OfManyPutsOneWinsAndAllAgree) {
  SftpOptions options = Server().Options();
  const std::string path = options.path;
  auto one = OpenOrDie(std::move(options));
  options = Server().Options();
  options.path = path;
  auto two = OpenOrDie(std::move(options), false);
  constexpr int kThreads = 64;
  std::atomic<int> won{0};
  std::atomic<int> lost{0};
  std::atomic<int> winner{-1};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const Bytes data(100'000 + static_cast<size_t>(t), static_cast<uint8_t>(t));
      Status status = (t % 2 == 0 ? *one : *two).PutOne("races/a", data);
      if (status.ok()) {
        won.fetch_add(1);
        winner.store(t);
      }
      if (status.Is(Code::kExists)) lost.fetch_add(1);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(won.load(), 1);
  EXPECT_EQ(lost.load(), kThreads - 1);
  for (Backend* client : {one.get(), two.get()}) {
    auto back = client->Get("races/a");
    ASSERT_TRUE(back.ok());
    const auto number = static_cast<size_t>(winner.load());
    EXPECT_EQ(*back, Bytes(100'000 + number, static_cast<uint8_t>(number)));
  }
  EXPECT_EQ(FilesIn(path + "/_tmp"), 0U);
}

}  // namespace
}  // namespace bkfs

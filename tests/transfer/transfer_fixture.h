// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "backends/fault/fault_backend.h"
#include "engine/crypto/hash.h"
#include "engine/transfer/backup.h"
#include "engine/transfer/restore.h"
#include "tests/support/test_repository.h"

namespace bkfs {

// What a backup or restore told, and a hand in what happens meanwhile.
class Watcher final : public BackupObserver, public RestoreObserver {
 public:
  void SourceFailed(const std::string& path, const Status& why) override { Failed(path, why); }
  void Failed(const std::string& path, const Status& why) override {
    MutexLock lock(mutex_);
    failures_[path] = why;
  }
  void Changed(const std::string& path, std::string_view what) override {
    MutexLock lock(mutex_);
    changes_[path] = what;
  }
  void Progress(const BackupCounts&) override {}
  void Progress(const RestoreCounts&) override {}
  bool Cancelled() override { return cancelled && cancelled(); }

  std::map<std::string, Status> failures() {
    MutexLock lock(mutex_);
    return failures_;
  }
  std::map<std::string, std::string> changes() {
    MutexLock lock(mutex_);
    return changes_;
  }
  // Asked often, at every step of the walk.
  std::function<bool()> cancelled;

 private:
  Mutex mutex_;
  std::map<std::string, Status> failures_ BKFS_GUARDED_BY(mutex_);
  std::map<std::string, std::string> changes_ BKFS_GUARDED_BY(mutex_);
};

// Everything a tree consists of, by path below its root, as text that can be compared.
inline std::map<std::string, std::string> Describe(const std::string& root) {
  std::map<std::string, std::string> out;
  std::map<ino_t, std::string> first_names;
  std::vector<std::string> paths{""};
  for (const auto& item : std::filesystem::recursive_directory_iterator(root)) {
    paths.push_back(item.path().string().substr(root.size()));
  }
  std::sort(paths.begin(), paths.end());
  for (const auto& relative : paths) {
    const std::string path = root + relative;
    struct stat st {};
    EXPECT_EQ(::lstat(path.c_str(), &st), 0) << path;
    std::string text = std::to_string(st.st_mode) + " " + std::to_string(st.st_uid) + ":" +
                       std::to_string(st.st_gid) + " " + std::to_string(st.st_mtim.tv_sec) + "." +
                       std::to_string(st.st_mtim.tv_nsec);
    if (S_ISREG(st.st_mode)) {
      auto data = ReadWholeFile(path);
      EXPECT_TRUE(IsOk(data));
      text += " " + std::to_string(st.st_size) + " " + ToHex(HashBytes(*data));
      // Holes may differ by how a filesystem allocates, not by much.
      text += st.st_blocks * 512 + (1 << 20) < st.st_size ? " sparse" : "";
    }
    if (S_ISLNK(st.st_mode)) text += " " + std::filesystem::read_symlink(path).string();
    if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) text += " " + std::to_string(st.st_rdev);
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) {
      text += " same as " + first_names.try_emplace(st.st_ino, relative).first->second;
    }
    char names[4096];
    const ssize_t length = ::llistxattr(path.c_str(), names, sizeof names);
    std::vector<std::string> xattrs;
    for (ssize_t at = 0; at < length; at += static_cast<ssize_t>(xattrs.back().size()) + 1) {
      xattrs.emplace_back(names + at);
    }
    std::sort(xattrs.begin(), xattrs.end());
    for (const auto& name : xattrs) {
      Bytes value(70000);
      const ssize_t n = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
      value.resize(n < 0 ? 0 : static_cast<size_t>(n));
      text += " " + name + "=" + ToHex(HashBytes(value));
    }
    out[relative] = text;
  }
  return out;
}

class TransferTest : public ::testing::Test {
 protected:
  TransferTest() : faulty_(store_), test_(faulty_) {
    std::filesystem::create_directory(source());
    Reopen();
  }

  std::string source() const { return scratch_.path() + "/source"; }
  std::string dest() const { return scratch_.path() + "/dest"; }
  std::string At(const std::string& path) const { return source() + "/" + path; }

  void Reopen() { Reopen(test_.CloneMaster(), "cache"); }
  void Reopen(KeyMaterial key, const std::string& cache) {
    repo_.reset();
    auto repo = test_.Open(std::move(key), scratch_.path() + "/" + cache);
    ASSERT_TRUE(IsOk(repo));
    repo_ = std::move(*repo);
  }

  static void Write(const std::string& path, ByteView data) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::filesystem::remove(path);
    ASSERT_TRUE(IsOk(WriteNewFile(path, data, 0644)));
  }
  static void SetTime(const std::string& path, int64_t seconds, long nanos) {
    const timespec times[2] = {{seconds, nanos}, {seconds, nanos}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
  }

  BackupOptions Options() const {
    BackupOptions options;
    options.paths = {source()};
    options.name = "s";
    options.host = "host";
    options.user = "user";
    return options;
  }
  Result<BackupResult> Backup() { return Backup(Options()); }
  Result<BackupResult> Backup(const BackupOptions& options) {
    return RunBackup(*repo_, options, watcher_);
  }
  Entry Root(const SnapshotId& id) {
    auto snapshot = repo_->snapshots().Resolve(id.hex());
    EXPECT_TRUE(IsOk(snapshot));
    auto root = repo_->snapshots().Root(**snapshot);
    EXPECT_TRUE(IsOk(root));
    return *root;
  }
  // Restores with a repository that was opened afresh, as another program would.
  Result<RestoreCounts> Restore(const SnapshotId& id, const RestoreOptions& options = {}) {
    Reopen(test_.CloneMaster(), "restore-cache");
    return RunRestore(*repo_, Root(id), dest(), options, watcher_);
  }
  std::vector<std::string> Objects(const std::string& prefix) {
    std::vector<std::string> names;
    EXPECT_TRUE(IsOk(store_.List(prefix, [&](const std::string& name, uint64_t) {
      names.push_back(name);
      return Status();
    })));
    return names;
  }

  ScratchFolder scratch_;
  MemoryBackend store_;
  FaultBackend faulty_;
  TestRepository test_;
  std::unique_ptr<Repository> repo_;
  Watcher watcher_;
};

}  // namespace bkfs

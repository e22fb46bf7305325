// SPDX-License-Identifier: Apache-2.0
// Killed writers, damaged files, and two processes that want the same cache.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <set>

#include "tests/cache/cache_fixture.h"

namespace bkfs {
namespace {

namespace stdfs = std::filesystem;

// killed_writer at work on a cache.
class Writer {
 public:
  explicit Writer(const std::string& directory) {
    int ends[2];
    BKFS_CHECK(::pipe(ends) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(ends[1], STDOUT_FILENO);
      ::execl(BKFS_KILLED_WRITER, "killed_writer", directory.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(ends[1]);
    dots_ = UniqueFd(ends[0]);
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() { Kill(); }

  // False if the writer ended before it had added so many packs.
  bool WaitFor(uint64_t packs) {
    char dot;
    for (; seen_ < packs; ++seen_) {
      if (::read(dots_.get(), &dot, 1) != 1) return false;
    }
    return true;
  }
  // The number of packs it had said it added when it was killed.
  uint64_t Kill() {
    if (pid_ <= 0) return seen_;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
    for (char dot; ::read(dots_.get(), &dot, 1) == 1;) ++seen_;
    return seen_;
  }

 private:
  pid_t pid_ = 0;
  UniqueFd dots_;
  uint64_t seen_ = 0;
};

class Crash : public CacheTest {
 protected:
  // Every pack of killed_writer that is there, is there with all its blobs; `at_least` are there.
  uint64_t CheckPacks(uint64_t at_least) {
    uint64_t i = 0;
    for (;; ++i) {
      auto number = cache_->FindPack(IdFrom<PackId>(i));
      EXPECT_TRUE(number.ok());
      if (!number.ok() || !*number) break;
      for (uint64_t blob = 0; blob < 500; blob += 7) {
        auto found = cache_->Find(IdFrom<BlobId>(i * 500 + blob));
        EXPECT_TRUE(found.ok() && found->has_value() && (*found)->pack == **number) << i;
      }
    }
    EXPECT_GE(i, at_least);
    return i;
  }
};

TEST_F(Crash, WhatAddPackAcknowledgedSurvivesAKill) {
  uint64_t before = 0;
  for (const uint64_t packs : {1, 40, 200}) {
    Writer writer(directory());
    ASSERT_TRUE(writer.WaitFor(packs));
    const uint64_t acknowledged = writer.Kill();
    Open();
    EXPECT_EQ(log_.Take(), "");
    const uint64_t there = CheckPacks(std::max(acknowledged, before));
    // Numbers that a killed process gave out are not given out again.
    std::set<uint32_t> numbers;
    ASSERT_TRUE(cache_
                    ->ForEachPack([&](uint32_t number, const CachedPack&) {
                      numbers.insert(number);
                      return OkStatus();
                    })
                    .ok());
    EXPECT_EQ(numbers.size(), there);
    EXPECT_FALSE(numbers.contains(MustAdd(1'000'000 + packs, 1 << 30, 3)));
    ASSERT_TRUE(cache_->RemovePack(IdFrom<PackId>(1'000'000 + packs)).ok());
    before = there;
    cache_.reset();
  }
}

TEST_F(Crash, AnotherProcessHoldsIt) {
  Writer writer(directory());
  ASSERT_TRUE(writer.WaitFor(1));
  auto refused = TryOpen();
  EXPECT_EQ(refused.code(), Code::kBusy);
  EXPECT_NE(refused.status().message().find(directory()), std::string::npos);
  writer.Kill();
  Open();
  EXPECT_EQ(TryOpen().code(), Code::kBusy);
  EXPECT_EQ(TryOpen(9).code(), Code::kBusy);  // and is not emptied
  CheckPacks(1);
}

using Damage = std::function<void(const std::string& path)>;

void FlipAt(const std::string& path, double where) {
  auto data = ReadWholeFile(path);
  ASSERT_TRUE(data.ok());
  if (data->empty()) return;
  const auto at = static_cast<size_t>(where * static_cast<double>(data->size() - 1));
  auto fd = OpenFile(path, O_RDWR);
  ASSERT_TRUE(fd.ok());
  const uint8_t flipped = (*data)[at] ^ 0x10;
  ASSERT_TRUE(PwriteAll(fd->get(), {&flipped, 1}, at, path).ok());
}

std::vector<std::pair<std::string, Damage>> Damages() {
  std::vector<std::pair<std::string, Damage>> damages;
  for (const double where : {0.0, 0.1, 0.35, 0.6, 0.85, 0.97, 0.999, 1.0}) {
    damages.emplace_back("flip at " + std::to_string(where),
                         [where](const std::string& path) { FlipAt(path, where); });
  }
  for (const double part : {0.0, 0.5, 0.99}) {
    damages.emplace_back("cut to " + std::to_string(part), [part](const std::string& path) {
      const auto size = static_cast<double>(stdfs::file_size(path));
      stdfs::resize_file(path, static_cast<uintmax_t>(size * part));
    });
  }
  damages.emplace_back("deleted", [](const std::string& path) { stdfs::remove(path); });
  damages.emplace_back("overwritten", [](const std::string& path) {
    const Bytes noise(stdfs::file_size(path), 0xa5);
    stdfs::remove(path);
    ASSERT_TRUE(WriteNewFile(path, noise, 0600).ok());
  });
  return damages;
}

class Damaged : public Crash {
 protected:
  // A cache with tables, a manifest, a log with rows, and all else that RocksDB keeps.
  void Prepare() {
    for (uint64_t i = 0; i < 4; ++i) {
      Open();
      MustAdd(i, i * 500, 500);
    }
    cache_.reset();
    stdfs::rename(directory(), directory() + ".good");
  }
  // Looks everything up; nothing that is found may be wrong. True if all was found.
  bool LookEverythingUp(bool& corrupt) {
    bool all = true;
    for (uint64_t blob = 0; blob < 2000; blob += 3) {
      auto found = cache_->Find(IdFrom<BlobId>(blob));
      if (!found.ok()) {
        EXPECT_EQ(found.code(), Code::kCorrupt) << found.status().ToString();
        corrupt = true;
      }
      all = all && found.ok() && found->has_value();
      if (!found.ok() || !*found) continue;
      EXPECT_EQ((*found)->offset, blob % 500 % 10 * 4000);
      auto pack = cache_->Pack((*found)->pack);
      if (pack.ok()) {
        EXPECT_EQ(pack->id, IdFrom<PackId>(blob / 500));
      } else {
        EXPECT_EQ(pack.code(), Code::kCorrupt) << pack.status().ToString();
        corrupt = true;
      }
    }
    return all;
  }
  void TryDamage(const std::string& file, const Damage& damage) {
    cache_.reset();
    stdfs::remove_all(directory());
    stdfs::copy(directory() + ".good", directory(), stdfs::copy_options::recursive);
    damage(directory() + "/db/" + file);
    Open();
    ASSERT_TRUE(cache_);
    bool corrupt = false;
    (void)LookEverythingUp(corrupt);
    if (corrupt) {
      EXPECT_NE(log_.Take(), "");
      Open();
      corrupt = false;
      EXPECT_FALSE(LookEverythingUp(corrupt));
      EXPECT_FALSE(corrupt);
    }
    // Whatever was lost, it can be filled again.
    for (uint64_t i = 0; i < 4; ++i) {
      ASSERT_TRUE(cache_->RemovePack(IdFrom<PackId>(i)).ok());
      MustAdd(i, i * 500, 500);
    }
    EXPECT_TRUE(LookEverythingUp(corrupt));
    (void)log_.Take();
  }
};

TEST_F(Damaged, NoDamageCrashesOrDeceives) {
  Prepare();
  std::vector<std::string> files;
  for (const auto& entry : stdfs::directory_iterator(directory() + ".good/db")) {
    files.push_back(entry.path().filename().string());
  }
  EXPECT_GE(files.size(), 6U);
  for (const std::string& file : files) {
    for (const auto& [what, damage] : Damages()) {
      SCOPED_TRACE(file + " " + what);
      TryDamage(file, damage);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(Damaged, AFolderOfJunk) {
  ASSERT_TRUE(MakeDirectories(directory() + "/db", 0700).ok());
  for (const char* name : {"CURRENT", "MANIFEST-000001", "000003.sst", "000004.log", "junk"}) {
    ASSERT_TRUE(WriteNewFile(directory() + "/db/" + name, AsBytes("junk\n"), 0600).ok());
  }
  Open();
  EXPECT_NE(log_.Take(), "");
  MustAdd(1, 0, 10);
  EXPECT_TRUE(Knows(5));
}

TEST_F(Damaged, AFileWhereTheRowsShouldBe) {
  ASSERT_TRUE(MakeDirectories(directory(), 0700).ok());
  ASSERT_TRUE(WriteNewFile(directory() + "/db", AsBytes("junk\n"), 0600).ok());
  Open();
  EXPECT_NE(log_.Take(), "");
  MustAdd(1, 0, 10);
  EXPECT_TRUE(Knows(5));
}

}  // namespace
}  // namespace bkfs

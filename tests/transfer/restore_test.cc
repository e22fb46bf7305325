// SPDX-License-Identifier: Apache-2.0
// What a restore writes, keeps, removes, and what damage costs.
#include <atomic>

#include "tests/support/loop_mount.h"
#include "tests/transfer/transfer_fixture.h"

namespace bkfs {
namespace {

class RestoreTest : public TransferTest {
 protected:
  RestoreTest() {
    for (const char* path : {"a", "b", "dir/c", "dir/deeper/d"}) {
      Write(At(path), PseudoRandom(50'000, std::hash<std::string>()(path)));
    }
    EXPECT_EQ(::link(At("a").c_str(), At("dir/same").c_str()), 0);
    auto made = Backup();
    EXPECT_TRUE(IsOk(made));
    snapshot_ = made->snapshot;
    EXPECT_TRUE(IsOk(Restore(snapshot_)));
    EXPECT_EQ(Describe(source()), Describe(dest()));
  }

  // Restores again; what it told.
  std::map<std::string, std::string> Again(const RestoreOptions& options = {}) {
    repo_.reset();
    Reopen();
    Watcher watcher;
    counts_ = RunRestore(*repo_, Root(snapshot_), dest(), options, watcher);
    EXPECT_TRUE(IsOk(counts_));
    failures_ = watcher.failures();
    return watcher.changes();
  }
  using Changes = std::map<std::string, std::string>;

  SnapshotId snapshot_;
  Result<RestoreCounts> counts_ = RestoreCounts();
  std::map<std::string, Status> failures_;
};

TEST_F(RestoreTest, WritesOnlyWhatDiffers) {
  EXPECT_TRUE(Again().empty());
  ASSERT_EQ(::chmod((dest() + "/b").c_str(), 0600), 0);
  EXPECT_EQ(Again(), (Changes{{"b", "update"}}));
  Write(dest() + "/dir/c", AsBytes("other"));
  std::filesystem::remove(dest() + "/dir/same");
  EXPECT_EQ(Again(), (Changes{{"dir/c", "write"}, {"dir/same", "link"}}));
  EXPECT_EQ(Describe(source()), Describe(dest()));
  EXPECT_EQ(counts_->written, 2U);
}

TEST_F(RestoreTest, ADryRunTellsAndChangesNothing) {
  Write(dest() + "/b", AsBytes("other"));
  Write(dest() + "/more", AsBytes("other"));
  std::filesystem::remove_all(dest() + "/dir");
  const auto before = Describe(dest());
  RestoreOptions options;
  options.dry_run = true;
  options.remove_others = true;
  const Changes changes = Again(options);
  EXPECT_EQ(Describe(dest()), before);
  EXPECT_EQ(changes.at("b"), "write");
  EXPECT_EQ(changes.at("more"), "delete");
  EXPECT_EQ(changes.at("dir"), "mkdir");
  EXPECT_EQ(changes.at("dir/deeper/d"), "write");
  std::filesystem::remove_all(dest());
  EXPECT_EQ(Again(options).at("a"), "write");
  EXPECT_FALSE(std::filesystem::exists(dest()));
}

TEST_F(RestoreTest, OthersStayUnlessAskedToGo) {
  Write(dest() + "/more", AsBytes("x"));
  Write(dest() + "/dir/deeper/more/and/more", AsBytes("x"));
  EXPECT_TRUE(Again().empty());
  EXPECT_TRUE(std::filesystem::exists(dest() + "/more"));
  RestoreOptions options;
  options.remove_others = true;
  Again(options);
  EXPECT_EQ(counts_->removed, 2U);
  EXPECT_EQ(Describe(source()), Describe(dest()));
}

TEST_F(RestoreTest, PlacesOfBkfsItselfAreNeverRemoved) {
  Write(dest() + "/other/repo/pack", AsBytes("x"));
  Write(dest() + "/other/file", AsBytes("x"));
  RestoreOptions options;
  options.remove_others = true;
  options.never = {dest() + "/other/repo"};
  Again(options);
  EXPECT_TRUE(std::filesystem::exists(dest() + "/other/repo/pack"));
  EXPECT_FALSE(std::filesystem::exists(dest() + "/other/file"));
  EXPECT_EQ(failures_.size(), 1U);
  options.never = {scratch_.path()};
  EXPECT_EQ(RunRestore(*repo_, Root(snapshot_), dest(), options, watcher_).code(), Code::kInvalid);
}

TEST_F(RestoreTest, VerifyFindsWhatLooksTheSame) {
  struct stat st {};
  ASSERT_EQ(::stat((dest() + "/b").c_str(), &st), 0);
  Bytes data = *ReadWholeFile(dest() + "/b");
  data[1000] ^= 1;
  Write(dest() + "/b", data);
  SetTime(dest() + "/b", st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
  EXPECT_TRUE(Again().empty());
  RestoreOptions options;
  options.verify = true;
  EXPECT_EQ(Again(options), (Changes{{"b", "write"}}));
  EXPECT_EQ(Describe(source()), Describe(dest()));
}

TEST_F(RestoreTest, OneKindInThePlaceOfAnother) {
  std::filesystem::remove(dest() + "/b");
  Write(dest() + "/b/inside", AsBytes("x"));
  std::filesystem::remove_all(dest() + "/dir");
  Write(dest() + "/dir", AsBytes("x"));
  Again();
  EXPECT_EQ(failures_.size(), 2U);  // and nothing was removed
  EXPECT_TRUE(std::filesystem::exists(dest() + "/b/inside"));
  EXPECT_TRUE(std::filesystem::is_regular_file(dest() + "/dir"));
  RestoreOptions options;
  options.remove_others = true;
  Again(options);
  EXPECT_TRUE(failures_.empty());
  EXPECT_EQ(Describe(source()), Describe(dest()));
}

// A file with more names than it should have is not written through: the other name keeps what it
// has.
TEST_F(RestoreTest, AForeignLinkIsNotChanged) {
  const std::string elsewhere = scratch_.path() + "/elsewhere";
  std::filesystem::remove(dest() + "/b");
  Write(elsewhere, AsBytes("precious"));
  ASSERT_EQ(::link(elsewhere.c_str(), (dest() + "/b").c_str()), 0);
  Again();
  EXPECT_EQ(Describe(source()), Describe(dest()));
  auto data = ReadWholeFile(elsewhere);
  ASSERT_TRUE(IsOk(data));
  EXPECT_EQ(AsText(*data), "precious");
}

TEST_F(RestoreTest, APathOrAFileAlone) {
  std::filesystem::remove_all(dest());
  auto dir = repo_->trees().Resolve(Root(snapshot_), "dir/deeper");
  ASSERT_TRUE(IsOk(dir));
  ASSERT_TRUE(IsOk(RunRestore(*repo_, *dir, dest(), {}, watcher_)));
  EXPECT_EQ(Describe(dest()), Describe(At("dir/deeper")));
  auto file = repo_->trees().Resolve(Root(snapshot_), "dir/c");
  ASSERT_TRUE(IsOk(file));
  ASSERT_TRUE(IsOk(RunRestore(*repo_, *file, dest(), {}, watcher_)));
  EXPECT_TRUE(std::filesystem::exists(dest() + "/c"));
  EXPECT_TRUE(std::filesystem::exists(dest() + "/d"));
  EXPECT_EQ(RunRestore(*repo_, *file, dest() + "/c", {}, watcher_).code(), Code::kInvalid);
}

TEST_F(RestoreTest, CancelledLeavesNoHalfFiles) {
  std::filesystem::remove_all(dest());
  std::atomic<int> asked = 0;
  watcher_.cancelled = [&] { return ++asked > 4; };
  EXPECT_EQ(RunRestore(*repo_, Root(snapshot_), dest(), {}, watcher_).code(), Code::kInterrupted);
  const auto whole = Describe(source());
  for (const auto& [path, text] : Describe(dest())) {
    EXPECT_TRUE(whole.contains(path)) << path;
  }
}

// Damage costs the files concerned, which are named, and nothing else.
TEST_F(RestoreTest, DamageCostsWhatItHit) {
  for (int i = 0; i < 20; ++i) {
    Write(At("many/" + std::to_string(i)), PseudoRandom(600'000, static_cast<uint64_t>(i)));
  }
  auto made = Backup();
  ASSERT_TRUE(IsOk(made));
  std::string largest;
  uint64_t size = 0;
  for (const auto& name : Objects("packs/")) {
    if (*store_.Size(name) > size) largest = name;
    size = std::max(size, *store_.Size(name));
  }
  Bytes pack = *store_.Get(largest);
  pack[pack.size() / 2] ^= 1;
  store_.Replace(largest, pack);
  std::filesystem::remove_all(dest());
  auto counts = Restore(made->snapshot);
  ASSERT_TRUE(IsOk(counts));
  const auto failures = watcher_.failures();
  ASSERT_GE(failures.size(), 1U);
  EXPECT_LE(failures.size(), 6U);  // a frame holds pieces of files that were read together
  EXPECT_EQ(counts->damaged, failures.size());
  auto expected = Describe(source());
  for (const auto& [path, why] : failures) {
    EXPECT_EQ(why.code(), Code::kCorrupt);
    EXPECT_NE(why.message().find(largest.substr(9, 8)), std::string::npos) << why.message();
    EXPECT_EQ(expected.erase(path.substr(dest().size())), 1U) << path;
  }
  EXPECT_EQ(Describe(dest()), expected);
}

TEST_F(RestoreTest, AFullDiskIsToldForEachFile) {
  if (!IsRoot()) GTEST_SKIP() << "needs root";
  LoopMount disk("mkfs.ext4 -q -F", "4M");
  ASSERT_TRUE(disk.mounted());
  Write(At("huge"), PseudoRandom(8 << 20, 1));
  auto made = Backup();
  ASSERT_TRUE(IsOk(made));
  auto counts = RunRestore(*repo_, Root(made->snapshot), disk.path(), {}, watcher_);
  ASSERT_TRUE(IsOk(counts));
  EXPECT_EQ(counts->failures, watcher_.failures().size());
  EXPECT_EQ(watcher_.failures().at(disk.path() + "/huge").code(), Code::kNoSpace);
  EXPECT_FALSE(std::filesystem::exists(disk.path() + "/huge"));
  for (const auto& item : std::filesystem::directory_iterator(disk.path())) {
    const std::string name = item.path().filename().string();
    EXPECT_TRUE(name == "lost+found" || std::filesystem::exists(At(name))) << name;
  }
}

}  // namespace
}  // namespace bkfs

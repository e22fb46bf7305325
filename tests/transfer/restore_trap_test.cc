// SPDX-License-Identifier: Apache-2.0
// A destination that somebody else prepared: nothing is written outside of it.
#include <thread>

#include "tests/transfer/transfer_fixture.h"

namespace bkfs {
namespace {

class RestoreTrapTest : public TransferTest {
 protected:
  RestoreTrapTest() {
    Write(At("dir/file"), PseudoRandom(1000, 1));
    Write(At("dir/below/file"), PseudoRandom(1000, 2));
    Write(At("file"), PseudoRandom(1000, 3));
    auto made = Backup();
    EXPECT_TRUE(IsOk(made));
    snapshot_ = made->snapshot;
    std::filesystem::create_directory(outside());
    std::filesystem::create_directory(dest());
  }
  std::string outside() const { return scratch_.path() + "/outside"; }

  SnapshotId snapshot_;
};

TEST_F(RestoreTrapTest, ASymlinkInADirectorysPlaceIsNotFollowed) {
  std::filesystem::create_symlink(outside(), dest() + "/dir");
  auto counts = Restore(snapshot_);
  ASSERT_TRUE(IsOk(counts));
  EXPECT_TRUE(std::filesystem::is_empty(outside()));
  EXPECT_EQ(watcher_.failures().size(), 1U);
  RestoreOptions options;
  options.remove_others = true;
  ASSERT_TRUE(IsOk(Restore(snapshot_, options)));
  EXPECT_TRUE(std::filesystem::is_empty(outside()));
  EXPECT_EQ(Describe(source()), Describe(dest()));
}

TEST_F(RestoreTrapTest, ASymlinkInAFilesPlaceIsReplaced) {
  Write(outside() + "/target", AsBytes("precious"));
  std::filesystem::create_symlink(outside() + "/target", dest() + "/file");
  ASSERT_TRUE(IsOk(Restore(snapshot_)));
  EXPECT_EQ(AsText(*ReadWholeFile(outside() + "/target")), "precious");
  EXPECT_EQ(Describe(source()), Describe(dest()));
}

TEST_F(RestoreTrapTest, DeletingDoesNotFollowSymlinks) {
  Write(outside() + "/target", AsBytes("precious"));
  std::filesystem::create_symlink(outside(), dest() + "/more");
  std::filesystem::create_directory(dest() + "/less");
  std::filesystem::create_symlink(outside(), dest() + "/less/link");
  RestoreOptions options;
  options.remove_others = true;
  ASSERT_TRUE(IsOk(Restore(snapshot_, options)));
  EXPECT_TRUE(std::filesystem::exists(outside() + "/target"));
  EXPECT_EQ(Describe(source()), Describe(dest()));
}

// Somebody swaps a directory for a symlink again and again while files are restored into it.
TEST_F(RestoreTrapTest, ARaceLeadsNowhere) {
  for (int i = 0; i < 200; ++i) Write(At("dir/" + std::to_string(i)), PseudoRandom(2000, 4));
  auto made = Backup();
  ASSERT_TRUE(IsOk(made));
  std::atomic<bool> stop = false;
  std::thread attacker([&] {
    const std::string dir = dest() + "/dir";
    while (!stop) {
      ::rename(dir.c_str(), (dest() + "/aside").c_str());
      (void)!::symlink(outside().c_str(), dir.c_str());
      ::unlink(dir.c_str());
      ::rename((dest() + "/aside").c_str(), dir.c_str());
    }
  });
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(IsOk(Restore(made->snapshot)));
  stop = true;
  attacker.join();
  EXPECT_TRUE(std::filesystem::is_empty(outside()));
}

}  // namespace
}  // namespace bkfs

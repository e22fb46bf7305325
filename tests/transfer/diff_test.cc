// SPDX-License-Identifier: Apache-2.0
// Comparing snapshots, and looking for names in them.
#include "engine/transfer/diff.h"

#include "engine/transfer/find.h"
#include "tests/transfer/transfer_fixture.h"

namespace bkfs {
namespace {

class DiffTest : public TransferTest {
 protected:
  std::vector<std::string> Diff(const SnapshotId& a, const SnapshotId& b) {
    std::vector<std::string> out;
    EXPECT_TRUE(IsOk(DiffTrees(
        repo_->trees(), Root(a), Root(b),
        [&](const Difference& difference) {
          out.push_back(std::string(1, difference.what) + " " + difference.path);
          return Status();
        },
        [] { return Status(); })));
    return out;
  }
  SnapshotId Snapshot() {
    auto made = Backup();
    EXPECT_TRUE(IsOk(made));
    return made->snapshot;
  }
};

using Lines = std::vector<std::string>;

TEST_F(DiffTest, EachKindOfChange) {
  for (const char* path : {"same", "gone", "data", "mode", "dir/in", "kind", "tree/x/y"}) {
    Write(At(path), AsBytes(path));
  }
  const SnapshotId first = Snapshot();
  EXPECT_EQ(Diff(first, first), Lines{});
  std::filesystem::remove(At("gone"));
  Write(At("data"), AsBytes("new data"));
  ASSERT_EQ(::chmod(At("mode").c_str(), 0600), 0);
  std::filesystem::remove(At("kind"));
  Write(At("kind/inside"), AsBytes("x"));
  std::filesystem::remove_all(At("tree"));
  Write(At("added/a/b"), AsBytes("x"));
  const SnapshotId second = Snapshot();
  EXPECT_EQ(Diff(first, second),
            (Lines{"+ added", "+ added/a", "+ added/a/b", "M data", "- gone", "- kind", "+ kind",
                   "+ kind/inside", "m mode", "- tree", "- tree/x", "- tree/x/y"}));
  Lines back = Diff(second, first);
  EXPECT_EQ(back.size(), 12U);
  EXPECT_EQ(back[0], "- added");
}

// The same as comparing the two lists of paths.
TEST_F(DiffTest, AsAModelSays) {
  uint64_t random = 42;
  auto next = [&random](uint64_t below) {
    random = random * 6364136223846793005ULL + 1442695040888963407ULL;
    return (random >> 33) % below;
  };
  std::vector<SnapshotId> snapshots;
  std::vector<std::map<std::string, std::string>> models;
  for (int round = 0; round < 8; ++round) {
    for (int i = 0; i < 60; ++i) {
      const std::string path = At("d" + std::to_string(next(5)) + "/" + std::to_string(next(40)));
      if (next(3) == 0) {
        std::filesystem::remove(path);
      } else {
        Write(path, PseudoRandom(next(3000), next(100)));
      }
    }
    snapshots.push_back(Snapshot());
    models.push_back(Describe(source()));
  }
  for (size_t a = 0; a < models.size(); ++a) {
    for (size_t b = 0; b < models.size(); ++b) {
      std::set<std::string> expected;
      for (const auto& [path, text] : models[a]) {
        if (path.empty() || std::filesystem::path(path).filename().string()[0] == 'd') continue;
        if (!models[b].contains(path)) expected.insert("- " + path.substr(1));
      }
      for (const auto& [path, text] : models[b]) {
        if (path.empty() || std::filesystem::path(path).filename().string()[0] == 'd') continue;
        if (!models[a].contains(path)) expected.insert("+ " + path.substr(1));
      }
      std::set<std::string> found;
      for (const auto& line : Diff(snapshots[a], snapshots[b])) {
        if ((line[0] == '+' || line[0] == '-') && line.find('/') != std::string::npos) {
          found.insert(line);
        }
      }
      EXPECT_EQ(found, expected) << a << " and " << b;
    }
  }
}

// Also where nothing is found, or differs.
TEST_F(DiffTest, EndWhenTheyAreToldTo) {
  for (const char* path : {"a", "b", "c"}) Write(At(path), Bytes(3));
  const SnapshotId id = Snapshot();
  Write(At("c"), Bytes(4));
  const SnapshotId next = Snapshot();
  for (int most = 0; most < 3; ++most) {
    int asked = 0;
    auto proceed = [&] { return asked++ < most ? Status() : Status(Code::kInterrupted, "enough"); };
    Status found = FindInTree(
        repo_->trees(), Root(id), "nothing",
        [](const std::string&, const Entry&) { return Status(); }, proceed);
    EXPECT_EQ(found.code(), Code::kInterrupted);
    asked = 0;
    Status compared = DiffTrees(
        repo_->trees(), Root(id), Root(next), [](const Difference&) { return Status(); }, proceed);
    EXPECT_EQ(compared.code(), Code::kInterrupted);
  }
}

TEST_F(DiffTest, FindByNameAndByPath) {
  for (const char* path : {"a.c", "src/a.c", "src/deep/b.c", "src/a.h"}) Write(At(path), Bytes(3));
  const SnapshotId id = Snapshot();
  auto find = [&](std::string_view pattern) {
    Lines out;
    EXPECT_TRUE(IsOk(FindInTree(
        repo_->trees(), Root(id), pattern,
        [&](const std::string& path, const Entry&) {
          out.push_back(path);
          return Status();
        },
        [] { return Status(); })));
    return out;
  };
  EXPECT_EQ(find("*.c"), (Lines{"a.c", "src/a.c", "src/deep/b.c"}));
  EXPECT_EQ(find("src/*.c"), (Lines{"src/a.c"}));
  EXPECT_EQ(find("/src/**"), (Lines{"src/a.c", "src/a.h", "src/deep", "src/deep/b.c"}));
  EXPECT_EQ(find("nothing"), Lines{});
}

}  // namespace
}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
// Random operations on a staging tree against a simple model, with commits, restarts and lost
// caches in between. The seed is printed with a failure.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <set>

#include "engine/base/fd.h"
#include "tests/staging/staging_fixture.h"

namespace bkfs {
namespace {

struct ModelFile {
  Bytes data;
  uint16_t mode = 0644;
};
using ModelFilePtr = std::shared_ptr<ModelFile>;  // shared by hard links

class Model {
 public:
  std::map<std::string, ModelFilePtr> files;  // path -> file
  std::set<std::string> dirs{""};             // paths

  std::string AnyDir(std::mt19937_64& random) const {
    auto it = dirs.begin();
    std::advance(it, static_cast<ptrdiff_t>(random() % dirs.size()));
    return *it;
  }
  std::string AnyFile(std::mt19937_64& random) const {
    if (files.empty()) return {};
    auto it = files.begin();
    std::advance(it, static_cast<ptrdiff_t>(random() % files.size()));
    return it->first;
  }
  bool HasBelow(const std::string& dir) const {
    auto below = [&](const std::string& path) { return path.starts_with(dir + "/"); };
    return std::any_of(dirs.begin(), dirs.end(), below) ||
           std::any_of(files.begin(), files.end(), [&](const auto& f) { return below(f.first); });
  }
};

class StagingModelTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  StagingModelTest() : staged_(store_) { staged_.OpenMaster(); }

  NodeId Resolve(const std::string& path) {
    NodeId at = staged_.Series("s");
    for (size_t from = 1; from <= path.size();) {
      size_t end = path.find('/', from);
      if (end == std::string::npos) end = path.size();
      auto next = staged_.staging().Lookup(at, path.substr(from, end - from));
      if (!next.ok()) return 0;
      at = next->id;
      from = end + 1;
    }
    return at;
  }
  static std::string Parent(const std::string& path) { return path.substr(0, path.rfind('/')); }
  static std::string Name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

  void Step(std::mt19937_64& random);
  void StepOnFile(std::mt19937_64& random, const std::string& path);
  void CheckTree();
  void CheckSnapshot();

  MemoryBackend store_;
  StagedRepository staged_;
  Model model_;
};

void StagingModelTest::StepOnFile(std::mt19937_64& random, const std::string& path) {
  Staging& staging = staged_.staging();
  const NodeId node = Resolve(path);
  ASSERT_NE(node, 0U) << path;
  ModelFilePtr file = model_.files[path];
  switch (random() % 6) {
    case 0: {  // write somewhere
      const size_t offset = random() % (file->data.size() + 1000);
      const Bytes data = PseudoRandom(1 + random() % 100'000, random());
      ASSERT_TRUE(IsOk(staging.OpenFile(node, true, false)));
      ASSERT_TRUE(IsOk(staging.Write(node, offset, data)));
      ASSERT_TRUE(IsOk(staging.Flush(node)));
      staging.CloseFile(node, true);
      if (file->data.size() < offset + data.size()) file->data.resize(offset + data.size());
      std::copy(data.begin(), data.end(), file->data.begin() + static_cast<ptrdiff_t>(offset));
      break;
    }
    case 1: {
      AttrChange change;
      change.size = random() % 200'000;
      ASSERT_TRUE(IsOk(staging.SetAttr(node, change)));
      file->data.resize(*change.size);
      break;
    }
    case 2: {
      AttrChange change;
      file->mode = static_cast<uint16_t>(random() % 0777);
      change.mode = file->mode;
      ASSERT_TRUE(IsOk(staging.SetAttr(node, change)));
      break;
    }
    case 3:
      ASSERT_TRUE(IsOk(staging.Unlink(Resolve(Parent(path)), Name(path))));
      model_.files.erase(path);
      break;
    case 4: {
      const std::string to = model_.AnyDir(random) + "/l" + std::to_string(random() % 30);
      auto linked = staging.Link(node, Resolve(Parent(to)), Name(to));
      if (model_.files.contains(to)) {
        ASSERT_EQ(linked.code(), Code::kExists);
      } else {
        ASSERT_TRUE(IsOk(linked));
        model_.files[to] = file;
      }
      break;
    }
    case 5: {
      const std::string to = model_.AnyDir(random) + "/f" + std::to_string(random() % 30);
      ASSERT_TRUE(IsOk(
          staging.Rename(Resolve(Parent(path)), Name(path), Resolve(Parent(to)), Name(to), 0)));
      // Two names of one file: nothing happens.
      if (model_.files.contains(to) && model_.files[to] == file) break;
      model_.files.erase(path);
      model_.files[to] = file;
      break;
    }
  }
}

void StagingModelTest::Step(std::mt19937_64& random) {
  Staging& staging = staged_.staging();
  const std::string file = model_.AnyFile(random);
  switch (random() % 10) {
    case 0: {
      const std::string path = model_.AnyDir(random) + "/d" + std::to_string(random() % 12);
      auto made = staging.Create(Resolve(Parent(path)), Name(path),
                                 {.kind = EntryKind::kDirectory, .mode = 0755});
      ASSERT_EQ(made.ok(), model_.dirs.insert(path).second);
      break;
    }
    case 1:
    case 2: {
      const std::string path = model_.AnyDir(random) + "/f" + std::to_string(random() % 30);
      const Bytes data = PseudoRandom(random() % 150'000, random());
      staged_.WriteFile(Resolve(Parent(path)), Name(path), data);
      auto& entry = model_.files[path];
      if (!entry) entry = std::make_shared<ModelFile>();
      entry->data = data;
      break;
    }
    case 3: {
      const std::string dir = model_.AnyDir(random);
      if (dir.empty()) break;
      Status removed = staging.Rmdir(Resolve(Parent(dir)), Name(dir));
      ASSERT_EQ(removed.code(), model_.HasBelow(dir) ? Code::kNotEmpty : Code::kOk);
      if (removed.ok()) model_.dirs.erase(dir);
      break;
    }
    case 4: {  // move a directory
      const std::string dir = model_.AnyDir(random);
      const std::string to = model_.AnyDir(random) + "/m" + std::to_string(random() % 12);
      if (dir.empty() || model_.dirs.contains(to) || (to + "/").starts_with(dir + "/")) break;
      ASSERT_TRUE(
          IsOk(staging.Rename(Resolve(Parent(dir)), Name(dir), Resolve(Parent(to)), Name(to), 0)));
      Model moved;
      auto move = [&](const std::string& path) {
        return path == dir || path.starts_with(dir + "/") ? to + path.substr(dir.size()) : path;
      };
      moved.dirs.clear();
      for (const auto& path : model_.dirs) moved.dirs.insert(move(path));
      for (const auto& [path, contents] : model_.files) moved.files[move(path)] = contents;
      model_ = std::move(moved);
      break;
    }
    default:
      if (!file.empty()) StepOnFile(random, file);
  }
}

void StagingModelTest::CheckTree() {
  for (const auto& [path, file] : model_.files) {
    SCOPED_TRACE(path);
    const NodeId node = Resolve(path);
    ASSERT_NE(node, 0U);
    ASSERT_EQ(staged_.ReadFile(node), file->data);
    auto attr = staged_.staging().GetAttr(node);
    EXPECT_EQ(attr->mode, file->mode);
    uint32_t links = 0;
    for (const auto& other : model_.files) links += other.second == file ? 1 : 0;
    EXPECT_EQ(attr->nlink, links);
  }
}

void StagingModelTest::CheckSnapshot() {
  auto id = staged_.staging().Commit("s");
  ASSERT_TRUE(IsOk(id));
  auto files = staged_.ReadSnapshot(*id);
  ASSERT_EQ(files.size(), model_.files.size());
  auto snapshot = staged_.repo().snapshots().Resolve(id->hex());
  auto root = staged_.repo().snapshots().Root(**snapshot);
  EXPECT_EQ(root->totals.files, model_.files.size());
  EXPECT_EQ(root->totals.directories, model_.dirs.size() - 1);
  for (const auto& [path, file] : model_.files) {
    ASSERT_EQ(files[path], file->data) << path;
    auto entry = staged_.repo().trees().Resolve(*root, path);
    ASSERT_TRUE(IsOk(entry));
    EXPECT_EQ(entry->mode, file->mode) << path;
  }
}

TEST_P(StagingModelTest, RandomOperations) {
  SCOPED_TRACE("seed " + std::to_string(GetParam()));
  std::mt19937_64 random(GetParam());
  staged_.Series("s");
  for (int round = 0; round < 6; ++round) {
    for (int step = 0; step < 60; ++step) ASSERT_NO_FATAL_FAILURE(Step(random));
    switch (random() % 4) {
      case 0:
        staged_.Close();
        staged_.OpenMaster();
        break;
      case 1: ASSERT_NO_FATAL_FAILURE(CheckSnapshot()); break;
      case 2:  // committed and restarted: the tree is looked into piece by piece
        ASSERT_NO_FATAL_FAILURE(CheckSnapshot());
        staged_.Close();
        staged_.OpenMaster();
        break;
      case 3:  // the cache lost
        ASSERT_NO_FATAL_FAILURE(CheckSnapshot());
        staged_.Close();
        staged_.Open(staged_.test().CloneMaster(), "cache" + std::to_string(round));
        staged_.Close();
        ASSERT_TRUE(IsOk(RemoveTree(staged_.test().cache())));
        staged_.OpenMaster();
        break;
    }
    if (random() % 2 == 0) {
      ASSERT_NO_FATAL_FAILURE(CheckTree());
    }
  }
  ASSERT_NO_FATAL_FAILURE(CheckTree());
  ASSERT_NO_FATAL_FAILURE(CheckSnapshot());
}

INSTANTIATE_TEST_SUITE_P(Seeds, StagingModelTest, ::testing::Range<uint64_t>(1, 25));

}  // namespace
}  // namespace bkfs

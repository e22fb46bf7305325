// SPDX-License-Identifier: Apache-2.0
// Random operations on the filesystem and on a simple model of one; snapshots and remounts between.
#include <cerrno>
#include <map>

#include "tests/fs/tree_under_test.h"

namespace bkfs {
namespace {

// Path below the series -> contents; nullopt: a directory. The root is "".
using Model = std::map<std::string, std::optional<Bytes>>;

class FsModelTest : public ::testing::TestWithParam<int> {
 protected:
  FsModelTest() : stack_(false), random_(static_cast<uint64_t>(GetParam()) * 7919 + 1) {
    stack_.Up();
    EXPECT_EQ(stack_.tree().MakeDir("/incoming/s"), 0);
    model_[""] = std::nullopt;
  }

  uint64_t Random(uint64_t below) {
    random_ = random_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return (random_ >> 33) % below;
  }
  // Few names, so that they meet.
  std::string RandomPath() {
    std::string path;
    for (uint64_t parts = 1 + Random(3); parts > 0; --parts) {
      path += "/" + std::string(1, static_cast<char>('a' + Random(4)));
    }
    return path;
  }
  static std::string ParentOf(const std::string& path) { return path.substr(0, path.rfind('/')); }
  bool IsDirectory(const std::string& path) const {
    auto found = model_.find(path);
    return found != model_.end() && !found->second;
  }
  bool HasChildren(const std::string& path) const {
    auto next = model_.upper_bound(path + "/");
    return next != model_.end() && next->first.starts_with(path + "/");
  }
  // What looking up the parent gives: 0, ENOENT or ENOTDIR.
  int ParentError(const std::string& path) const {
    for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
      const std::string above = path.substr(0, at);
      if (!model_.contains(above)) return ENOENT;
      if (!IsDirectory(above)) return ENOTDIR;
    }
    return 0;
  }

  void Step();
  void StepName(const std::string& path);
  void StepContents(const std::string& path);
  void StepRename(const std::string& path);
  void Compare(const std::string& top, const Model& model);

  TreeStack stack_;
  uint64_t random_;
  Model model_;
};

void FsModelTest::StepRename(const std::string& path) {
  const std::string to = RandomPath();
  const int result = stack_.tree().Rename("/incoming/s" + path, "/incoming/s" + to);
  int expected = ParentError(path);
  if (expected == 0) expected = ParentError(to);
  if (expected == 0 && !model_.contains(path)) expected = ENOENT;
  const bool directory = IsDirectory(path);
  if (expected == 0 && path != to) {
    if (directory && to.starts_with(path + "/")) {
      expected = EINVAL;
    } else if (model_.contains(to)) {
      if (directory && !IsDirectory(to)) expected = ENOTDIR;
      if (!directory && IsDirectory(to)) expected = EISDIR;
      if (directory && IsDirectory(to) && HasChildren(to)) expected = ENOTEMPTY;
    }
  }
  ASSERT_EQ(result, expected) << path << " to " << to;
  if (expected != 0 || path == to) return;
  Model moved;
  for (auto it = model_.begin(); it != model_.end();) {
    if (it->first == path || it->first.starts_with(path + "/")) {
      moved[to + it->first.substr(path.size())] = std::move(it->second);
      it = model_.erase(it);
    } else {
      ++it;
    }
  }
  model_.erase(to);
  model_.merge(moved);
}

void FsModelTest::StepName(const std::string& path) {
  const std::string full = "/incoming/s" + path;
  const int parent = ParentError(path);
  const bool there = model_.contains(path);
  const bool directory = IsDirectory(path);
  switch (Random(4)) {
    case 0: {
      const int expected = parent != 0 ? parent : there ? EEXIST : 0;
      ASSERT_EQ(stack_.tree().MakeDir(full), expected) << "mkdir " << path;
      if (expected == 0) model_[path] = std::nullopt;
      break;
    }
    case 1: {
      const int expected = parent != 0 ? parent : !there ? ENOENT : directory ? EISDIR : 0;
      ASSERT_EQ(stack_.tree().Unlink(full), expected) << "unlink " << path;
      if (expected == 0) model_.erase(path);
      break;
    }
    case 2: {
      const int expected = parent != 0         ? parent
                           : !there            ? ENOENT
                           : !directory        ? ENOTDIR
                           : HasChildren(path) ? ENOTEMPTY
                                               : 0;
      ASSERT_EQ(stack_.tree().Rmdir(full), expected) << "rmdir " << path;
      if (expected == 0) model_.erase(path);
      break;
    }
    default: StepRename(path);
  }
}

void FsModelTest::StepContents(const std::string& path) {
  const std::string full = "/incoming/s" + path;
  const bool file = model_.contains(path) && !IsDirectory(path);
  const uint64_t what = Random(4);
  if (what < 2) {
    const Bytes data = PseudoRandom(Random(3) == 0 ? Random(400'000) : Random(2000), Random(20));
    const int parent = ParentError(path);
    const int expected = parent != 0 ? parent : IsDirectory(path) ? EISDIR : 0;
    ASSERT_EQ(stack_.tree().WriteFile(full, data), expected) << "write " << path;
    if (expected == 0) model_[path] = data;
  } else if (what == 2 && file) {
    const uint64_t at = Random(300'000);
    const Bytes patch = PseudoRandom(1 + Random(5000), Random(20));
    ASSERT_EQ(stack_.tree().WriteAt(full, at, patch), 0);
    Bytes& data = *model_[path];
    data.resize(std::max<size_t>(data.size(), at + patch.size()));
    std::copy(patch.begin(), patch.end(), data.begin() + static_cast<ptrdiff_t>(at));
  } else if (file) {
    const uint64_t size = Random(300'000);
    ASSERT_EQ(stack_.tree().Truncate(full, size), 0);
    model_[path]->resize(size);
  }
}

void FsModelTest::Step() {
  const std::string path = RandomPath();
  if (Random(2) == 0) {
    StepName(path);
  } else {
    StepContents(path);
  }
}

void FsModelTest::Compare(const std::string& top, const Model& model) {
  std::map<std::string, std::vector<std::string>> directories;
  for (const auto& [path, data] : model) {
    if (!data) directories[path];
    if (!path.empty()) directories[ParentOf(path)].push_back(path.substr(path.rfind('/') + 1));
    if (!data) continue;
    Bytes read;
    ASSERT_EQ(stack_.tree().ReadFile(top + path, read), 0) << top + path;
    ASSERT_EQ(read, *data) << top + path;
  }
  for (const auto& [path, names] : directories) {
    std::vector<std::string> listed;
    ASSERT_EQ(stack_.tree().List(top + path, listed), 0) << top + path;
    EXPECT_EQ(listed, names) << top + path;
  }
}

TEST_P(FsModelTest, RandomOperations) {
  std::map<std::string, Model> snapshots;
  for (int round = 0; round < 12; ++round) {
    for (int step = 0; step < 40; ++step) {
      Step();
      if (HasFatalFailure()) return;
    }
    if (Random(2) == 0) {
      auto id = stack_.staging()->Commit("s");
      ASSERT_TRUE(IsOk(id));
      snapshots["/snapshots/" + id->hex()] = model_;
    }
    if (Random(4) == 0) stack_.Up();
    Compare("/incoming/s", model_);
    if (HasFatalFailure()) return;
  }
  for (const auto& [path, model] : snapshots) Compare(path, model);
}

INSTANTIATE_TEST_SUITE_P(Seeds, FsModelTest, ::testing::Range(0, 12));

}  // namespace
}  // namespace bkfs

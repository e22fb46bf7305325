// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/find.h"

#include <memory>
#include <vector>

#include "engine/transfer/directory_cursor.h"
#include "engine/transfer/glob.h"

namespace bkfs {

namespace {
struct Level {
  Level(TreeSource& trees, const BlobId& dir, std::string below)
      : cursor(trees, dir), path(std::move(below)) {}
  DirectoryCursor cursor;
  std::string path;  // with a '/' behind it, unless it is the root
};
}  // namespace

Status WalkTree(TreeSource& trees, const Entry& root,
                const std::function<Status(const std::string&, const Entry&)>& visit) {
  // A stack of its own: how deep the tree is, its writer decides.
  std::vector<std::unique_ptr<Level>> stack;
  stack.push_back(std::make_unique<Level>(trees, root.directory, ""));
  while (!stack.empty()) {
    Level& level = *stack.back();
    BKFS_ASSIGN(bool more, level.cursor.Next());
    if (!more) {
      stack.pop_back();
      continue;
    }
    const Entry entry = level.cursor.entry();
    const std::string path = level.path + entry.name;
    BKFS_TRY(visit(path, entry));
    if (entry.is_directory()) {
      stack.push_back(std::make_unique<Level>(trees, entry.directory, path + "/"));
    }
  }
  return {};
}

Status FindInTree(TreeSource& trees, const Entry& root, std::string_view pattern,
                  const std::function<Status(const std::string&, const Entry&)>& visit,
                  const std::function<Status()>& proceed) {
  const bool by_path = pattern.find('/') != std::string_view::npos;
  if (pattern.starts_with('/')) pattern.remove_prefix(1);
  return WalkTree(trees, root, [&](const std::string& path, const Entry& entry) -> Status {
    BKFS_TRY(proceed());
    if (!GlobMatch(pattern, by_path ? path : entry.name)) return {};
    return visit(path, entry);
  });
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/find.h"

#include "engine/transfer/glob.h"

namespace bkfs {

namespace {
using Visit = std::function<Status(const std::string&, const Entry&)>;

Status Walk(TreeSource& trees, const BlobId& dir, const std::string& path, const Visit& visit) {
  return trees.ForEach(dir, 0, [&](uint64_t, const DirectoryPtr& leaf, size_t i) -> Result<bool> {
    const Entry entry = leaf->entry(i);
    const std::string below = path + entry.name;
    BKFS_TRY(visit(below, entry));
    if (entry.is_directory()) {
      BKFS_TRY(Walk(trees, entry.directory, below + "/", visit));
    }
    return true;
  });
}
}  // namespace

Status WalkTree(TreeSource& trees, const Entry& root, const Visit& visit) {
  return Walk(trees, root.directory, "", visit);
}

Status FindInTree(TreeSource& trees, const Entry& root, std::string_view pattern,
                  const Visit& visit) {
  const bool by_path = pattern.find('/') != std::string_view::npos;
  if (pattern.starts_with('/')) pattern.remove_prefix(1);
  return WalkTree(trees, root, [&](const std::string& path, const Entry& entry) -> Status {
    if (!GlobMatch(pattern, by_path ? path : entry.name)) return {};
    return visit(path, entry);
  });
}

}  // namespace bkfs

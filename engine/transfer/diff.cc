// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/diff.h"

#include <vector>

namespace bkfs {

namespace {

using Visit = std::function<Status(const Difference&)>;

Result<std::vector<Entry>> Entries(TreeSource& trees, const BlobId& dir) {
  std::vector<Entry> out;
  BKFS_TRY(
      trees.ForEach(dir, 0, [&](uint64_t, const DirectoryPtr& leaf, size_t index) -> Result<bool> {
        out.push_back(leaf->entry(index));
        return true;
      }));
  return out;
}

bool SameContents(const Entry& a, const Entry& b) {
  return a.kind == b.kind && a.size == b.size && a.extents == b.extents && a.lists == b.lists &&
         a.target == b.target && a.rdev == b.rdev;
}

bool SameMetadata(const Entry& a, const Entry& b) {
  return a.mode == b.mode && a.uid == b.uid && a.gid == b.gid && a.mtime == b.mtime &&
         a.xattrs == b.xattrs;
}

// Everything below an entry that is on one side only.
Status VisitAll(TreeSource& trees, char what, const Entry& entry, const std::string& path,
                const Visit& visit) {
  Difference difference{what, path, {}, {}};
  (what == '+' ? difference.after : difference.before) = entry;
  BKFS_TRY(visit(difference));
  if (!entry.is_directory()) return {};
  return trees.ForEach(entry.directory, 0,
                       [&](uint64_t, const DirectoryPtr& leaf, size_t i) -> Result<bool> {
                         const Entry below = leaf->entry(i);
                         BKFS_TRY(VisitAll(trees, what, below, path + "/" + below.name, visit));
                         return true;
                       });
}

Status DiffDirectories(TreeSource& trees, const BlobId& before, const BlobId& after,
                       const std::string& path, const Visit& visit);

Status DiffEntries(TreeSource& trees, const Entry& a, const Entry& b, const std::string& path,
                   const Visit& visit) {
  if (a.is_directory() != b.is_directory()) {
    BKFS_TRY(VisitAll(trees, '-', a, path, visit));
    return VisitAll(trees, '+', b, path, visit);
  }
  if (!a.is_directory() && !SameContents(a, b)) {
    return visit({'M', path, a, b});
  }
  if (!SameMetadata(a, b)) BKFS_TRY(visit({'m', path, a, b}));
  if (!a.is_directory()) return {};
  return DiffDirectories(trees, a.directory, b.directory, path + "/", visit);
}

Status DiffDirectories(TreeSource& trees, const BlobId& before, const BlobId& after,
                       const std::string& path, const Visit& visit) {
  if (before == after) return {};
  BKFS_ASSIGN(auto left, Entries(trees, before));
  BKFS_ASSIGN(auto right, Entries(trees, after));
  size_t i = 0;
  size_t j = 0;
  while (i < left.size() || j < right.size()) {
    if (j == right.size() || (i < left.size() && left[i].name < right[j].name)) {
      BKFS_TRY(VisitAll(trees, '-', left[i], path + left[i].name, visit));
      ++i;
    } else if (i == left.size() || right[j].name < left[i].name) {
      BKFS_TRY(VisitAll(trees, '+', right[j], path + right[j].name, visit));
      ++j;
    } else {
      BKFS_TRY(DiffEntries(trees, left[i], right[j], path + left[i].name, visit));
      ++i;
      ++j;
    }
  }
  return {};
}

}  // namespace

Status DiffTrees(TreeSource& trees, const Entry& before, const Entry& after, const Visit& visit) {
  return DiffDirectories(trees, before.directory, after.directory, "", visit);
}

}  // namespace bkfs

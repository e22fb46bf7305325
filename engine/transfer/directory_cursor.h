// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "engine/repo/tree_source.h"

namespace bkfs {

// Steps through the entries of a stored directory in name order. Holds one blob of each level of
// it, so that many cursors in each other's directories cost little. Not thread-safe.
class DirectoryCursor {
 public:
  // Zero: an empty directory. `trees` must outlive it.
  DirectoryCursor(TreeSource& trees, const BlobId& dir) : trees_(trees), root_(dir) {}

  // Goes to the next entry; false at the end. After an error it can be called again and goes on
  // behind what could not be read.
  Result<bool> Next();
  // Of the entry that Next went to.
  std::string_view name() const { return leaf_->name(index_); }
  EntryKind kind() const { return leaf_->kind(index_); }
  Entry entry() const { return leaf_->entry(index_); }

 private:
  struct Level {
    DirectoryPtr view;
    size_t next = 0;
  };
  Status Descend(const Child& child, uint8_t above);

  TreeSource& trees_;
  const BlobId root_;
  bool started_ = false;
  std::vector<Level> levels_;
  DirectoryPtr leaf_;
  size_t index_ = 0;
};

}  // namespace bkfs

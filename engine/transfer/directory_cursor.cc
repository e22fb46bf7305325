// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/directory_cursor.h"

namespace bkfs {

Status DirectoryCursor::Descend(const Child& child, uint8_t above) {
  BKFS_ASSIGN(DirectoryPtr view, trees_.Load(child.blob));
  // Levels go down, so that this ends whatever somebody wrote.
  if (view->level() >= above || view->count() != child.entries) {
    return {Code::kCorrupt,
            "tree blob " + child.blob.hex() + ": does not fit its place in the directory"};
  }
  levels_.push_back({std::move(view), 0});
  return {};
}

Result<bool> DirectoryCursor::Next() {
  if (!started_) {
    started_ = true;
    if (root_.is_zero()) return false;
    BKFS_ASSIGN(DirectoryPtr view, trees_.Load(root_));
    levels_.push_back({std::move(view), 0});
  }
  while (!levels_.empty()) {
    Level& level = levels_.back();
    if (level.view->level() == 0) {
      if (level.next < level.view->entries()) {
        leaf_ = level.view;
        index_ = level.next++;
        return true;
      }
      levels_.pop_back();
    } else if (level.next < level.view->children()) {
      const Child child = level.view->child(level.next++);
      BKFS_TRY(Descend(child, level.view->level()));
    } else {
      levels_.pop_back();
    }
  }
  return false;
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/diff.h"

#include <memory>
#include <vector>

#include "engine/transfer/directory_cursor.h"

namespace bkfs {

namespace {

using Visit = std::function<Status(const Difference&)>;
using Proceed = std::function<Status()>;

bool SameContents(const Entry& a, const Entry& b) {
  return a.kind == b.kind && a.size == b.size && a.extents == b.extents && a.lists == b.lists &&
         a.target == b.target && a.rdev == b.rdev;
}

bool SameMetadata(const Entry& a, const Entry& b) {
  return a.mode == b.mode && a.uid == b.uid && a.gid == b.gid && a.mtime == b.mtime &&
         a.xattrs == b.xattrs;
}

// One side of a pair of directories.
class Side {
 public:
  Side(TreeSource& trees, const BlobId& dir) : cursor_(trees, dir) {}
  Status Step() {
    BKFS_ASSIGN(there_, cursor_.Next());
    return {};
  }
  // Begins with the first entry.
  Status Start() { return started_ ? OkStatus() : (started_ = true, Step()); }
  bool there() const { return there_; }
  const DirectoryCursor& at() const { return cursor_; }

 private:
  DirectoryCursor cursor_;
  bool started_ = false;
  bool there_ = false;
};

// A pair of directories that is being compared; one of them may be empty.
struct Pair {
  Pair(TreeSource& trees, const BlobId& before, const BlobId& after, std::string below)
      : left(trees, before), right(trees, after), path(std::move(below)) {}
  Side left;
  Side right;
  std::string path;  // with a '/' behind it, unless it is the root
};

class DiffRun {
 public:
  DiffRun(TreeSource& trees, const Visit& visit, const Proceed& proceed)
      : trees_(trees), visit_(visit), proceed_(proceed) {}

  // With a stack of its own: how deep the trees are, their writer decides.
  Status Run(const BlobId& before, const BlobId& after) {
    Enter(before, after, "");
    while (!stack_.empty()) {
      BKFS_TRY(proceed_());
      Pair& pair = *stack_.back();
      BKFS_TRY(pair.left.Start());
      BKFS_TRY(pair.right.Start());
      if (!pair.left.there() && !pair.right.there()) {
        stack_.pop_back();
      } else {
        BKFS_TRY(CompareNext(pair));
      }
    }
    return {};
  }

 private:
  void Enter(const BlobId& before, const BlobId& after, std::string path) {
    if (before == after) return;  // the same blob: the same tree
    stack_.push_back(std::make_unique<Pair>(trees_, before, after, std::move(path)));
  }

  Status OneSide(char what, const Entry& entry, const std::string& path) {
    Difference difference{what, path, {}, {}};
    (what == '+' ? difference.after : difference.before) = entry;
    BKFS_TRY(visit_(difference));
    if (!entry.is_directory()) return {};
    if (what == '+') {
      Enter({}, entry.directory, path + "/");
    } else {
      Enter(entry.directory, {}, path + "/");
    }
    return {};
  }

  // The entry that comes next on either side, or on both. What lies below it is entered, and comes
  // before the next call for this pair.
  Status CompareNext(Pair& pair) {
    const bool left_first = pair.left.there() &&
                            (!pair.right.there() || pair.left.at().name() < pair.right.at().name());
    const bool right_first = pair.right.there() &&
                             (!pair.left.there() || pair.right.at().name() < pair.left.at().name());
    if (left_first || right_first) {
      Side& side = left_first ? pair.left : pair.right;
      const Entry entry = side.at().entry();
      BKFS_TRY(side.Step());
      return OneSide(left_first ? '-' : '+', entry, pair.path + entry.name);
    }
    const Entry a = pair.left.at().entry();
    const Entry b = pair.right.at().entry();
    BKFS_TRY(pair.left.Step());
    BKFS_TRY(pair.right.Step());
    const std::string path = pair.path + a.name;
    if (a.is_directory() != b.is_directory()) {
      BKFS_TRY(OneSide('-', a, path));
      return OneSide('+', b, path);
    }
    if (!a.is_directory() && !SameContents(a, b)) return visit_({'M', path, a, b});
    if (!SameMetadata(a, b)) BKFS_TRY(visit_({'m', path, a, b}));
    if (a.is_directory()) Enter(a.directory, b.directory, path + "/");
    return {};
  }

  TreeSource& trees_;
  const Visit& visit_;
  const Proceed& proceed_;
  std::vector<std::unique_ptr<Pair>> stack_;
};

}  // namespace

Status DiffTrees(TreeSource& trees, const Entry& before, const Entry& after, const Visit& visit,
                 const Proceed& proceed) {
  return DiffRun(trees, visit, proceed).Run(before.directory, after.directory);
}

}  // namespace bkfs

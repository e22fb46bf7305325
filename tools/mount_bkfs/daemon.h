// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "engine/base/fd.h"
#include "engine/base/status.h"

namespace bkfs {

// The child's line to the parent that waits for the mount. In the foreground there is none, and
// everything here does nothing.
class ParentLine {
 public:
  ParentLine() = default;
  explicit ParentLine(UniqueFd fd) : fd_(std::move(fd)) {}

  // The mount answers: the parent may return. Leaves the caller's session, folder and terminal.
  void Ready();
  // It failed; the parent prints the reason and exits with its code.
  void Failed(const Status& status);
  bool in_background() const { return fd_.valid(); }

 private:
  UniqueFd fd_;
};

// Parts into parent and child, before any thread is started. In the child it returns the line; the
// parent waits for what the child reports, and gets the exit code for it in `exit_code` (-1 in the
// child).
Result<ParentLine> ForkDaemon(int& exit_code);

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/base/status.h"

namespace bkfs {

// A directory on the way to what is to be backed up, or such a thing itself.
struct SourceNode {
  std::map<std::string, SourceNode> children;  // sources below, and what leads to them
  bool is_source = false;                      // with everything below it; has no children then
};

// Where the paths that a user gave lie in a snapshot.
struct SourcePlan {
  std::string root_path;  // the directory that becomes the snapshot's root
  SourceNode root;
  std::vector<std::string> paths;  // absolute, as they are stored in the snapshot's record
};

// One directory is the snapshot's root itself; a symlink to one is followed. One file of another
// kind stands alone in the directory it lies in. Several paths keep their places below "/".
// Symlinks before a path's last name are resolved, since what is backed up lies behind them; a last
// name among several is what it is. An error names the path.
Result<SourcePlan> PlanSources(const std::vector<std::string>& paths);

}  // namespace bkfs

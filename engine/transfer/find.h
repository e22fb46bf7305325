// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "engine/repo/tree_source.h"

namespace bkfs {

// Calls `visit` for every entry below `root`, depth first in name order, with its path (no leading
// '/').
Status WalkTree(TreeSource& trees, const Entry& root,
                const std::function<Status(const std::string& path, const Entry&)>& visit);

// Those whose name (or, for a pattern with '/', whose path) matches the glob. `proceed` is asked
// before each entry, whether it matches or not; its failure ends the search.
Status FindInTree(TreeSource& trees, const Entry& root, std::string_view pattern,
                  const std::function<Status(const std::string& path, const Entry&)>& visit,
                  const std::function<Status()>& proceed);

}  // namespace bkfs

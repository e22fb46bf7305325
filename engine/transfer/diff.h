// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "engine/repo/tree_source.h"

namespace bkfs {

struct Difference {
  char what = 'M';   // '+' only in the second, '-' only in the first, 'M' contents or kind differ,
                     // 'm' metadata only
  std::string path;  // from the roots, without a leading '/'
  Entry before;      // as far as there is one
  Entry after;
};

// Calls `visit` for each path that differs, in order. Equal subtrees are not read. `proceed` is
// asked before each comparison; its failure ends the run.
Status DiffTrees(TreeSource& trees, const Entry& before, const Entry& after,
                 const std::function<Status(const Difference&)>& visit,
                 const std::function<Status()>& proceed);

}  // namespace bkfs

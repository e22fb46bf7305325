// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "engine/format/tree.h"
#include "engine/staging/journal.h"

namespace bkfs {

// Drops the tree blobs kept in `journal` that none of `roots` reaches, if their number has doubled
// since the last time. Nothing else may refer to them meanwhile.
Status SweepUnreachableTrees(Journal& journal, const std::vector<Entry>& roots);

}  // namespace bkfs

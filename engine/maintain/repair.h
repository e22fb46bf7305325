// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "engine/maintain/check.h"

namespace bkfs {

struct RepairOptions {
  CheckOptions check;                // its level is always references
  std::vector<std::string> sources;  // directories where lost contents may still be found
};

struct RepairReport {
  std::vector<std::string> repaired;  // what was done, a line each
  std::vector<std::string> left;      // what could not be done with this key, and why
  CheckReport check;                  // how things are now
};

// Checks, and mends what can be mended: gaps in the maintenance log, and objects that pass for
// entries and removals and are none; the index; packs that are damaged, whose sound frames are
// moved into new ones before maintenance gives the old ones up; and contents that are lost, where
// the same bytes are found in a file below `sources`. What cannot be saved stays as it is: reading
// it fails, and the check says which files that are. May be killed anywhere and run beside others;
// what it puts is found and used, or condemned by the next prune. kDenied without the right: a
// Master or Maintain key, and with `sources` one that may write as well.
Result<RepairReport> RepairRepository(Repository& repo, const RepairOptions& options,
                                      const CheckProgress& progress);

}  // namespace bkfs

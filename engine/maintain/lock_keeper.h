// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/repo/repository.h"

namespace bkfs {

// Keeps locked what a repository needs, in a store that locks objects (Backend::LockedUntil): what
// was put got a lock for LockSpan, and when half of that is over it gets a new one, as long as
// something needs it. Not thread-safe.
//
// Asking costs a request an object, so until when each is locked at least is remembered on this
// machine, in notes beside the index (about 40 bytes an object).
class LockKeeper {
 public:
  explicit LockKeeper(Repository& repo) : repo_(repo) {}

  struct Report {
    uint64_t extended = 0;  // locks that were made longer
    uint64_t locked = 0;    // objects that are locked long enough now
  };
  // Sees to these objects: packs/, snapshots/, keys/ or bkfs.repo. `now_ns`: by the store's clock.
  // One that is not there any more is passed over. Nothing at all for a store without locks.
  Result<Report> Extend(const std::vector<std::string>& names, int64_t now_ns);

 private:
  Repository& repo_;
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/maintain/maintainer.h"

namespace bkfs {

struct PruneOptions {
  Maintainer::Options run;
  int64_t grace_ns = 24LL * 3600 * 1'000'000'000;  // for holders without a lease
  // Condemns and deletes in one go; kBusy while anybody holds a lease.
  bool now = false;
};

struct PruneReport {
  size_t snapshots = 0;
  uint64_t packs = 0;  // before
  uint64_t bytes = 0;
  uint64_t condemned_packs = 0;  // by this run (or that would be)
  uint64_t condemned_bytes = 0;
  uint64_t deleted_packs = 0;  // by this run (or that would be)
  uint64_t deleted_bytes = 0;
  uint64_t waiting_packs = 0;  // condemned, and not deleted yet
  uint64_t waiting_bytes = 0;
  std::vector<std::string> waiting_for;  // why: holders of leases, the grace time
  uint64_t locks_extended = 0;           // of what is needed, in a store that locks
  uint64_t unused_bytes = 0;             // in packs that are partly used, about
  uint64_t missing_blobs = 0;
  std::vector<RefusedObject> refused;  // leases and log entries that do not count
};

// Deletes what no snapshot uses, beside whoever else uses the repository (doc/maintenance.md). May
// be killed anywhere and run by several machines at once. Memory: about 300 bytes a pack, a bit a
// blob, and three index segments. kCorrupt when it cannot be told what is used; kDenied without the
// right.
Result<PruneReport> Prune(Repository& repo, const PruneOptions& options,
                          const MaintenanceProgress& progress = {});

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/repo/repository.h"

namespace bkfs {

struct CopyOptions {
  std::string host;  // of this machine, for the leases
  WriterOptions writer;
  int64_t lease_ttl_ns = 3600LL * 1'000'000'000;
};

struct CopyCounts {
  uint64_t snapshots = 0;  // copied, or there already
  uint64_t files = 0;      // looked at that are no directories
  uint64_t bytes = 0;      // of regular files, looked at or known to be there with their directory
  uint64_t read_bytes = 0;
  uint64_t expected_bytes = 0;
  uint64_t failures = 0;  // snapshots that could not be copied
};

// One of the snapshots that were asked for.
struct CopyOutcome {
  SnapshotId source;
  SnapshotId copy;    // zero: it was not copied
  bool made = false;  // by this run
  Status why;         // it was not copied
};

// Told about what happens, from one thread.
class CopyObserver {
 public:
  virtual ~CopyObserver() = default;
  virtual void Done(const Snapshot& source, const CopyOutcome& outcome) = 0;
  // Often.
  virtual void Progress(const CopyCounts& counts) = 0;
  virtual bool Cancelled() = 0;
};

struct CopyResult {
  std::vector<CopyOutcome> snapshots;  // oldest first
  CopyCounts counts;
  WriterStats writer;
};

// Copies snapshots into another repository, which has keys of its own: everything is opened and
// verified in the one and sealed and signed anew in the other; pieces of files stay cut as they
// are. A record keeps its name, host, user, times, tags and paths; its parent is the copy of its
// parent. A snapshot that the destination has (same name, host and time) is not copied again, and
// contents that an earlier copy brought there are not read again (CopyState). A snapshot whose data
// is damaged is passed over; other errors end the run: snapshots copied before stay.
//
// Both repositories may be in use and under maintenance meanwhile: it works under leases
// (doc/maintenance.md). kUnavailable when the destination's maintenance had given up waiting: to be
// run again. kDenied when a key may not read or write; kInvalid when both are the same repository;
// kBusy when another copy between them runs here; kInterrupted.
Result<CopyResult> RunCopy(Repository& from, Repository& to, const std::vector<SnapshotId>& which,
                           const CopyOptions& options, CopyObserver& observer);

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/repo/repository.h"

namespace bkfs {

struct RestoreOptions {
  bool remove_others = false;  // --delete: what is in DEST and not in the snapshot goes
  bool dry_run = false;
  bool verify = false;  // compare contents, of files that look the same and of those just written
  size_t threads = 2;
  std::vector<std::string> never;  // directories that are not written into nor removed: the
                                   // repository itself, caches
};

struct RestoreCounts {
  uint64_t files = 0;    // entries looked at that are no directories
  uint64_t written = 0;  // files and the like that were made or replaced
  uint64_t kept = 0;     // there already, with equal size and time (or contents)
  uint64_t removed = 0;
  uint64_t bytes = 0;       // written
  uint64_t done_bytes = 0;  // written, or kept
  uint64_t failures = 0;
  uint64_t damaged = 0;  // of the failures, those that are damage of the repository
};

// Told about what happens, from several threads.
class RestoreObserver {
 public:
  virtual ~RestoreObserver() = default;
  // An entry that was not restored, or not with everything; the restore goes on.
  virtual void Failed(const std::string& path, const Status& why) = 0;
  // An entry that is written, updated or removed (or would be). `path` is below the destination.
  virtual void Changed(const std::string& path, std::string_view what) = 0;
  // Some times a second, and at the end.
  virtual void Progress(const RestoreCounts& counts) = 0;
  virtual bool Cancelled() = 0;
};

// Restores `source` (a directory: its contents; anything else: itself) into the directory
// `destination`, which is made if missing. Nothing is followed out of it: symlinks found there are
// never gone through. A file is written beside its place and renamed, so that no half file ever has
// the right name. Without remove_others nothing of another kind is put in a directory's place, and
// no directory in that of anything else. kInvalid when the destination is no directory or lies in
// one of `never`; kInterrupted when cancelled.
Result<RestoreCounts> RunRestore(Repository& repo, const Entry& source,
                                 const std::string& destination, const RestoreOptions& options,
                                 RestoreObserver& observer);

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/repo/repository.h"
#include "engine/transfer/glob.h"

namespace bkfs {

struct BackupOptions {
  // One directory: its contents are the snapshot's root. One file: it stands in the root. Several
  // paths keep their full paths. engine/transfer/source_paths.h has the details.
  std::vector<std::string> paths;
  std::string name;  // series
  std::string host;
  std::string user;
  std::vector<std::string> tags;
  ExcludeList excludes;  // not asked about the paths above
  bool one_file_system = false;
  std::vector<std::string> never;  // directories left out: the repository itself, caches
  size_t threads = 2;              // read, cut and hash
  WriterOptions writer;
  int64_t lease_ttl_ns = 3600LL * 1'000'000'000;
};

struct BackupCounts {
  uint64_t files = 0;  // everything that is no directory, so far
  uint64_t directories = 0;
  uint64_t bytes = 0;       // of regular files
  uint64_t done_bytes = 0;  // of those whose contents are stored or were known
  uint64_t read_files = 0;  // those that had to be read
  uint64_t read_bytes = 0;
  uint64_t failures = 0;        // source files that could not be read, or changed meanwhile
  uint64_t expected_bytes = 0;  // what the previous snapshot had; 0: unknown
};

// Told about what happens, from several threads.
class BackupObserver {
 public:
  virtual ~BackupObserver() = default;
  // A source file that is not in the snapshot, or not as it should be; the backup goes on.
  virtual void SourceFailed(const std::string& path, const Status& why) = 0;
  // Some times a second, and at the end.
  virtual void Progress(const BackupCounts& counts) = 0;
  virtual bool Cancelled() = 0;
};

struct BackupResult {
  SnapshotId snapshot;
  BackupCounts counts;
  TreeTotals totals;
  WriterStats writer;
};

// Makes a snapshot of the paths. A file whose size, mtime and ctime are those of this key's and
// host's last snapshot of the series, and whose stored contents are all there, is not read. Errors
// of single source files go to the observer; an error of the repository, or of a path given, ends
// it without a snapshot. kInterrupted when cancelled. Memory does not grow with the number of files
// but by the names of the directories on the way (and a record for each file with several names).
// Maintenance may go on beside it: it works under a lease (doc/maintenance.md). kUnavailable when
// that has been ended because this machine was not heard of for long: to be run again.
Result<BackupResult> RunBackup(Repository& repo, const BackupOptions& options,
                               BackupObserver& observer);

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/maintain/read_selection.h"
#include "engine/repo/repository.h"

namespace bkfs {

// How far a check looks; each level includes those before it.
enum class CheckLevel : uint8_t {
  kStructure,   // names, sizes, and checksums of small objects; any key can
  kSignatures,  // who made what: keys, records, removals, the maintenance log, leases, the index
  kReferences,  // index against packs, and that everything snapshots refer to is there
};
Result<CheckLevel> ParseCheckLevel(std::string_view word);  // structure|signatures|references

// An object of the store that is not as it must be.
struct ObjectProblem {
  std::string object;
  Status why;
};
// A file of a snapshot that cannot be restored whole; a directory (its path ends with '/') that is
// lost with all that is in it.
struct AffectedFile {
  SnapshotId snapshot;
  std::string series;
  std::string path;
  Status why;
};

struct CheckOptions {
  CheckLevel level = CheckLevel::kReferences;
  ReadSelection read;
  std::string host;  // for its lease
  std::string program;
  int64_t lease_ttl_ns = 3600LL * 1'000'000'000;
  std::function<bool()> cancelled;  // asked often; may be empty
  // Gets the affected files, however many they are. Empty: they are kept in the report.
  std::function<void(const AffectedFile&)> on_file;
};

struct CheckReport {
  std::vector<ObjectProblem> objects;  // each object once
  std::vector<AffectedFile> files;
  std::vector<std::string> notes;  // what was not checked, and why; what is odd and no damage
  uint64_t affected_files = 0;     // also those that went to on_file
  uint64_t packs = 0;
  uint64_t pack_bytes = 0;
  uint64_t segments = 0;
  uint64_t snapshots = 0;
  uint64_t trees = 0;  // directory blobs visited
  uint64_t blobs = 0;  // references looked up
  uint64_t read_bytes = 0;
  uint64_t verified_packs = 0;                // by this run: every byte was as it must be
  uint64_t never_verified = 0;                // of the packs there are, on this machine
  std::optional<int64_t> oldest_verified_ns;  // of the others; empty: there are none
  bool read_all = false;                      // what was to be read has been read
  bool damaged() const { return !objects.empty() || affected_files > 0; }
};

using CheckProgress = std::function<void(std::string_view stage, uint64_t done, uint64_t of)>;

// Checks a repository, beside whoever else uses it, under a reader's lease where the store takes
// one. What the key cannot look at is left out with a note. What is found damaged is looked at
// again when objects have come or gone meanwhile, so that a prune beside it is no damage. Memory:
// about 100 bytes a pack and a few bits a blob, whatever the number of snapshots and files (and 32
// bytes for each pack to be read). An error is returned only when the store itself fails;
// kInterrupted when cancelled. `progress` (may be empty) gets a stage and how far it is.
Result<CheckReport> CheckRepository(Repository& repo, const CheckOptions& options,
                                    const CheckProgress& progress);

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/repo/repository.h"

namespace bkfs {

struct CheckOptions {
  bool read_data = false;  // read, decrypt and hash every byte, as far as the key can
};

// An object of the store that is not as it must be.
struct ObjectProblem {
  std::string object;
  Status why;
};
// A file (or directory) of a snapshot that cannot be restored whole.
struct AffectedFile {
  SnapshotId snapshot;
  std::string series;
  std::string path;
  Status why;
};

struct CheckReport {
  std::vector<ObjectProblem> objects;
  std::vector<AffectedFile> files;
  std::vector<std::string> notes;  // what was not checked, and why; orphans
  uint64_t packs = 0;
  uint64_t pack_bytes = 0;
  uint64_t segments = 0;
  uint64_t snapshots = 0;
  uint64_t trees = 0;  // directory blobs visited
  uint64_t blobs = 0;  // references looked up
  uint64_t read_bytes = 0;
  bool damaged() const { return !objects.empty() || !files.empty(); }
};

// Checks a repository: keys and their signatures; packs against their names and footers (with
// read_data every byte); index segments; snapshot records and their chain; and that everything each
// snapshot refers to is there. What the key cannot look at is left out with a note. Memory: 48
// bytes a directory blob and 40 bytes a pack. An error is returned only when the store itself
// fails. `progress` (may be empty) gets a stage and how far it is.
Result<CheckReport> CheckRepository(
    Repository& repo, const CheckOptions& options,
    const std::function<void(std::string_view stage, uint64_t done, uint64_t of)>& progress);

}  // namespace bkfs

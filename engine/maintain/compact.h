// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/maintain/maintainer.h"
#include "engine/repo/segment_writer.h"

namespace bkfs {

struct CompactOptions {
  Maintainer::Options run;
  // A pack is emptied when at least this much of it is unused, in percent...
  double threshold = 10;
  // ... or when it is smaller than this part of the target; and always when it is condemned and
  // still used.
  double small = 0.5;
  uint64_t max_bytes = UINT64_MAX;  // of packs read in one run
  uint64_t pack_target = 32ULL << 20;
  int level = 3;  // zstd, for what is compressed anew
  SegmentLimits segments;
  double max_unused = -1;  // percent of the store: stops when there is no more; below 0: all
};

struct CompactReport {
  uint64_t packs_emptied = 0;
  uint64_t bytes_read = 0;  // by this machine; of a dry run: what is in the packs
  uint64_t packs_written = 0;
  uint64_t bytes_written = 0;     // by this machine
  uint64_t bytes_copied = 0;      // by the store itself
  uint64_t frames_moved = 0;      // as ciphertext
  uint64_t frames_rewritten = 0;  // opened, and what is used of them sealed anew
  uint64_t segments_before = 0;
  uint64_t segments_after = 0;
  uint64_t unused_before = 0;  // bytes in packs that are partly used, about
  uint64_t packs_skipped = 0;  // damaged ones
};

// Moves what is used of half-empty and small packs into full ones, merges index segments, and
// condemns the old packs; they stay readable until prune deletes them (doc/maintenance.md, M6). A
// frame that is used whole is moved as ciphertext with its key slot; one that is used in part is
// opened and written anew if the key may read it, and moved whole otherwise. A store that can
// copies frames itself, and only footers, and frames that are opened, travel. May be killed
// anywhere. Memory: about 300 bytes a pack, a bit a blob, three packs, and two index segments.
Result<CompactReport> Compact(Repository& repo, const CompactOptions& options,
                              const MaintenanceProgress& progress = {});

}  // namespace bkfs

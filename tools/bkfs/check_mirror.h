// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "backends/decorators/mirror_backend.h"
#include "engine/maintain/check.h"
#include "tools/bkfs/progress.h"

namespace bkfs {

// How a repository and its mirror compare: the part of `bkfs check` that is about the mirror.
class MirrorCheck {
 public:
  MirrorCheck(MirrorBackend& store, std::string url) : store_(store), url_(std::move(url)) {}

  // Before all else: what the mirror is known to have missed it gets now. A failure is kept for the
  // report; kInterrupted is returned.
  Status CatchUp(ProgressLine& line);
  // Names, sizes, and the bytes of what is not named by its content; of packs and the like those
  // that `read` selects.
  Status Compare(const ReadSelection& read, ProgressLine& line);
  // Puts right what Compare found, and those of `damaged` that the mirror has whole.
  Status Mend(const std::vector<ObjectProblem>& damaged, ProgressLine& line);

  bool differs() const { return !found_.agree(); }
  bool failed() const { return !failure_.ok(); }
  nlohmann::json Json() const;
  void Print() const;

 private:
  // For the report, unless it ends the check.
  Status Keep(const Status& failure);

  MirrorBackend& store_;
  const std::string url_;
  Status failure_;
  MirrorComparison found_;
  uint64_t read_objects_ = 0;
  MirrorMended mended_;
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/clock.h"
#include "engine/base/mutex.h"

namespace bkfs {

// How far a command is, on stderr: one line that is written over on a terminal, a line every ten
// seconds elsewhere, nothing when quiet. Thread-safe.
class ProgressLine {
 public:
  ProgressLine(Clock& clock, bool quiet);
  ~ProgressLine();  // clears the line
  // `done` of `total` bytes (0: total unknown), with rate and remaining time worked out here.
  void Update(const std::string& what, uint64_t done, uint64_t total) BKFS_EXCLUDES(mutex_);
  // `done` of `total` things that are not bytes: without a rate.
  void Count(const std::string& what, uint64_t done, uint64_t total) BKFS_EXCLUDES(mutex_);
  // A message that must not be written over.
  void Say(const std::string& message) BKFS_EXCLUDES(mutex_);
  // Takes the line away for something that is written by other means.
  void Clear() BKFS_EXCLUDES(mutex_);

 private:
  bool IsDue() BKFS_REQUIRES(mutex_);
  void Show(std::string line) BKFS_REQUIRES(mutex_);
  void ClearLine() BKFS_REQUIRES(mutex_);

  Clock& clock_;
  const bool quiet_;
  const bool terminal_;
  const int64_t start_;
  Mutex mutex_;
  int64_t next_ BKFS_GUARDED_BY(mutex_) = 0;
  size_t shown_ BKFS_GUARDED_BY(mutex_) = 0;
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/status.h"

namespace bkfs {

// Time is handed in, so that tests hold it. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t WallNanos() const = 0;       // since 1970-01-01 UTC; may jump
  virtual int64_t MonotonicNanos() const = 0;  // never goes back
};

class SystemClock final : public Clock {
 public:
  int64_t WallNanos() const override;
  int64_t MonotonicNanos() const override;
};

// RFC 3339 in UTC, e.g. "2026-11-21T08:15:30.123456789Z"; fraction left out when it is zero.
std::string FormatRfc3339(int64_t wall_nanos);
// Accepts "YYYY-MM-DD", "YYYY-MM-DDTHH:MM[:SS[.frac]][Z|+hh:mm]" ('T' may be a space; UTC unless a
// zone is given).
Result<int64_t> ParseRfc3339(std::string_view text);

}  // namespace bkfs

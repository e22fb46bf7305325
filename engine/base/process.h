// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

namespace bkfs {

// What tells one process from all others, also after its number was given to another one.
struct ProcessIdentity {
  // Where and since when the number counts: the boot's random id, with the process namespace mixed
  // in; zeros: unknown.
  std::array<uint8_t, 16> boot{};
  uint64_t pid = 0;
  uint64_t started = 0;  // ticks since boot; 0: unknown
};

ProcessIdentity ThisProcess();

// Whether the process with this number, begun at that tick, runs on this machine. True when it
// cannot be told.
bool IsRunning(uint64_t pid, uint64_t started);

}  // namespace bkfs

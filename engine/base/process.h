// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

namespace bkfs {

// What tells one process from all others, also after its number was given to another one.
struct ProcessIdentity {
  std::array<uint8_t, 16> boot{};  // random for each boot of a machine; zeros: unknown
  uint64_t pid = 0;
  uint64_t started = 0;  // ticks since boot; 0: unknown
};

ProcessIdentity ThisProcess();

// Whether the process with this number, begun at that tick, runs on this machine. True when it
// cannot be told.
bool IsRunning(uint64_t pid, uint64_t started);

}  // namespace bkfs

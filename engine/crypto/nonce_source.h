// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "engine/base/bytes.h"

namespace bkfs {

// Nonces that never repeat, without a system call for each: 64 random bits drawn by this source,
// then a 32-bit counter; new random bits when the counter is used up. Two sources (threads,
// processes, restarts) meet only if their 64 random bits do: with 2^20 sources under one key that
// is 1 in 2^25.
//
// A forked child must not repeat its parent's numbers: the state lies in a page that the kernel
// wipes in the child, and wiped state draws anew. Where the kernel cannot do that, each nonce is
// wholly random. Not thread-safe: one per thread.
class NonceSource {
 public:
  NonceSource();
  ~NonceSource();
  NonceSource(const NonceSource&) = delete;
  NonceSource& operator=(const NonceSource&) = delete;

  void Next(uint8_t* out12);

 private:
  struct State {
    uint64_t seeded;
    uint64_t prefix;
    uint64_t counter;
  };
  State* state_ = nullptr;  // null: the kernel has no wipe on fork
};

}  // namespace bkfs

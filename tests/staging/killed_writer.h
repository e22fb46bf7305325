// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tests/support/test_repository.h"

// What killed_writer writes and staging_crash_test looks for.
namespace bkfs {

constexpr int kFiles = 400;

inline Bytes DataOf(uint64_t round, int i) {
  const size_t size = i % 7 == 0 ? 900'000 : static_cast<size_t>(i) * 37;
  return PseudoRandom(size, round * 1000 + static_cast<uint64_t>(i));
}

}  // namespace bkfs

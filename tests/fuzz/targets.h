// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

#include "engine/base/bytes.h"

namespace bkfs::fuzz {

// One function for each decoder of bytes that come from a store, a disk or a person. Each must come
// back for any input, and checks what it can of what was decoded (an invariant that does not hold
// aborts). Objects that are sealed or signed get the input both as it is and, sealed or signed with
// fixed keys, as their inside: a fuzzer does not guess signatures.
struct Target {
  std::string_view name;
  void (*run)(ByteView input);
};
std::span<const Target> Targets();
const Target* FindTarget(std::string_view name);

// Valid inputs to begin from.
struct Seed {
  std::string_view target;
  std::string_view name;
  Bytes input;
};
std::vector<Seed> MakeSeeds();

}  // namespace bkfs::fuzz

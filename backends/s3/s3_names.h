// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace bkfs {

// Whether only one content is ever put under this name of the repository (doc/format.md section 2):
// the name is the content's hash, or random and known to the one who writes it. Two who put such
// a name at once put the same bytes, so that it does not matter whose come last.
bool HasOneWriter(std::string_view name);

// Whether the name is of a lease or a state of one: random, and nothing can be there before.
bool IsOfLease(std::string_view name);

// Whether a store that locks what is to outlive a thief locks this.
bool IsLockedWhenPut(std::string_view name);

}  // namespace bkfs

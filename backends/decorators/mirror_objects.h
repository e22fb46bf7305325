// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

#include "engine/repo/backend.h"

namespace bkfs {

// Leases and fences end by themselves and mean nothing in another store.
bool IsMirrored(std::string_view name);
// Packs, index segments and snapshots: their names are the hashes of their bytes.
bool IsNamedByContent(std::string_view name);
// Whether an object of such a name consists of these bytes; false for any other name.
bool HashesToName(std::string_view name, std::span<const ByteView> parts);
inline bool HashesToName(std::string_view name, ByteView bytes) {
  return HashesToName(name, std::span(&bytes, 1));
}

// Makes `to` hold this object with these bytes, whatever it holds under that name. An object that
// is replaced is missing for a moment.
Status PutInstead(Backend& to, const std::string& name, std::span<const ByteView> parts);

enum class Copied {
  kDone,     // or it was there
  kGone,     // `from` has no such object (any more)
  kDamaged,  // what `from` has does not hash to its name: it stays where it is
};
// The same with the bytes that `from` has; one object is in memory meanwhile. When it is removed
// from `from` beside this, it is not left behind in `to`.
Result<Copied> CopyObject(Backend& from, Backend& to, const std::string& name);

}  // namespace bkfs

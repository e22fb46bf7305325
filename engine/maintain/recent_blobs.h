// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "engine/base/ids.h"

namespace bkfs {

// Blobs that a walk has met and need not look up again: snapshots that follow each other name
// mostly the same. A table of fixed size (32 MiB), in which the newer of two that want one place
// wins; so it forgets, and never says what is not so. Not thread-safe.
class RecentBlobs {
 public:
  RecentBlobs() : ids_(kPlaces) {}
  bool Contains(const BlobId& id) const { return !id.is_zero() && ids_[PlaceOf(id)] == id; }
  void Add(const BlobId& id) { ids_[PlaceOf(id)] = id; }

 private:
  static constexpr size_t kPlaces = size_t{1} << 20;
  // Ids are keyed hashes: any bits of them will do.
  static size_t PlaceOf(const BlobId& id) { return IdHash()(id) % kPlaces; }

  std::vector<BlobId> ids_;
};

}  // namespace bkfs

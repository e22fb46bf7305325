// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/maintain/recent_blobs.h"
#include "engine/repo/repository.h"

namespace bkfs {

// A pack and how much of it is used.
struct PackUse {
  PackId id;
  PackKind kind = PackKind::kContents;
  KeyId signer;
  uint64_t size = 0;          // of the object
  uint64_t plain = 0;         // bytes of all its blobs
  uint64_t frames_plain = 0;  // bytes in its frames
  uint64_t used_plain = 0;
  uint32_t blobs = 0;
  uint32_t used_blobs = 0;
  uint64_t first_bit = 0;  // of its blobs in the bitmap
  bool condemned = false;
  bool missing = false;  // not in the store, or cut short there, or doomed: its copies do not count
};

// Bytes of the object, about, that a key could free by moving what is used: one that opens its
// frames (`opens`) frees what is unused inside of them too.
uint64_t UnusedBytes(const PackUse& pack, bool opens);

// Which blobs of which packs are used by a set of directories: one bit a blob, about 300 bytes a
// pack, and 32 MiB, whatever the number of snapshots. Not thread-safe.
class UsageMarks {
 public:
  // What is in the index now. `store` maps packs to their sizes in the store.
  static Result<UsageMarks> Begin(Repository& repo,
                                  const std::unordered_map<PackId, uint64_t, IdHash>& store,
                                  const CondemnedPacks& condemned);

  // Marks a directory, and everything below it that is not marked yet. kCorrupt when a directory
  // cannot be read; contents that are nowhere are counted in missing().
  Status MarkTree(const BlobId& directory);
  // The same for what a lease pins: what cannot be read is passed over. Its holder may have pinned
  // it before looking whether it is there at all, and makes sure of it himself.
  Status MarkPinned(const BlobId& directory);

  const std::vector<PackUse>& packs() const { return packs_; }
  uint64_t missing() const { return missing_; }
  uint64_t directories() const { return directories_; }
  // Whether a blob of a pack is marked; `ordinal` is its place in the footer.
  bool IsUsed(const PackUse& pack, uint32_t ordinal) const;
  const PackUse* Find(const PackId& id) const;

 private:
  explicit UsageMarks(Repository& repo) : repo_(&repo) {}
  enum class Mark { kNew, kKnown, kMissing };
  Result<Mark> MarkBlob(PackKind kind, const BlobId& id);
  Status MarkDirectory(const BlobId& id, std::vector<BlobId>& below);
  Status MarkBelow(const BlobId& directory, bool pass_over);
  Status MarkLists(std::vector<ListRef> lists);
  Status MarkExtents(const std::vector<Extent>& extents);

  Repository* repo_;
  std::vector<PackUse> packs_;
  std::vector<uint32_t> by_number_;  // pack number of the index cache -> place in packs_ + 1
  std::unordered_map<PackId, uint32_t, IdHash> by_id_;
  std::vector<uint64_t> bits_;
  RecentBlobs recent_;  // contents that are marked
  uint64_t missing_ = 0;
  uint64_t directories_ = 0;
};

}  // namespace bkfs

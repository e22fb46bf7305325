// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "engine/maintain/frame_examiner.h"

namespace bkfs {

// What is left of a pack.
struct RescuedBlobs {
  uint64_t blobs = 0;
  std::vector<IndexedPack> packs;  // in the store now; no segment lists them. One, hardly ever two
};

// Puts the blobs that `verdict` says can be read into a new pack: their frames as they are, with
// the key slots they need, signed by this repository's key (Master or Maintain).
Result<RescuedBlobs> RescuePack(Repository& repo, const PackFooter& footer,
                                const FrameVerdict& verdict, ByteView object);

// Cuts the files below directories as a backup does, and has the pieces that are wanted stored
// again. Not thread-safe.
class SourceSearch {
 public:
  // `wanted` loses what is found. References must outlive it.
  SourceSearch(Repository& repo, BlobWriter& writer, std::set<BlobId>& wanted,
               std::function<Status(const std::string& path)> tick);
  // What cannot be read there is passed over. Links are not followed. Errors are the repository's,
  // and of `tick`, which is called for each file.
  Status Search(const std::string& directory);

 private:
  Status ReadFile(const std::string& path);
  Status ReadRange(int fd, uint64_t from, uint64_t to);
  Status Cut(Bytes& buffer, bool last);

  BlobWriter& writer_;
  std::set<BlobId>& wanted_;
  const std::function<Status(const std::string&)> tick_;
  const Secret id_key_;
  const Chunker chunker_;
};

}  // namespace bkfs

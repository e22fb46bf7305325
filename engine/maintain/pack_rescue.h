// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "engine/maintain/frame_examiner.h"

namespace bkfs {

// A pack made of what is left of another one.
struct RescuedPack {
  Bytes object;
  PackFooter footer;
  IndexedPack indexed;
};

// The blobs that `verdict` says can be read, in a new pack: their frames as they are, with the key
// slots they need, signed by this repository's key (Master or Maintain). nullopt: there are none.
std::optional<RescuedPack> RescuePack(Repository& repo, const PackFooter& footer,
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

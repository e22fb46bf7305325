// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

#include "engine/codec/chunker.h"
#include "engine/repo/blob_writer.h"
#include "engine/repo/tree_source.h"

namespace bkfs {

// Stores the contents of open files. Thread-safe.
class ContentsStorer {
 public:
  // `local`, if not null, keeps a copy of every tree blob. References must outlive it.
  ContentsStorer(BlobWriter& blobs, const Chunker& chunker, LocalTrees* local)
      : blobs_(blobs), chunker_(chunker), local_(local) {}

  // Told how many bytes were read since the last time; an error ends the reading.
  using Tick = std::function<Status(uint64_t bytes)>;

  // Reads the first `size` bytes of `fd` in pieces, holes as holes, and puts them into the entry:
  // its extents or lists, and as its size what was there. An error of the file goes to `source`
  // (the entry is of no use then); errors of the repository, and of `tick`, are returned.
  Status Store(int fd, uint64_t size, const Tick& tick, Entry& entry, Status& source);

  // Whether everything a stored entry's contents consist of is in the repository and may be relied
  // upon, so that another snapshot may refer to it.
  Result<bool> IsStored(const Entry& entry, TreeSource& trees);

 private:
  struct Reading;
  Status StoreRange(Reading& reading, uint64_t from, uint64_t to);
  Status CutBuffer(Reading& reading, bool last);
  Result<bool> AreStored(const std::vector<Extent>& extents);
  Result<bool> AreListsStored(const std::vector<ListRef>& lists, TreeSource& trees, int depth);

  BlobWriter& blobs_;
  const Chunker& chunker_;
  LocalTrees* local_;
};

}  // namespace bkfs

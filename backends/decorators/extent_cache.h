// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "engine/base/mutex.h"

namespace bkfs {

// Ranges of objects that never change, on local disk, bounded in bytes. What it holds is what it
// was given, sealed objects: it needs no key and hides nothing. Each 64 KiB is checked when it is
// read; what is damaged is as if it were not there, and so is everything after an error. It may be
// deleted at any time. Thread-safe. Memory: about 150 bytes a range.
//
//   <dir>/lock       held by the one process that uses it
//   <dir>/<n>.seg    ranges, one after the other; the oldest file goes first, and what was read of
//   it
//                    since it came is written again (FIFO with reinsertion, as CLOCK does it)
class ExtentCache {
 public:
  // kBusy when another process has it. `log` outlives it.
  static Result<std::unique_ptr<ExtentCache>> Open(const std::string& directory,
                                                   uint64_t limit_bytes, Logger& log);

  // True when it had all of that range, and filled `out`.
  bool Read(const std::string& object, uint64_t offset, MutableByteView out) BKFS_EXCLUDES(mutex_);
  bool Has(const std::string& object, uint64_t offset, uint64_t length) BKFS_EXCLUDES(mutex_);
  // Keeps what it does not have yet of that range.
  void Keep(const std::string& object, uint64_t offset, ByteView bytes) BKFS_EXCLUDES(mutex_);
  void Forget(const std::string& object) BKFS_EXCLUDES(mutex_);
  uint64_t bytes() BKFS_EXCLUDES(mutex_);  // of files

 private:
  struct Segment {
    uint64_t number = 0;
    std::string path;
    UniqueFd fd;
    uint64_t size = 0;
  };
  using SegmentPtr = std::shared_ptr<Segment>;
  struct Extent {
    SegmentPtr segment;
    uint64_t at = 0;  // of its first block in the file
    uint64_t length = 0;
    bool used = false;
  };
  using Extents = std::map<uint64_t, Extent>;  // by offset in the object; disjoint
  // A part of a range that one extent has.
  struct Part {
    Extent extent;
    uint64_t skip = 0;
    uint64_t length = 0;
  };

  ExtentCache(std::string directory, uint64_t limit, Logger& log);
  Status Load();
  Status LoadSegment(const SegmentPtr& segment) BKFS_EXCLUDES(mutex_);
  // The parts that make up the range; empty when something is missing.
  std::vector<Part> Find(const std::string& object, uint64_t offset, uint64_t length)
      BKFS_EXCLUDES(mutex_);
  static bool ReadPart(const Part& part, uint8_t* out);
  void Append(const std::string& object, uint64_t offset, ByteView bytes) BKFS_EXCLUDES(mutex_);
  Status WriteRecord(const SegmentPtr& segment, const std::string& object, uint64_t offset,
                     ByteView bytes, uint64_t& first_block) BKFS_REQUIRES(mutex_);
  Result<SegmentPtr> SegmentFor(uint64_t bytes) BKFS_REQUIRES(mutex_);
  void Insert(const std::string& object, uint64_t offset, Extent extent) BKFS_REQUIRES(mutex_);
  // Drops the oldest files; what of them is worth keeping.
  struct Survivor {
    std::string object;
    uint64_t offset = 0;
    Bytes bytes;
  };
  std::vector<Survivor> Shrink() BKFS_REQUIRES(mutex_);
  void Fail(const Status& status) BKFS_REQUIRES(mutex_);

  const std::string directory_;
  const uint64_t limit_;
  const uint64_t segment_limit_;
  Logger& log_;
  UniqueFd lock_;
  Mutex mutex_;  // held over writes to the page cache, not over reads
  bool failed_ BKFS_GUARDED_BY(mutex_) = false;  // takes no more
  uint64_t bytes_ BKFS_GUARDED_BY(mutex_) = 0;
  uint64_t next_ BKFS_GUARDED_BY(mutex_) = 1;
  std::deque<SegmentPtr> segments_ BKFS_GUARDED_BY(mutex_);  // oldest first, the last is written to
  std::unordered_map<std::string, Extents> objects_ BKFS_GUARDED_BY(mutex_);
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <list>
#include <memory>
#include <string>
#include <unordered_map>

#include "engine/base/fd.h"
#include "engine/base/mutex.h"

namespace bkfs {

// The files last read from, kept open, so that the many small reads of one pack cost one open().
// Bounded: the one unused for longest goes. Thread-safe.
class HotFiles {
 public:
  // Shared, because a reader may still be at work on a file when it falls out.
  using File = std::shared_ptr<const UniqueFd>;

  explicit HotFiles(size_t limit) : limit_(limit) {}

  File Find(const std::string& name) BKFS_EXCLUDES(mutex_);  // nullptr if not kept
  void Keep(const std::string& name, File file) BKFS_EXCLUDES(mutex_);
  void Drop(const std::string& name) BKFS_EXCLUDES(mutex_);

 private:
  struct Entry {
    std::string name;
    File file;
  };

  const size_t limit_;
  Mutex mutex_;                                       // a leaf
  std::list<Entry> entries_ BKFS_GUARDED_BY(mutex_);  // last used first
  std::unordered_map<std::string, std::list<Entry>::iterator> by_name_ BKFS_GUARDED_BY(mutex_);
};

}  // namespace bkfs

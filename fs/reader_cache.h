// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <list>
#include <memory>

#include "engine/base/mutex.h"
#include "engine/repo/file_reader.h"
#include "fs/types.h"

namespace bkfs {

// Readers of the files read last, by inode: the same whether the kernel opens a file or (in a mount
// that cannot write) was told that it need not. A reader of a huge file holds about 1 MiB, so few
// are kept. Thread-safe; the lock is not held while a reader is made.
class ReaderCache {
 public:
  using ReaderPtr = std::shared_ptr<FileReader>;  // shared by the cache and reads at work

  explicit ReaderCache(size_t limit) : limit_(limit) {}
  Result<ReaderPtr> GetOrMake(Ino ino, const std::function<Result<ReaderPtr>()>& make)
      BKFS_EXCLUDES(mutex_);

 private:
  const size_t limit_;
  Mutex mutex_;                                                           // a leaf
  std::list<std::pair<Ino, ReaderPtr>> readers_ BKFS_GUARDED_BY(mutex_);  // last used first
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "fs/reader_cache.h"

namespace bkfs {

Result<ReaderCache::ReaderPtr> ReaderCache::GetOrMake(
    Ino ino, const std::function<Result<ReaderPtr>()>& make) {
  {
    MutexLock lock(mutex_);
    for (auto it = readers_.begin(); it != readers_.end(); ++it) {
      if (it->first != ino) continue;
      readers_.splice(readers_.begin(), readers_, it);
      return it->second;
    }
  }
  BKFS_ASSIGN(ReaderPtr reader, make());
  MutexLock lock(mutex_);
  for (const auto& [known, other] : readers_) {
    if (known == ino) return other;  // another thread was faster
  }
  readers_.emplace_front(ino, reader);
  if (readers_.size() > limit_) readers_.pop_back();
  return reader;
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/mutex.h"
#include "engine/repo/backend.h"

namespace bkfs {

// Reads many objects one after the other: from a store that is far, the next ones come while the
// caller works on this one. Used by one thread. Ends, at its destruction, what is under way.
class ObjectReader {
 public:
  // `names`: what will be asked for, in that order; some may be left out. `ahead`: how many objects
  // are fetched, or wait to be asked for, at a time. The store outlives it.
  ObjectReader(Backend& store, std::vector<std::string> names, size_t ahead = 16);
  ~ObjectReader();
  ObjectReader(const ObjectReader&) = delete;
  ObjectReader& operator=(const ObjectReader&) = delete;

  // As Backend::Get. Names that were not announced, or come too late, are fetched now.
  Result<Bytes> Get(const std::string& name) BKFS_EXCLUDES(mutex_);

 private:
  void Fetch() BKFS_EXCLUDES(mutex_);

  Backend& store_;
  const std::vector<std::string> names_;
  const size_t ahead_;
  std::atomic<bool> stopping_ = false;
  Mutex mutex_;
  CondVar changed_;
  size_t next_ BKFS_GUARDED_BY(mutex_) = 0;   // to be fetched
  size_t asked_ BKFS_GUARDED_BY(mutex_) = 0;  // everything before has been asked for
  std::vector<std::optional<Result<Bytes>>> objects_ BKFS_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <thread>

#include "engine/base/mutex.h"
#include "engine/staging/staging.h"
#include "fs/catalog_keeper.h"

namespace bkfs {

// The kernel keeps the names below /incoming for good, since nobody but it changes them. Those that
// have gone by themselves (Staging::TakeGone) are told to it within a second.
class GoneNames {
 public:
  explicit GoneNames(Staging& staging) : staging_(staging) {}  // `staging` outlives it
  ~GoneNames() { Stop(); }
  GoneNames(const GoneNames&) = delete;
  GoneNames& operator=(const GoneNames&) = delete;

  // `notifier` outlives Stop.
  void Start(KernelNotifier& notifier) BKFS_EXCLUDES(mutex_);
  void Stop() BKFS_EXCLUDES(mutex_);

 private:
  void Run(KernelNotifier& notifier) BKFS_EXCLUDES(mutex_);

  Staging& staging_;
  Mutex mutex_;  // a leaf
  CondVar wake_;
  bool stopping_ BKFS_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace bkfs

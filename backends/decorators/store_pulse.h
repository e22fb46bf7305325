// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <string>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mutex.h"
#include "engine/base/transfer.h"
#include "engine/repo/backend.h"

namespace bkfs {

// Whether a store is there, by what its operations meet. An answer is a sign of life, whatever it
// says, and so are bytes that came; bytes that went are one until something fails, since a line
// that is cut takes some all the same. Told to the log once when there has been none for
// `away_ns`, and once more when it is back. Thread-safe.
class StorePulse {
 public:
  StorePulse(int64_t away_ns, Logger& log) : away_ns_(away_ns), log_(log) {}

  // An operation under way: while none is, silence says nothing.
  class Operation final : public TransferWatch {
   public:
    explicit Operation(StorePulse& pulse);
    ~Operation() override;
    Operation(const Operation&) = delete;
    Operation& operator=(const Operation&) = delete;
    Status Sending(uint64_t bytes) override;
    Status Received(uint64_t bytes) override;

   private:
    StorePulse& pulse_;
    const WatchScope scope_;
  };

  void Answered();
  void Failed(const std::string& store, const Status& failure) BKFS_EXCLUDES(mutex_);
  StoreHealth Health() BKFS_EXCLUDES(mutex_);

 private:
  void NoteLife() BKFS_EXCLUDES(mutex_);

  const SystemClock clock_;
  const int64_t away_ns_;
  Logger& log_;
  std::atomic<int64_t> life_ns_ = 0;  // the last sign of it
  std::atomic<bool> failing_ = false;
  Mutex mutex_;  // a leaf
  uint64_t under_way_ BKFS_GUARDED_BY(mutex_) = 0;
  Status failure_ BKFS_GUARDED_BY(mutex_);
  bool told_ BKFS_GUARDED_BY(mutex_) = false;
};

}  // namespace bkfs

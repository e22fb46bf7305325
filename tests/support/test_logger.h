// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "engine/base/log.h"
#include "engine/base/mutex.h"

namespace bkfs {

// Keeps the warnings, so that tests can see that there was one.
class TestLogger final : public Logger {
 public:
  void Log(LogLevel level, std::string_view message) override {
    MutexLock lock(mutex_);
    if (level == LogLevel::kWarning) warnings_ += std::string(message) + "\n";
  }
  std::string Take() {
    MutexLock lock(mutex_);
    return std::exchange(warnings_, {});
  }

 private:
  Mutex mutex_;
  std::string warnings_ BKFS_GUARDED_BY(mutex_);
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>

#include "engine/base/transfer.h"

namespace bkfs {

// Ends what a thread waits for, with kInterrupted, once one of two flags is set. They outlive it.
class StopWatch final : public TransferWatch {
 public:
  StopWatch(const std::atomic<bool>& closing, const std::atomic<bool>& abandoned)
      : closing_(closing), abandoned_(abandoned) {}
  Status Sending(uint64_t) override { return Waiting(); }
  Status Received(uint64_t) override { return Waiting(); }
  Status Waiting() override {
    if (!closing_ && !abandoned_) return {};
    return {Code::kInterrupted, "given up"};
  }

 private:
  const std::atomic<bool>& closing_;
  const std::atomic<bool>& abandoned_;
};

}  // namespace bkfs

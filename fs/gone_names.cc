// SPDX-License-Identifier: Apache-2.0
#include "fs/gone_names.h"

namespace bkfs {

namespace {
constexpr int64_t kLookEveryNs = 1'000'000'000;
}  // namespace

void GoneNames::Start(KernelNotifier& notifier) {
  if (thread_.joinable()) return;
  {
    MutexLock lock(mutex_);
    stopping_ = false;
  }
  thread_ = std::thread([this, &notifier] { Run(notifier); });
}

void GoneNames::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

void GoneNames::Run(KernelNotifier& notifier) {
  for (;;) {
    {
      MutexLock lock(mutex_);
      if (!stopping_) wake_.WaitFor(mutex_, kLookEveryNs);
      if (stopping_) return;
    }
    for (const auto& gone : staging_.TakeGone()) {
      notifier.NameGone(MakeIno(ViewTag::kIncoming, gone.dir), gone.name);
    }
  }
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "backends/http/connection_pool.h"

#include "engine/base/transfer.h"

namespace bkfs {

namespace {
constexpr int64_t kLookNs = 100'000'000;
}  // namespace

// nullptr when none became free for a while.
std::unique_ptr<HttpConnection> ConnectionPool::TakeIdle() {
  MutexLock lock(mutex_);
  if (out_ >= limit_) returned_.WaitFor(mutex_, kLookNs);
  if (out_ >= limit_) return nullptr;
  ++out_;
  if (idle_.empty()) return std::make_unique<HttpConnection>();
  auto connection = std::move(idle_.back());
  idle_.pop_back();
  return connection;
}

Result<ConnectionPool::Lease> ConnectionPool::Take() {
  for (;;) {
    if (auto connection = TakeIdle()) {
      BKFS_CHECK(connection->multi != nullptr && connection->easy != nullptr);
      return Lease(*this, std::move(connection));
    }
    BKFS_TRY(TellWaiting());
  }
}

void ConnectionPool::Return(std::unique_ptr<HttpConnection> connection) {
  MutexLock lock(mutex_);
  --out_;
  idle_.push_back(std::move(connection));
  returned_.NotifyOne();
}

}  // namespace bkfs

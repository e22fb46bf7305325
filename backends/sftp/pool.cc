// SPDX-License-Identifier: Apache-2.0
#include "backends/sftp/pool.h"

#include <utility>

#include "engine/base/transfer.h"

namespace bkfs {

namespace {
constexpr int64_t kLookNs = 100'000'000;
}  // namespace

Result<std::unique_ptr<SftpClient>> SftpPool::Reserve() {
  for (;;) {
    std::unique_ptr<SftpClient> dead;  // goes after the lock
    {
      MutexLock lock(mutex_);
      const bool full = used_ >= connector_->options().connections;
      if (!full && idle_.empty()) {
        ++used_;
        return std::unique_ptr<SftpClient>();
      }
      if (!full) {
        std::unique_ptr<SftpClient> client = std::move(idle_.back());
        idle_.pop_back();
        if (client->LooksAlive()) {
          ++used_;
          return client;
        }
        dead = std::move(client);
        continue;
      }
      free_.WaitFor(mutex_, kLookNs);
    }
    BKFS_TRY(TellWaiting());
  }
}

Result<SftpPool::Lease> SftpPool::Take() {
  BKFS_ASSIGN(std::unique_ptr<SftpClient> client, Reserve());
  if (client == nullptr) {
    Result<std::unique_ptr<SftpClient>> made = connector_->Connect();
    if (!made.ok()) {
      GiveBackPlace();
      return made.status();
    }
    client = std::move(*made);
  }
  return Lease(*this, std::move(client));
}

void SftpPool::GiveBackPlace() {
  MutexLock lock(mutex_);
  --used_;
  free_.NotifyOne();
}

void SftpPool::GiveBack(std::unique_ptr<SftpClient> client) {
  Idle dropped;  // go after the lock
  MutexLock lock(mutex_);
  --used_;
  if (client->broken()) {
    dropped.swap(idle_);
    dropped.push_back(std::move(client));
  } else {
    idle_.push_back(std::move(client));
  }
  free_.NotifyOne();
}

}  // namespace bkfs

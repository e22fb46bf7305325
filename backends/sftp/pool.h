// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "backends/sftp/connector.h"
#include "engine/base/mutex.h"

namespace bkfs {

// The connections of a store. Thread-safe.
class SftpPool {
 public:
  explicit SftpPool(std::unique_ptr<SftpConnector> connector) : connector_(std::move(connector)) {}

  // A connection for one thread, given back by the destructor. One that broke meanwhile is dropped,
  // and with it all that lie idle: what happened to it may have happened to them.
  class Lease {
   public:
    Lease(SftpPool& pool, std::unique_ptr<SftpClient> client)
        : pool_(&pool), client_(std::move(client)) {}
    Lease(Lease&&) noexcept = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (client_ != nullptr) pool_->GiveBack(std::move(client_));
    }
    SftpClient& operator*() const { return *client_; }
    SftpClient* operator->() const { return client_.get(); }

   private:
    SftpPool* pool_;
    std::unique_ptr<SftpClient> client_;
  };

  // Waits, watched, while all are in use.
  Result<Lease> Take() BKFS_EXCLUDES(mutex_);

  SftpConnector& connector() const { return *connector_; }

 private:
  using Idle = std::vector<std::unique_ptr<SftpClient>>;
  // An idle one that lives; nullptr for a place to make one in.
  Result<std::unique_ptr<SftpClient>> Reserve() BKFS_EXCLUDES(mutex_);
  void GiveBack(std::unique_ptr<SftpClient> client) BKFS_EXCLUDES(mutex_);
  void GiveBackPlace() BKFS_EXCLUDES(mutex_);

  const std::unique_ptr<SftpConnector> connector_;
  Mutex mutex_;  // a leaf
  CondVar free_;
  unsigned used_ BKFS_GUARDED_BY(mutex_) = 0;  // connections lent, or being made
  Idle idle_ BKFS_GUARDED_BY(mutex_);
};

}  // namespace bkfs

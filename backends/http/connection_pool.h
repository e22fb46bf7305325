// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <curl/curl.h>

#include <memory>
#include <vector>

#include "engine/base/mutex.h"
#include "engine/base/status.h"

namespace bkfs {

// One curl transfer at a time, over connections that this object keeps open between transfers.
struct HttpConnection {
  struct FreeMulti {
    void operator()(CURLM* handle) const { curl_multi_cleanup(handle); }
  };
  struct FreeEasy {
    void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
  };
  // The easy handle goes first.
  std::unique_ptr<CURLM, FreeMulti> multi{curl_multi_init()};
  std::unique_ptr<CURL, FreeEasy> easy{curl_easy_init()};
};

// At most `limit` connections at a time. Thread-safe.
class ConnectionPool {
 public:
  explicit ConnectionPool(size_t limit) : limit_(limit) {}

  // A connection for the life of this object.
  class Lease {
   public:
    Lease(ConnectionPool& pool, std::unique_ptr<HttpConnection> connection)
        : pool_(&pool), connection_(std::move(connection)) {}
    Lease(Lease&& other) noexcept = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (connection_) pool_->Return(std::move(connection_));
    }
    HttpConnection& operator*() const { return *connection_; }

   private:
    ConnectionPool* pool_;
    std::unique_ptr<HttpConnection> connection_;
  };

  // Waits until there is one, and tells the thread's watches so; their refusal is returned.
  Result<Lease> Take() BKFS_EXCLUDES(mutex_);

 private:
  void Return(std::unique_ptr<HttpConnection> connection) BKFS_EXCLUDES(mutex_);
  std::unique_ptr<HttpConnection> TakeIdle() BKFS_EXCLUDES(mutex_);

  const size_t limit_;
  Mutex mutex_;  // a leaf
  CondVar returned_;
  size_t out_ BKFS_GUARDED_BY(mutex_) = 0;
  // The last returned is used first: the others' connections may close for idleness.
  std::vector<std::unique_ptr<HttpConnection>> idle_ BKFS_GUARDED_BY(mutex_);
};

}  // namespace bkfs

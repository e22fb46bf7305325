// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "engine/base/mutex.h"

namespace bkfs {

// A fixed number of threads over one bounded queue. Submit blocks while the queue is full, which is
// the back-pressure of every pipeline in bkfs. Tasks must not throw and must not Submit to their
// own pool (a full queue would deadlock). Thread-safe.
class ThreadPool {
 public:
  ThreadPool(size_t threads, size_t queue_limit);
  ~ThreadPool();  // runs what is queued, then joins
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  void Submit(std::function<void()> task) BKFS_EXCLUDES(mutex_);
  // False, without running it, when the queue is full.
  bool TrySubmit(std::function<void()> task) BKFS_EXCLUDES(mutex_);
  // Returns when every task submitted so far has run and none is running.
  void Drain() BKFS_EXCLUDES(mutex_);
  size_t threads() const { return threads_.size(); }

 private:
  void Run() BKFS_EXCLUDES(mutex_);

  const size_t queue_limit_;
  Mutex mutex_;
  CondVar work_;
  CondVar room_;
  CondVar idle_;
  std::deque<std::function<void()>> queue_ BKFS_GUARDED_BY(mutex_);
  size_t running_ BKFS_GUARDED_BY(mutex_) = 0;
  bool stopping_ BKFS_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace bkfs

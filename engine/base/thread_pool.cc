// SPDX-License-Identifier: Apache-2.0
#include "engine/base/thread_pool.h"

#include <utility>

namespace bkfs {

ThreadPool::ThreadPool(size_t threads, size_t queue_limit)
    : queue_limit_(queue_limit < 1 ? 1 : queue_limit) {
  for (size_t i = 0; i < (threads < 1 ? 1 : threads); ++i) threads_.emplace_back([this] { Run(); });
}

ThreadPool::~ThreadPool() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  work_.NotifyAll();
  for (auto& thread : threads_) thread.join();
}

void ThreadPool::Submit(std::function<void()> task) {
  {
    MutexLock lock(mutex_);
    while (queue_.size() >= queue_limit_) room_.Wait(mutex_);
    queue_.push_back(std::move(task));
  }
  work_.NotifyOne();
}

bool ThreadPool::TrySubmit(std::function<void()> task) {
  {
    MutexLock lock(mutex_);
    if (queue_.size() >= queue_limit_) return false;
    queue_.push_back(std::move(task));
  }
  work_.NotifyOne();
  return true;
}

void ThreadPool::Drain() {
  MutexLock lock(mutex_);
  while (!queue_.empty() || running_ > 0) idle_.Wait(mutex_);
}

void ThreadPool::Run() {
  for (;;) {
    std::function<void()> task;
    {
      MutexLock lock(mutex_);
      while (queue_.empty() && !stopping_) work_.Wait(mutex_);
      if (queue_.empty()) return;
      task = std::move(queue_.front());
      queue_.pop_front();
      ++running_;
    }
    room_.NotifyOne();
    task();
    task = nullptr;  // what it captured goes before Drain returns
    {
      MutexLock lock(mutex_);
      --running_;
      if (queue_.empty() && running_ == 0) idle_.NotifyAll();
    }
  }
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <shared_mutex>

// clang's thread-safety analysis (an error in the clang preset); nothing elsewhere.
#if defined(__clang__)
#define BKFS_TSA(x) __attribute__((x))
#else
#define BKFS_TSA(x)
#endif
#define BKFS_GUARDED_BY(m) BKFS_TSA(guarded_by(m))
#define BKFS_REQUIRES(...) BKFS_TSA(requires_capability(__VA_ARGS__))
#define BKFS_REQUIRES_SHARED(...) BKFS_TSA(requires_shared_capability(__VA_ARGS__))
#define BKFS_EXCLUDES(...) BKFS_TSA(locks_excluded(__VA_ARGS__))
#define BKFS_NO_ANALYSIS BKFS_TSA(no_thread_safety_analysis)

namespace bkfs {

class BKFS_TSA(capability("mutex")) Mutex {
 public:
  void Lock() BKFS_TSA(acquire_capability()) { mutex_.lock(); }
  void Unlock() BKFS_TSA(release_capability()) { mutex_.unlock(); }
  bool TryLock() BKFS_TSA(try_acquire_capability(true)) { return mutex_.try_lock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class BKFS_TSA(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) BKFS_TSA(acquire_capability(mutex)) : mutex_(mutex) {
    mutex_.Lock();
  }
  ~MutexLock() BKFS_TSA(release_capability()) { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Wait in a loop over the condition; spurious wake-ups happen.
class CondVar {
 public:
  void Wait(Mutex& mutex) BKFS_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }
  // False when the time is over.
  bool WaitFor(Mutex& mutex, int64_t nanos) BKFS_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    bool in_time =
        cv_.wait_for(lock, std::chrono::nanoseconds(nanos)) == std::cv_status::no_timeout;
    lock.release();
    return in_time;
  }
  void NotifyOne() { cv_.notify_one(); }
  void NotifyAll() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

// Many readers or one writer.
class BKFS_TSA(capability("mutex")) SharedMutex {
 public:
  void Lock() BKFS_TSA(acquire_capability()) { mutex_.lock(); }
  void Unlock() BKFS_TSA(release_capability()) { mutex_.unlock(); }
  void LockShared() BKFS_TSA(acquire_shared_capability()) { mutex_.lock_shared(); }
  void UnlockShared() BKFS_TSA(release_shared_capability()) { mutex_.unlock_shared(); }

 private:
  std::shared_mutex mutex_;
};

class BKFS_TSA(scoped_lockable) WriterLock {
 public:
  explicit WriterLock(SharedMutex& mutex) BKFS_TSA(acquire_capability(mutex)) : mutex_(mutex) {
    mutex_.Lock();
  }
  ~WriterLock() BKFS_TSA(release_capability()) { mutex_.Unlock(); }
  WriterLock(const WriterLock&) = delete;
  WriterLock& operator=(const WriterLock&) = delete;

 private:
  SharedMutex& mutex_;
};

class BKFS_TSA(scoped_lockable) ReaderLock {
 public:
  explicit ReaderLock(SharedMutex& mutex) BKFS_TSA(acquire_shared_capability(mutex))
      : mutex_(mutex) {
    mutex_.LockShared();
  }
  ~ReaderLock() BKFS_TSA(release_generic_capability()) { mutex_.UnlockShared(); }
  ReaderLock(const ReaderLock&) = delete;
  ReaderLock& operator=(const ReaderLock&) = delete;

 private:
  SharedMutex& mutex_;
};

}  // namespace bkfs

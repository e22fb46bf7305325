// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/object_reader.h"

#include <algorithm>

#include "engine/base/transfer.h"

namespace bkfs {

namespace {
constexpr size_t kThreads = 8;
constexpr int64_t kLookNs = 100'000'000;
}  // namespace

ObjectReader::ObjectReader(Backend& store, std::vector<std::string> names, size_t ahead)
    : store_(store), names_(std::move(names)), ahead_(ahead), objects_(names_.size()) {
  if (names_.size() < 2 || store_.IsNear(names_.front(), 0, 1)) return;
  for (size_t i = 0; i < std::min({kThreads, names_.size(), ahead_}); ++i) {
    threads_.emplace_back([this] { Fetch(); });
  }
}

ObjectReader::~ObjectReader() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  for (auto& thread : threads_) thread.join();
}

void ObjectReader::Fetch() {
  WaitLimit until_stopped(WaitLimit::kForever, [this] { return stopping_.load(); });
  const WatchScope scope(until_stopped);
  for (;;) {
    size_t mine = 0;
    {
      MutexLock lock(mutex_);
      while (!stopping_ && next_ < names_.size() && next_ >= asked_ + ahead_) changed_.Wait(mutex_);
      if (stopping_ || next_ >= names_.size()) return;
      mine = next_++;
    }
    Result<Bytes> object = store_.Get(names_[mine]);
    {
      MutexLock lock(mutex_);
      if (mine >= asked_) objects_[mine] = std::move(object);
    }
    changed_.NotifyAll();
  }
}

Result<Bytes> ObjectReader::Get(const std::string& name) {
  if (threads_.empty()) return store_.Get(name);
  size_t wanted = 0;
  {
    MutexLock lock(mutex_);
    wanted = asked_;
  }
  while (wanted < names_.size() && names_[wanted] != name) ++wanted;
  if (wanted == names_.size()) return store_.Get(name);
  for (;;) {
    {
      MutexLock lock(mutex_);
      // What was passed over is not wanted any more; it may free the way for this one.
      for (; asked_ < wanted; ++asked_) objects_[asked_].reset();
      next_ = std::max(next_, asked_);
      changed_.NotifyAll();
      if (objects_[wanted]) {
        Result<Bytes> object = *std::move(objects_[wanted]);
        objects_[wanted].reset();
        ++asked_;
        changed_.NotifyAll();
        return object;
      }
      changed_.WaitFor(mutex_, kLookNs);
    }
    BKFS_TRY(TellWaiting());
  }
}

}  // namespace bkfs

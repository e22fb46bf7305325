// SPDX-License-Identifier: Apache-2.0
#include "backends/local/hot_files.h"

#include <utility>

namespace bkfs {

HotFiles::File HotFiles::Find(const std::string& name) {
  MutexLock lock(mutex_);
  auto it = by_name_.find(name);
  if (it == by_name_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, it->second);
  return it->second->file;
}

void HotFiles::Keep(const std::string& name, File file) {
  File old;  // closed after the lock is released, if this was its last use
  MutexLock lock(mutex_);
  if (auto it = by_name_.find(name); it != by_name_.end()) {
    old = std::exchange(it->second->file, std::move(file));
    return;
  }
  entries_.push_front({name, std::move(file)});
  by_name_.emplace(name, entries_.begin());
  if (entries_.size() <= limit_) return;
  old = std::move(entries_.back().file);
  by_name_.erase(entries_.back().name);
  entries_.pop_back();
}

void HotFiles::Drop(const std::string& name) {
  File old;
  MutexLock lock(mutex_);
  auto it = by_name_.find(name);
  if (it == by_name_.end()) return;
  old = std::move(it->second->file);
  entries_.erase(it->second);
  by_name_.erase(it);
}

}  // namespace bkfs

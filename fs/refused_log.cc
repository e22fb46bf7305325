// SPDX-License-Identifier: Apache-2.0
#include "fs/refused_log.h"

#include "engine/base/transfer.h"
#include "engine/repo/refused_objects.h"

namespace bkfs {

namespace {
constexpr int64_t kLookEveryNs = 60'000'000'000;
constexpr int64_t kPatienceNs = 2'000'000'000;
// Whoever can write to the store can make as many as he likes.
constexpr size_t kMostTold = 100;
constexpr std::string_view kMore = "more objects are passed over ('bkfs check' names them)";
}  // namespace

void RefusedLog::Tell(const Found& found) {
  for (const auto& [object, why] : found) {
    if (told_.size() > kMostTold) return;
    if (!told_.insert(object).second) continue;
    repo_.log().Warning(told_.size() > kMostTold ? std::string(kMore)
                                                 : "passed over: " + object + ": " + why);
  }
}

void RefusedLog::Adopt(const SnapshotList& list) {
  Found found;
  for (const auto& [object, why] : list.problems) found.emplace(object, why.message());
  MutexLock lock(mutex_);
  of_snapshots_ = std::move(found);
  Tell(of_snapshots_);
}

void RefusedLog::Look() {
  MutexLock one_at_a_time(look_mutex_);
  const int64_t now = repo_.clock().MonotonicNanos();
  {
    MutexLock lock(mutex_);
    if (looked_ns_ != 0 && now - looked_ns_ < kLookEveryNs) return;
    looked_ns_ = now;
  }
  LookNow();
}

void RefusedLog::LookNow() {
  auto refused = FindRefusedMaintenance(repo_);
  MutexLock lock(mutex_);
  // A store that is away shows nothing new.
  if (!refused.ok()) return;
  of_maintenance_.clear();
  for (const auto& [object, why] : *refused) of_maintenance_.emplace(object, why.message());
  for (const auto& [object, why] : repo_.keys().refused()) {
    of_maintenance_.emplace(object, why.message());
  }
  Tell(of_maintenance_);
}

void RefusedLog::LookSoon() {
  if (repo_.store().Health().silent_ns > kPatienceNs) return;
  WaitLimit patience(kPatienceNs, nullptr);
  const WatchScope scope(patience);
  Status waited;
  if (!LockWatched(look_mutex_, waited)) return;  // another look is held up
  LookNow();
  look_mutex_.Unlock();
}

std::string RefusedLog::Text() {
  LookSoon();
  MutexLock lock(mutex_);
  Found all = of_maintenance_;
  all.insert(of_snapshots_.begin(), of_snapshots_.end());
  std::string text;
  size_t lines = 0;
  for (const auto& [object, why] : all) {
    if (++lines > kMostTold) return text + std::string(kMore) + "\n";
    text += "passed over: " + object + ": " + why + "\n";
  }
  return text;
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "backends/decorators/nearer_store.h"

#include <algorithm>

namespace bkfs {

namespace {
constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kFirstAvoidance = 30 * kSecond;
constexpr int64_t kLongestAvoidance = 600 * kSecond;
constexpr uint64_t kSmallRead = 256 << 10;
constexpr uint32_t kProbeEvery = 64;  // the other one, which may have become faster
constexpr int64_t kWeight = 8;        // of the past against one read
}  // namespace

NearerStore::Side NearerStore::Choose(bool primary_is_near, bool mirror_is_near, int64_t now_ns) {
  MutexLock lock(mutex_);
  const Record& primary = records_[kPrimary];
  const Record& mirror = records_[kMirror];
  const bool avoid_primary = now_ns < primary.avoid_until_ns;
  const bool avoid_mirror = now_ns < mirror.avoid_until_ns;
  if (avoid_primary != avoid_mirror) return avoid_primary ? kMirror : kPrimary;
  if (primary_is_near || mirror_is_near) return primary_is_near ? kPrimary : kMirror;
  // At equal speed the primary, whose word counts.
  const bool mirror_is_faster = mirror.cost_ns < primary.cost_ns / 5 * 4;
  const bool probe = ++asked_ % kProbeEvery == 0;
  return mirror_is_faster != probe ? kMirror : kPrimary;
}

void NearerStore::Served(Side side, uint64_t bytes, int64_t nanos) {
  const auto pieces = static_cast<int64_t>(1 + bytes / kSmallRead);
  const int64_t cost = std::max<int64_t>(1, nanos / pieces);
  MutexLock lock(mutex_);
  Record& record = records_[side];
  record.cost_ns = record.cost_ns == 0 ? cost : (record.cost_ns * (kWeight - 1) + cost) / kWeight;
  record.avoid_until_ns = 0;
  record.avoid_ns = 0;
}

bool NearerStore::Failed(Side side, int64_t now_ns) {
  MutexLock lock(mutex_);
  Record& record = records_[side];
  if (now_ns < record.avoid_until_ns) return false;
  record.avoid_ns = std::clamp(record.avoid_ns * 2, kFirstAvoidance, kLongestAvoidance);
  record.avoid_until_ns = now_ns + record.avoid_ns;
  return true;
}

}  // namespace bkfs

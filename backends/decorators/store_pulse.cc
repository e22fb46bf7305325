// SPDX-License-Identifier: Apache-2.0
#include "backends/decorators/store_pulse.h"

namespace bkfs {

namespace {
std::string Seconds(int64_t nanos) { return std::to_string(nanos / 1'000'000'000) + " s"; }
}  // namespace

StorePulse::Operation::Operation(StorePulse& pulse) : pulse_(pulse), scope_(*this) {
  MutexLock lock(pulse_.mutex_);
  // While it fails, the time between two tries is part of the silence.
  if (pulse_.under_way_++ == 0 && !pulse_.failing_) {
    pulse_.life_ns_ = pulse_.clock_.MonotonicNanos();
  }
}

StorePulse::Operation::~Operation() {
  MutexLock lock(pulse_.mutex_);
  --pulse_.under_way_;
}

Status StorePulse::Operation::Sending(uint64_t) {
  if (!pulse_.failing_) pulse_.life_ns_ = pulse_.clock_.MonotonicNanos();
  return {};
}

Status StorePulse::Operation::Received(uint64_t) {
  pulse_.NoteLife();
  return {};
}

void StorePulse::Answered() { NoteLife(); }

void StorePulse::NoteLife() {
  const int64_t now = clock_.MonotonicNanos();
  if (!failing_) {
    life_ns_ = now;
    return;
  }
  bool told = false;
  int64_t silent = 0;
  {
    MutexLock lock(mutex_);
    silent = now - life_ns_;
    life_ns_ = now;
    failing_ = false;
    failure_ = {};
    std::swap(told, told_);
  }
  // As loud as what it takes back.
  if (told) log_.Warning("the store answers again, after " + Seconds(silent));
}

void StorePulse::Failed(const std::string& store, const Status& failure) {
  const int64_t now = clock_.MonotonicNanos();
  {
    MutexLock lock(mutex_);
    failing_ = true;
    failure_ = failure;
    if (told_ || now - life_ns_ < away_ns_) return;
    told_ = true;
  }
  log_.Warning("the store " + store +
               " does not answer, it is tried again and again: " + failure.message());
}

StoreHealth StorePulse::Health() {
  MutexLock lock(mutex_);
  if (under_way_ == 0 && !failing_) return {};
  return {clock_.MonotonicNanos() - life_ns_, failure_};
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "backends/decorators/bandwidth_backend.h"

#include <algorithm>

#include "engine/base/clock.h"
#include "engine/base/transfer.h"

namespace bkfs {

namespace {
constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kBurst = kSecond / 10;  // of a line that was idle
}  // namespace

Status BandwidthBackend::Line::Take(uint64_t bytes) {
  if (rate_ == 0 || bytes == 0) return {};
  const auto needs = static_cast<int64_t>(
      static_cast<double>(bytes) * static_cast<double>(kSecond) / static_cast<double>(rate_));
  const int64_t now = SystemClock().MonotonicNanos();
  int64_t wait = 0;
  {
    MutexLock lock(mutex_);
    free_ns_ = std::max(free_ns_, now - kBurst) + needs;
    wait = free_ns_ - now;
  }
  return wait > 0 ? SleepWatched(wait) : OkStatus();
}

class BandwidthBackend::Pacer final : public TransferWatch {
 public:
  explicit Pacer(BandwidthBackend& store) : store_(store), scope_(*this) {}
  Status Sending(uint64_t bytes) override { return store_.up_.Take(bytes); }
  Status Received(uint64_t bytes) override { return store_.down_.Take(bytes); }

 private:
  BandwidthBackend& store_;
  WatchScope scope_;
};

Result<Bytes> BandwidthBackend::Get(const std::string& name) {
  Pacer pacer(*this);
  return inner().Get(name);
}

Status BandwidthBackend::ReadAt(const std::string& name, uint64_t offset, MutableByteView out) {
  Pacer pacer(*this);
  return inner().ReadAt(name, offset, out);
}

Status BandwidthBackend::Put(const std::string& name, std::span<const ByteView> parts) {
  Pacer pacer(*this);
  return inner().Put(name, parts);
}

Result<RepackedObject> BandwidthBackend::Repack(std::span<const RepackPiece> pieces) {
  Pacer pacer(*this);
  return inner().Repack(pieces);
}

}  // namespace bkfs

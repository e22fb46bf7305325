// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backends/decorators/forwarding_backend.h"
#include "engine/base/mutex.h"

namespace bkfs {

struct Bandwidth {
  uint64_t up = 0;  // bytes a second; 0: no limit
  uint64_t down = 0;
};
// Less than that would look like a line that is dead.
constexpr uint64_t kLeastBandwidth = 16 << 10;

// Keeps what goes to a store, and what comes from it, to a number of bytes a second, all threads
// together, over any time longer than about a tenth of a second. What is read back to compare, or
// sent twice, counts. It takes a store that tells its watches.
class BandwidthBackend final : public ForwardingBackend {
 public:
  BandwidthBackend(std::unique_ptr<Backend> inner, const Bandwidth& limit)
      : ForwardingBackend(std::move(inner)), up_(limit.up), down_(limit.down) {}

  Result<Bytes> Get(const std::string& name) override;
  Status ReadAt(const std::string& name, uint64_t offset, MutableByteView out) override;
  Status Put(const std::string& name, std::span<const ByteView> parts) override;
  Result<RepackedObject> Repack(std::span<const RepackPiece> pieces) override;

 private:
  // One direction's schedule: when the line is free again.
  class Line {
   public:
    explicit Line(uint64_t rate) : rate_(rate) {}
    // Sleeps until `bytes` may move.
    Status Take(uint64_t bytes) BKFS_EXCLUDES(mutex_);

   private:
    const uint64_t rate_;
    Mutex mutex_;  // a leaf
    int64_t free_ns_ BKFS_GUARDED_BY(mutex_) = 0;
  };
  class Pacer;

  Line up_;
  Line down_;
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>

#include "engine/base/clock.h"
#include "engine/base/mutex.h"
#include "engine/repo/backend.h"

namespace bkfs {

// A store in memory, for tests. Besides Backend's contract it can do what no real store offers:
// copy its whole state (objects are shared, so a copy is cheap) and damage an object in place.
class MemoryBackend final : public Backend {
 public:
  // Objects are dated by `clock`, which outlives this; null means the system's.
  // Puts that would make the objects' sizes add up to more than `capacity` fail with kNoSpace;
  // zero means no limit.
  explicit MemoryBackend(uint64_t capacity = 0, const Clock* clock = nullptr)
      : capacity_(capacity), clock_(clock) {}

  Result<Bytes> Get(const std::string& name) override;
  Status ReadAt(const std::string& name, uint64_t offset, MutableByteView out) override;
  Status Put(const std::string& name, std::span<const ByteView> parts) override;
  Result<uint64_t> Size(const std::string& name) override;
  Result<int64_t> ModifiedAt(const std::string& name) override;
  Status List(const std::string& prefix,
              const std::function<Status(const std::string& name, uint64_t size)>& visit) override;
  Status Remove(const std::string& name) override;
  Result<StoreSpace> Space() override;
  Result<RepackedObject> Repack(std::span<const RepackPiece> pieces) override;
  Result<int64_t> LockedUntil(const std::string& name) override;
  Status Lock(const std::string& name, int64_t until_ns) override;
  int64_t LockSpan() const override { return lock_span_; }
  std::string Describe() const override { return "memory"; }

  // From now on, as an object store with compliance locks: packs, snapshots, keys and bkfs.repo are
  // locked for so long when they are put. To be called before anybody else uses the store.
  void LockFor(int64_t span_ns) { lock_span_ = span_ns; }

  // A store of its own with what this one holds now.
  std::unique_ptr<MemoryBackend> Clone() const;
  // Sets an object's bytes whether or not it is there, as damage or an attacker would. Ignores the
  // capacity.
  void Replace(const std::string& name, Bytes data);

 private:
  using Object = std::shared_ptr<const Bytes>;  // shared by readers at work and by clones
  struct Stored {
    Object object;
    int64_t time_ns = 0;
    int64_t locked_ns = 0;  // until then
  };

  bool IsLockedWhenPut(const std::string& name) const;
  Result<Stored> Find(const std::string& name) const;
  int64_t Now() const { return clock_ ? clock_->WallNanos() : SystemClock().WallNanos(); }

  const uint64_t capacity_;
  const Clock* const clock_;
  int64_t lock_span_ = 0;
  mutable Mutex mutex_;  // a leaf: nothing is called while it is held
  std::map<std::string, Stored> objects_ BKFS_GUARDED_BY(mutex_);
  uint64_t used_ BKFS_GUARDED_BY(mutex_) = 0;
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "backends/decorators/stall_backend.h"

#include "engine/base/clock.h"
#include "engine/base/transfer.h"

namespace bkfs {

namespace {
class StallWatch final : public TransferWatch {
 public:
  StallWatch(int64_t limit_ns, const Backend& store, const std::string& name)
      : limit_ns_(limit_ns), store_(store), name_(name), moved_ns_(clock_.MonotonicNanos()) {}
  Status Sending(uint64_t) override { return Moved(); }
  Status Received(uint64_t) override { return Moved(); }
  Status Sleeping() override { return Moved(); }
  Status Waiting() override {
    if (clock_.MonotonicNanos() - moved_ns_ < limit_ns_) return {};
    return {Code::kUnavailable, store_.Describe() + "/" + name_ + ": nothing has moved for " +
                                    std::to_string(limit_ns_ / 1'000'000'000) + " s"};
  }
  Status Moved() {
    moved_ns_ = clock_.MonotonicNanos();
    return {};
  }

 private:
  const SystemClock clock_;
  const int64_t limit_ns_;
  const Backend& store_;
  const std::string& name_;
  int64_t moved_ns_;
};

// A call of the store under the watch.
class Watched {
 public:
  Watched(int64_t limit_ns, const Backend& store, const std::string& name)
      : watch_(limit_ns, store, name), scope_(watch_) {}
  StallWatch& watch() { return watch_; }

 private:
  StallWatch watch_;
  WatchScope scope_;
};
}  // namespace

Result<Bytes> StallBackend::Get(const std::string& name) {
  Watched watched(limit_ns_, *this, name);
  return inner().Get(name);
}

Status StallBackend::ReadAt(const std::string& name, uint64_t offset, MutableByteView out) {
  Watched watched(limit_ns_, *this, name);
  return inner().ReadAt(name, offset, out);
}

Status StallBackend::Put(const std::string& name, std::span<const ByteView> parts) {
  Watched watched(limit_ns_, *this, name);
  return inner().Put(name, parts);
}

Result<uint64_t> StallBackend::Size(const std::string& name) {
  Watched watched(limit_ns_, *this, name);
  return inner().Size(name);
}

Result<int64_t> StallBackend::ModifiedAt(const std::string& name) {
  Watched watched(limit_ns_, *this, name);
  return inner().ModifiedAt(name);
}

Status StallBackend::List(
    const std::string& prefix,
    const std::function<Status(const std::string& name, uint64_t size)>& visit) {
  Watched watched(limit_ns_, *this, prefix);
  return inner().List(prefix, [&](const std::string& name, uint64_t size) {
    Status visited = visit(name, size);
    BKFS_TRY(watched.watch().Moved());  // what the visitor does is not the store's time
    return visited;
  });
}

Status StallBackend::Remove(const std::string& name) {
  Watched watched(limit_ns_, *this, name);
  return inner().Remove(name);
}

Status StallBackend::RemoveAll(const std::vector<std::string>& names) {
  const std::string first = names.empty() ? "" : names.front();
  Watched watched(limit_ns_, *this, first);
  return inner().RemoveAll(names);
}

Result<StoreSpace> StallBackend::Space() {
  const std::string none;
  Watched watched(limit_ns_, *this, none);
  return inner().Space();
}

Result<RepackedObject> StallBackend::Repack(std::span<const RepackPiece> pieces) {
  const std::string first = pieces.empty() ? "" : pieces.front().source;
  Watched watched(limit_ns_, *this, first);
  return inner().Repack(pieces);
}

Result<int64_t> StallBackend::LockedUntil(const std::string& name) {
  Watched watched(limit_ns_, *this, name);
  return inner().LockedUntil(name);
}

Status StallBackend::Lock(const std::string& name, int64_t until_ns) {
  Watched watched(limit_ns_, *this, name);
  return inner().Lock(name, until_ns);
}

}  // namespace bkfs

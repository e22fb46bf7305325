// SPDX-License-Identifier: Apache-2.0
#include "backends/decorators/retry_backend.h"

#include <algorithm>
#include <array>
#include <random>
#include <utility>

#include "engine/base/clock.h"
#include "engine/base/transfer.h"
#include "engine/crypto/hash.h"

namespace bkfs {

namespace {
constexpr uint64_t kCompared = 64 << 10;  // bytes at each end

Status StatusOf(const Status& status) { return status; }
template <typename T>
Status StatusOf(const Result<T>& result) {
  return result.status();
}

int64_t RandomUpTo(int64_t most) {
  thread_local std::minstd_rand engine(std::random_device{}());
  return std::uniform_int_distribution<int64_t>(0, most)(engine);
}

// `length` of the bytes that `parts` are together, from `offset` on.
Bytes Slice(std::span<const ByteView> parts, uint64_t offset, uint64_t length) {
  Bytes out;
  for (ByteView part : parts) {
    if (offset >= part.size()) {
      offset -= part.size();
      continue;
    }
    Append(out,
           part.subspan(offset, std::min<uint64_t>(part.size() - offset, length - out.size())));
    offset = 0;
    if (out.size() == length) break;
  }
  return out;
}

using NameMark = std::array<uint8_t, 16>;
// What ended the tries, and why there were any.
Status Together(const Status& ended, const Status& failure) {
  if (!ended.Is(Code::kUnavailable)) return ended;
  // It was what ended the last try already.
  if (failure.message().ends_with(ended.message())) return failure;
  if (ended.message().find(failure.message()) != std::string::npos) return ended;
  return ended.WithContext(failure.message());
}

NameMark MarkOf(const std::string& name) {
  const auto hash = HashBytes(AsBytes(name));
  NameMark mark;
  std::copy_n(hash.begin(), mark.size(), mark.begin());
  return mark;
}
}  // namespace

// The tries of one operation.
class RetryBackend::Attempts {
 public:
  Attempts(RetryBackend& store, const std::string& what)
      : store_(store), what_(what), began_ns_(clock_.MonotonicNanos()) {}

  // Sleeps before the next try; otherwise what the operation is to return.
  Status Next(const Status& failure) {
    ++tries_;
    // Who asked has enough: that says nothing of the store.
    Status enough = TellWaiting();
    if (!enough.ok()) return Together(enough, failure);
    store_.pulse_.Failed(store_.Describe(), failure);
    const int64_t bound =
        std::min(store_.options_.longest_ns,
                 store_.options_.first_ns << std::min<int64_t>(tries_ - 1, kMostDoublings));
    const int64_t pause = bound / 10 + RandomUpTo(bound - bound / 10);
    const int64_t spent = clock_.MonotonicNanos() - began_ns_;
    // Of a store that is away that is no news.
    const bool alone = store_.Health().silent_ns < store_.options_.away_ns;
    if (spent >= kLong && alone && !std::exchange(told_, true)) {
      store_.log_.Warning(what_ + " has failed for " + std::to_string(spent / kSecond) +
                          " s, it is tried again: " + failure.message());
    }
    if (spent + pause > store_.options_.total_ns) {
      return {Code::kUnavailable, failure.message() + " (given up after " + std::to_string(tries_) +
                                      (tries_ == 1 ? " try" : " tries in ") +
                                      (tries_ == 1 ? "" : std::to_string(spent / kSecond) + " s") +
                                      ")"};
    }
    Status ended = Pause(pause);
    return ended.ok() ? ended : Together(ended, failure);
  }
  bool is_first() const { return tries_ == 0; }

 private:
  // Shorter once a store that was away has answered another.
  Status Pause(int64_t nanos) {
    const bool away = store_.Health().silent_ns >= store_.options_.away_ns;
    const int64_t until = clock_.MonotonicNanos() + nanos;
    do {
      BKFS_TRY(SleepWatched(std::clamp<int64_t>(until - clock_.MonotonicNanos(), 0, kLook)));
    } while (clock_.MonotonicNanos() < until && !(away && store_.Health().failure.ok()));
    return {};
  }

  static constexpr int64_t kLook = 100'000'000;
  static constexpr int64_t kSecond = 1'000'000'000;
  static constexpr int64_t kMostDoublings = 20;
  static constexpr int64_t kLong = 60 * kSecond;

  const SystemClock clock_;
  RetryBackend& store_;
  const std::string& what_;
  const int64_t began_ns_;
  int64_t tries_ = 0;
  bool told_ = false;
};

template <typename T, typename Operation>
T RetryBackend::Again(const std::string& what, const Operation& operation) {
  Attempts attempts(*this, what);
  const StorePulse::Operation under_way(pulse_);
  for (;;) {
    T outcome = operation(attempts.is_first());
    const Status status = StatusOf(outcome);
    if (!status.Is(Code::kUnavailable)) {
      if (!status.Is(Code::kInterrupted)) pulse_.Answered();
      return outcome;
    }
    BKFS_TRY(attempts.Next(status));
  }
}

Result<Bytes> RetryBackend::Get(const std::string& name) {
  return Again<Result<Bytes>>("reading " + name, [&](bool) { return inner().Get(name); });
}

Status RetryBackend::ReadAt(const std::string& name, uint64_t offset, MutableByteView out) {
  return Again<Status>("reading " + name, [&](bool) { return inner().ReadAt(name, offset, out); });
}

Status RetryBackend::Put(const std::string& name, std::span<const ByteView> parts) {
  return Again<Status>("storing " + name, [&](bool is_first) -> Status {
    Status put = inner().Put(name, parts);
    if (is_first || !put.Is(Code::kExists)) return put;
    return CompareWithStored(name, parts);
  });
}

Status RetryBackend::CompareWithStored(const std::string& name, std::span<const ByteView> parts) {
  const Status other(Code::kExists, name + " is there already");
  uint64_t size = 0;
  for (ByteView part : parts) size += part.size();
  auto stored = inner().Size(name);
  // Removed since: whoever did that knew it.
  if (stored.code() == Code::kNotFound) return other;
  BKFS_TRY(stored.status());
  if (*stored != size) return other;
  const uint64_t length = std::min(size, kCompared);
  for (const uint64_t offset : {uint64_t{0}, size - length}) {
    Bytes bytes(length);
    Status read = inner().ReadAt(name, offset, bytes);
    if (read.Is(Code::kNotFound)) return other;
    BKFS_TRY(read);
    if (bytes != Slice(parts, offset, length)) return other;
  }
  return {};
}

Result<uint64_t> RetryBackend::Size(const std::string& name) {
  return Again<Result<uint64_t>>("asking for " + name, [&](bool) { return inner().Size(name); });
}

Result<int64_t> RetryBackend::ModifiedAt(const std::string& name) {
  return Again<Result<int64_t>>("asking for " + name,
                                [&](bool) { return inner().ModifiedAt(name); });
}

Status RetryBackend::List(
    const std::string& prefix,
    const std::function<Status(const std::string& name, uint64_t size)>& visit) {
  std::vector<NameMark> shown;  // sorted up to `sorted`
  size_t sorted = 0;
  Status visitor;  // its own failure is not the store's
  Status listed = Again<Status>("listing " + prefix, [&](bool) {
    std::sort(shown.begin(), shown.end());
    sorted = shown.size();
    return inner().List(prefix, [&](const std::string& name, uint64_t size) -> Status {
      const NameMark mark = MarkOf(name);
      const auto known = shown.begin() + static_cast<ptrdiff_t>(sorted);
      if (std::binary_search(shown.begin(), known, mark)) return {};
      shown.push_back(mark);
      visitor = visit(name, size);
      return visitor.ok() ? visitor : Status(Code::kInterrupted, "the visitor stops");
    });
  });
  return visitor.ok() ? listed : visitor;
}

Status RetryBackend::Remove(const std::string& name) {
  return Again<Status>("removing " + name, [&](bool is_first) {
    Status removed = inner().Remove(name);
    return !is_first && removed.Is(Code::kNotFound) ? OkStatus() : removed;
  });
}

Status RetryBackend::RemoveAll(const std::vector<std::string>& names) {
  return Again<Status>("removing objects", [&](bool) { return inner().RemoveAll(names); });
}

Result<StoreSpace> RetryBackend::Space() {
  return Again<Result<StoreSpace>>("asking for the space", [&](bool) { return inner().Space(); });
}

Result<RepackedObject> RetryBackend::Repack(std::span<const RepackPiece> pieces) {
  return Again<Result<RepackedObject>>("repacking", [&](bool) { return inner().Repack(pieces); });
}

Result<int64_t> RetryBackend::LockedUntil(const std::string& name) {
  return Again<Result<int64_t>>("asking for the lock of " + name,
                                [&](bool) { return inner().LockedUntil(name); });
}

Status RetryBackend::Lock(const std::string& name, int64_t until_ns) {
  return Again<Status>("locking " + name, [&](bool) { return inner().Lock(name, until_ns); });
}

}  // namespace bkfs

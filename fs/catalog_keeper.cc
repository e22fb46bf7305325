// SPDX-License-Identifier: Apache-2.0
#include "fs/catalog_keeper.h"

#include <exception>
#include <thread>

#include "engine/base/transfer.h"

namespace bkfs {

namespace {
constexpr int64_t kFreshNs = 2'000'000'000;
// A look by itself, where each costs a journey, and maybe money.
constexpr int64_t kLookFarNs = 30'000'000'000;
// What somebody waits for who could have the last known catalog instead.
constexpr int64_t kPatienceNs = 5'000'000'000;
}  // namespace

CatalogKeeper::~CatalogKeeper() { Stop(); }

void CatalogKeeper::Start(KernelNotifier* notifier) {
  if (thread_.joinable()) return;
  {
    MutexLock lock(mutex_);
    stopping_ = false;
    notified_ = current_;
  }
  thread_ = std::thread([this, notifier] {
    try {
      Run(notifier);
    } catch (const std::exception& error) {
      repo_.log().Error(std::string("watching for snapshots ended: ") + error.what());
    }
  });
}

void CatalogKeeper::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

bool CatalogKeeper::IsStopping() {
  MutexLock lock(mutex_);
  return stopping_;
}

void CatalogKeeper::Run(KernelNotifier* notifier) {
  WaitLimit until_stopped(WaitLimit::kForever, [this] { return IsStopping(); });
  const WatchScope scope(until_stopped);
  const bool is_near = repo_.store().IsNear("snapshots", 0, 1);
  for (;;) {
    {
      MutexLock lock(mutex_);
      if (!stopping_) wake_.WaitFor(mutex_, is_near ? kFreshNs : kLookFarNs);
      if (stopping_) return;
    }
    if (!IsFresh()) (void)Refresh();  // a failure is in the log
    refused_.Look();
    if (notifier != nullptr) Notify(*notifier);
  }
}

bool CatalogKeeper::IsFresh() {
  MutexLock lock(mutex_);
  return current_ != nullptr && seen_changes_ == changes_ &&
         repo_.clock().MonotonicNanos() - looked_ns_ < kFreshNs;
}

Result<CatalogPtr> CatalogKeeper::Get() {
  if (!IsFresh()) return GetNew();
  return Peek();
}

Result<CatalogPtr> CatalogKeeper::GetNew() {
  CatalogPtr known = Peek();
  Status looked;
  if (known == nullptr) {
    looked = Refresh();
  } else if (repo_.store().Health().silent_ns <= kPatienceNs) {
    WaitLimit patience(kPatienceNs, nullptr);
    const WatchScope scope(patience);
    looked = Refresh();
  }
  known = Peek();
  // A store that is away for a while does not make the snapshots vanish.
  if (!looked.ok() && (looked.Is(Code::kDenied) || known == nullptr)) return looked;
  return known;
}

CatalogPtr CatalogKeeper::Peek() {
  MutexLock lock(mutex_);
  return current_;
}

void CatalogKeeper::MarkStale() {
  MutexLock lock(mutex_);
  ++changes_;
  wake_.NotifyAll();
}

Status CatalogKeeper::Refresh() {
  const int64_t asked_ns = repo_.clock().MonotonicNanos();
  Status waited;
  if (!LockWatched(refresh_mutex_, waited)) return waited;
  Status looked = RefreshLocked(asked_ns);
  refresh_mutex_.Unlock();
  return looked;
}

Status CatalogKeeper::RefreshLocked(int64_t asked_ns) {
  uint64_t changes = 0;
  {
    MutexLock lock(mutex_);
    changes = changes_;
    // Somebody else looked while this one waited for the lock.
    if (current_ != nullptr && seen_changes_ == changes && looked_ns_ > asked_ns) return {};
  }
  const int64_t now = repo_.clock().MonotonicNanos();
  auto list = repo_.snapshots().List();
  if (!list.ok()) {
    // Who asks has run out of patience, or of time; and a store that is away has told the log
    // itself.
    if (list.code() != Code::kInterrupted && list.code() != Code::kUnavailable &&
        list.status().message() != last_error_) {
      last_error_ = list.status().message();
      repo_.log().Warning("cannot list snapshots: " + last_error_);
    }
    MutexLock lock(mutex_);
    ++changes_;
    return list.status();
  }
  last_error_.clear();
  Adopt(*list);
  MutexLock lock(mutex_);
  looked_ns_ = now;
  seen_changes_ = changes;  // until here others wait for what is being looked up
  return {};
}

void CatalogKeeper::Adopt(const SnapshotList& list) {
  refused_.Adopt(list);
  CatalogPtr known = Peek();
  if (known != nullptr && known->SameSnapshots(list)) return;
  // First the index, so that what a new snapshot points at is found.
  if (known != nullptr && repo_.has_index()) {
    Status refreshed = repo_.RefreshIndex();
    if (!refreshed.ok()) repo_.log().Warning("cannot read the index: " + refreshed.message());
  }
  auto fresh = std::make_shared<const Catalog>(list, numbers_);
  MutexLock lock(mutex_);
  current_ = std::move(fresh);
}

void CatalogKeeper::Notify(KernelNotifier& notifier) {
  CatalogPtr before;
  CatalogPtr after;
  {
    MutexLock lock(mutex_);
    before = notified_;
    after = current_;
    notified_ = after;
  }
  if (before == after || after == nullptr) return;
  notifier.DirectoryChanged(kSnapshotsIno);
  notifier.DirectoryChanged(kLatestIno);
  notifier.DirectoryChanged(kByNameIno);
  if (before == nullptr) return;
  for (const auto& [number, series] : before->series()) {
    const Catalog::Series* now = after->FindSeries(series.name);
    if (now != nullptr) notifier.DirectoryChanged(series.directory);
  }
}

}  // namespace bkfs

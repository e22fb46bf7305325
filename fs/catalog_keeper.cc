// SPDX-License-Identifier: Apache-2.0
#include "fs/catalog_keeper.h"

#include <exception>

namespace bkfs {

namespace {
constexpr int64_t kLookEveryNs = 2'000'000'000;
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

void CatalogKeeper::Run(KernelNotifier* notifier) {
  for (;;) {
    {
      MutexLock lock(mutex_);
      if (!stopping_) wake_.WaitFor(mutex_, kLookEveryNs);
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
         repo_.clock().MonotonicNanos() - looked_ns_ < kLookEveryNs;
}

Result<CatalogPtr> CatalogKeeper::Get() {
  if (!IsFresh()) return GetNew();
  return Peek();
}

Result<CatalogPtr> CatalogKeeper::GetNew() {
  Status looked = Refresh();
  CatalogPtr known = Peek();
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
  MutexLock one_at_a_time(refresh_mutex_);
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
    if (list.status().message() != last_error_) {
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

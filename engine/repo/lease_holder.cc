// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/lease_holder.h"

#include <algorithm>

#include "engine/base/process.h"
#include "engine/base/transfer.h"
#include "engine/repo/refused_objects.h"
#include "engine/repo/repository.h"

namespace bkfs {

namespace {
constexpr int kRenewalsInTtl = 6;
constexpr int64_t kPatienceNs = 20'000'000'000;  // of the end of a lease
}  // namespace

LeaseHolder::LeaseHolder(Repository& repo, Options options)
    : repo_(repo), options_(std::move(options)) {}

LeaseId LeaseHolder::id() const {
  MutexLock lock(id_mutex_);
  return id_;
}

Status LeaseHolder::PutLease() {
  Lease lease;
  RandomBytes(lease.id.bytes);
  lease.kind = options_.kind;
  lease.host = options_.host;
  lease.program = options_.program;
  const ProcessIdentity self = ThisProcess();
  lease.machine = self.boot;
  lease.pid = self.pid;
  lease.started = self.started;
  lease.ttl_ns = std::clamp(options_.ttl_ns, kShortestLease, kLongestLease);
  lease.time_ns = repo_.clock().WallNanos();
  lease.resumable = options_.resumable;
  const Bytes object = EncodeLease(lease, repo_.header().repo, repo_.header().cipher,
                                   repo_.key().index_key.view(), repo_.key().signing);
  BKFS_TRY(repo_.store().PutOne(LeaseName(lease.id), object));
  state_ = LeaseState{};
  state_.number = 0;
  read_.reset();
  MutexLock lock(id_mutex_);
  id_ = lease.id;
  return {};
}

Result<std::unique_ptr<LeaseHolder>> LeaseHolder::Begin(Repository& repo, Options options) {
  std::unique_ptr<LeaseHolder> holder(new LeaseHolder(repo, std::move(options)));
  MutexLock lock(holder->renew_mutex_);
  BKFS_TRY(holder->PutLease());
  return holder;
}

Result<std::unique_ptr<LeaseHolder>> LeaseHolder::Resume(Repository& repo, Options options,
                                                         const LeaseId& id, LeaseState& held) {
  uint64_t last = 0;
  bool there = false;
  BKFS_TRY(repo.store().List("leases/", [&](const std::string& name, uint64_t) {
    auto object = ParseLeaseName(name);
    if (!object.ok() || object->id != id) return Status();
    there = there || object->what == LeaseObject::kLease;
    if (object->what == LeaseObject::kState) last = std::max(last, object->number);
    return Status();
  }));
  if (!there) return Status(Code::kNotFound, LeaseName(id) + " has been ended");
  std::unique_ptr<LeaseHolder> holder(new LeaseHolder(repo, std::move(options)));
  MutexLock lock(holder->renew_mutex_);
  held = LeaseState{};
  held.number = 0;
  if (last > 0) {
    BKFS_ASSIGN(Bytes object, repo.store().Get(LeaseStateName(id, last)));
    BKFS_ASSIGN(held, DecodeLeaseState(object, repo.header().repo, repo.key().index_key.view(),
                                       repo.key().signing.public_key()));
  }
  {
    MutexLock id_lock(holder->id_mutex_);
    holder->id_ = id;
  }
  holder->leave_ = true;  // until it is sure that it is ours
  holder->state_ = held;
  // Put again, so that it is fresh; if nobody has ended it by then, nobody had before.
  LeaseState again = held;
  BKFS_TRY(holder->PutState(std::move(again)));
  BKFS_ASSIGN(bool ended, holder->HasEnded());
  if (ended) return Status(Code::kNotFound, LeaseName(id) + " has been ended");
  holder->leave_ = false;
  return holder;
}

LeaseHolder::~LeaseHolder() {
  StopThread();
  // A store that is away: the lease ends by itself.
  WaitLimit patience(kPatienceNs, nullptr);
  const WatchScope scope(patience);
  MutexLock lock(renew_mutex_);
  if (!leave_) RemoveObjects();
}

void LeaseHolder::StopThread() {
  {
    MutexLock lock(stop_mutex_);
    stopping_ = true;
  }
  stop_signal_.NotifyAll();
  if (renewer_.joinable()) renewer_.join();
}

void LeaseHolder::Leave() {
  MutexLock lock(renew_mutex_);
  leave_ = true;
}

// States first: a lease without a state keeps everything.
void LeaseHolder::RemoveObjects() {
  const LeaseId lease = id();
  std::vector<std::string> states;
  if (state_.number > 1) states.push_back(LeaseStateName(lease, state_.number - 1));
  if (state_.number > 0) states.push_back(LeaseStateName(lease, state_.number));
  (void)repo_.store().RemoveAll(states);
  Status removed = repo_.store().RemoveAll({LeaseName(lease)});
  if (!removed.ok()) {
    repo_.log().Info(LeaseName(lease) + " stays until it is out of date: " + removed.message());
  }
}

Status LeaseHolder::PutState(LeaseState state) {
  state.id = id();
  state.holder = repo_.key().id();
  constexpr int kTries = 4;
  const uint64_t before = state_.number;
  Status put;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    state.number = state_.number + 1;
    const Bytes object = EncodeLeaseState(state, repo_.header().repo, repo_.header().cipher,
                                          repo_.key().index_key.view(), repo_.key().signing);
    put = repo_.store().PutOne(LeaseStateName(state.id, state.number), object);
    if (!put.Is(Code::kExists)) break;
    // A try whose answer was lost, with other pins perhaps: go on behind it.
    state_.number = state.number;
  }
  BKFS_TRY(put);
  state_ = std::move(state);
  std::vector<std::string> replaced;
  for (uint64_t old = std::max<uint64_t>(before, 1); old < state_.number; ++old) {
    replaced.push_back(LeaseStateName(state_.id, old));
  }
  (void)repo_.store().RemoveAll(replaced);
  return {};
}

// In this order: what was dropped from the log is gone from the index too.
Result<std::shared_ptr<const CondemnedPacks>> LeaseHolder::ReadLocked() {
  BKFS_TRY(repo_.maintenance().Refresh());
  auto condemned = repo_.maintenance().Current();
  if (read_ == condemned->last) return condemned;
  BKFS_TRY(repo_.RefreshIndex());
  if (!read_ && options_.kind != LeaseKind::kReader) BKFS_TRY(repo_.SettleUnlistedPacks());
  read_ = condemned->last;
  return condemned;
}

Result<std::shared_ptr<const CondemnedPacks>> LeaseHolder::ReadLogAndIndex() {
  MutexLock lock(renew_mutex_);
  return ReadLocked();
}

Status LeaseHolder::RenewLocked() {
  if (!heed_) return {Code::kUnavailable, "this lease has not been started yet"};
  BKFS_TRY(repo_.epochs().Refresh());  // a mount that runs for weeks meets rotations
  BKFS_ASSIGN(auto condemned, ReadLocked());
  BKFS_ASSIGN(LeasePins pins, heed_(condemned));
  LeaseState next;
  next.moved_past = condemned->last;
  next.packs = std::move(pins.packs);
  next.roots = std::move(pins.roots);
  if (pins.uncommitted) {
    next.dirty_since_ns = state_.dirty_since_ns;
    if (next.dirty_since_ns == 0) {
      auto last = repo_.store().ModifiedAt(
          state_.number == 0 ? LeaseName(id()) : LeaseStateName(id(), state_.number));
      if (last.ok()) next.dirty_since_ns = *last;
    }
  }
  std::sort(next.packs.begin(), next.packs.end());
  std::sort(next.roots.begin(), next.roots.end());
  next.roots.erase(std::unique(next.roots.begin(), next.roots.end()), next.roots.end());
  return PutState(std::move(next));
}

Status LeaseHolder::Start(Heed heed) {
  {
    MutexLock lock(renew_mutex_);
    heed_ = std::move(heed);
    BKFS_TRY(RenewLocked());
  }
  if (!renewer_.joinable()) renewer_ = std::thread([this] { Loop(); });
  return {};
}

Status LeaseHolder::RestoreLease() {
  const LeaseId before = id();
  if (repo_.store().Size(LeaseName(before)).code() != Code::kNotFound) return {};
  (void)repo_.store().RemoveAll({LeaseStateName(before, state_.number)});
  BKFS_TRY(PutLease());
  return RenewLocked();
}

Status LeaseHolder::Renew() {
  MutexLock lock(renew_mutex_);
  BKFS_TRY(RenewLocked());
  // After the state: a state of a lease that is not there pins nothing.
  return options_.kind == LeaseKind::kReader ? RestoreLease() : OkStatus();
}

Result<int64_t> LeaseHolder::RenewedAt() {
  MutexLock lock(renew_mutex_);
  return repo_.store().ModifiedAt(LeaseStateName(state_.id, state_.number));
}

Status LeaseHolder::BeginAnew() {
  MutexLock lock(renew_mutex_);
  heed_ = nullptr;
  return PutLease();
}

Result<bool> LeaseHolder::HasEnded() {
  const LeaseId lease = id();
  // In this order: a fence goes only after the closure is there.
  auto object = repo_.store().Get(FenceName(lease));
  if (object.ok()) {
    if (CheckFence(repo_.keys(), repo_.header(), lease, *object).ok()) return true;
  } else if (object.code() != Code::kNotFound) {
    return object.status();
  }
  auto closure = repo_.store().Size(ClosureName(lease));
  if (closure.ok()) {
    BKFS_TRY(repo_.removals().Refresh());
    return repo_.removals().IsClosed(lease);
  }
  if (closure.code() != Code::kNotFound) return closure.status();
  return false;
}

bool LeaseHolder::IsStopping() {
  MutexLock lock(stop_mutex_);
  return stopping_;
}

void LeaseHolder::Loop() {
  WaitLimit until_stopped(WaitLimit::kForever, [this] { return IsStopping(); });
  const WatchScope scope(until_stopped);
  const int64_t wait = std::min(options_.renew_ns, options_.ttl_ns / kRenewalsInTtl);
  for (;;) {
    {
      MutexLock lock(stop_mutex_);
      if (!stopping_) stop_signal_.WaitFor(stop_mutex_, wait);
      if (stopping_) return;
    }
    MutexLock lock(renew_mutex_);
    if (!heed_) continue;  // being begun anew
    Status renewed = RenewLocked();
    // A writer finds out by itself when it commits, and has more to do then.
    if (renewed.ok() && options_.kind != LeaseKind::kWriter) renewed = RestoreLease();
    if (!renewed.ok()) repo_.log().Info("lease not renewed: " + renewed.message());
  }
}

}  // namespace bkfs

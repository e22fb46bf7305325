// SPDX-License-Identifier: Apache-2.0
#include "backends/decorators/mirror_backend.h"

#include <algorithm>
#include <optional>

#include "backends/decorators/block_signals.h"
#include "backends/decorators/mirror_objects.h"
#include "backends/decorators/stop_watch.h"
#include "engine/base/transfer.h"

namespace bkfs {

namespace {
constexpr std::string_view kHeaderName = "bkfs.repo";
constexpr int64_t kLookNs = 100'000'000;

Status StatusOf(const Status& status) { return status; }
template <typename T>
Status StatusOf(const Result<T>& result) {
  return result.status();
}

// Whether a change that returned this may have been made.
bool MayHaveHappened(const Status& status) {
  switch (status.code()) {
    case Code::kOk:
    case Code::kExists:
    case Code::kNotFound:
    case Code::kInvalid:
    case Code::kDenied:
    case Code::kUnsupported: return false;
    default: return true;
  }
}
}  // namespace

// A Put to the mirror on another thread. Ends before the caller's `parts` do.
class MirrorBackend::BesidePut {
 public:
  explicit BesidePut(MirrorBackend& owner) : owner_(owner) {}

  // False: nobody has time for it.
  bool Start(Backend& mirror, const std::string& name, std::span<const ByteView> parts) {
    return owner_.pool_->TrySubmit([this, &mirror, &name, parts] {
      Status status;
      {
        StopWatch stop(owner_.closing_, abandoned_);
        WatchScope scope(stop);
        status = owner_.Mirrored(mirror, name, parts);
      }
      MutexLock lock(mutex_);
      status_ = std::move(status);
      done_ = true;
      ended_.NotifyAll();
    });
  }
  // Until it has ended; sooner, by giving it up, when the calling thread's watches say so.
  Status Wait() {
    MutexLock lock(mutex_);
    while (!done_) {
      if (!ended_.WaitFor(mutex_, kLookNs) && !TellWaiting().ok()) abandoned_ = true;
    }
    return status_;
  }

 private:
  MirrorBackend& owner_;
  std::atomic<bool> abandoned_ = false;
  Mutex mutex_;  // held while the caller's watches are told
  CondVar ended_;
  bool done_ BKFS_GUARDED_BY(mutex_) = false;
  Status status_ BKFS_GUARDED_BY(mutex_);
};

MirrorBackend::MirrorBackend(std::unique_ptr<Backend> primary, MirrorOptions options, Logger& log)
    : primary_(std::move(primary)), options_(std::move(options)), log_(log) {}

Result<std::unique_ptr<MirrorBackend>> MirrorBackend::Open(std::unique_ptr<Backend> primary,
                                                           MirrorOptions options, Logger& log) {
  const bool must_be_there = options.must_be_there;
  std::unique_ptr<MirrorBackend> store(
      new MirrorBackend(std::move(primary), std::move(options), log));
  BKFS_ASSIGN(store->state_, MirrorState::Open(store->options_.directory));
  Status reached = store->Reach(true);
  if (reached.Is(Code::kInvalid) || reached.Is(Code::kInterrupted) ||
      (must_be_there && !reached.ok())) {
    return reached.WithContext("mirror");
  }
  BKFS_ASSIGN(const bool behind, store->state_->IsBehind());
  if (behind) {
    MutexLock lock(store->mutex_);
    store->mode_ = Mode::kAway;
  }
  if (!reached.ok()) store->WarnOfAbsence(reached);
  // A signal is for the threads that expect it.
  BlockSignals blocked;
  store->pool_ = std::make_unique<ThreadPool>(store->options_.threads, store->options_.threads);
  store->thread_ = std::thread([raw = store.get()] { raw->Run(); });
  return store;
}

MirrorBackend::~MirrorBackend() {
  {
    MutexLock lock(mutex_);
    closing_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
  pool_.reset();
  MutexLock lock(mutex_);
  if (state_ && mode_ == Mode::kInStep && unresolved_ == 0) state_->Finish();
}

// kInvalid: it is another repository's. `is_whole`: it has what the primary has at the least.
Status MirrorBackend::CheckHeader(Backend& mirror, bool& is_whole) {
  const std::string header(kHeaderName);
  const auto there = mirror.Get(header);
  if (!there.ok() && there.code() != Code::kNotFound) return there.status();
  const auto here = primary_->Get(header);
  if (!here.ok() && here.code() != Code::kNotFound) return here.status();
  is_whole = there.ok() == here.ok();
  if (there.ok() && !here.ok()) {
    return {Code::kInvalid, primary_->Describe() + " holds no repository, and its mirror " +
                                options_.url +
                                " does: is the right disk mounted? (-R with the mirror reads it)"};
  }
  if (there.ok() && *there != *here) {
    return {Code::kInvalid, options_.url + " holds another repository than " +
                                primary_->Describe() +
                                ": name an empty place, or that repository's own mirror"};
  }
  return {};
}

Status MirrorBackend::Reach(bool may_ask) {
  if (!opened_) {
    BKFS_ASSIGN(opened_, options_.open(may_ask));
  }
  bool is_whole = true;
  BKFS_TRY(CheckHeader(*opened_, is_whole));
  mirror_ = opened_.get();
  if (is_whole) return {};
  MutexLock lock(mutex_);
  if (mode_ == Mode::kInStep) mode_ = Mode::kAway;
  return {};
}

Backend* MirrorBackend::Taking() const {
  MutexLock lock(mutex_);
  return mode_ == Mode::kAway ? nullptr : mirror_.load();
}

bool MirrorBackend::IsBehind() const {
  MutexLock lock(mutex_);
  return mode_ != Mode::kInStep;
}

void MirrorBackend::Begun(const Status& noted) {
  if (noted.ok() || told_.exchange(true)) return;
  log_.Warning("a crash now would forget what the mirror lacks ('bkfs check' would find it): " +
               noted.message());
}

void MirrorBackend::Missed(const Status& why) {
  MutexLock lock(mutex_);
  mode_ = Mode::kAway;
  Begun(state_->NoteBehind());
  if (!warned_ && !why.ok()) {
    log_.Warning("the mirror " + options_.url +
                 " is behind, and is caught up when it can be reached: " + why.message());
    warned_ = true;
  }
  changed_.NotifyAll();
}

// Nothing is noted of it: it is behind with the first change.
void MirrorBackend::WarnOfAbsence(const Status& why) {
  MutexLock lock(mutex_);
  mode_ = Mode::kAway;
  warned_ = true;
  log_.Warning("the mirror " + options_.url +
               " cannot be used, and is caught up when it can: " + why.message());
}

void MirrorBackend::NoteRemovals(const std::vector<std::string>& names) {
  MutexLock lock(mutex_);
  unresolved_ += names.size();
  Begun(state_->NoteRemovals(names));
}

void MirrorBackend::Resolved(size_t count) {
  MutexLock lock(mutex_);
  // A catching-up beside this may have counted them already.
  unresolved_ -= std::min<uint64_t>(unresolved_, count);
}

template <typename T, typename Operation>
T MirrorBackend::Read(const std::string& name, uint64_t offset, uint64_t length,
                      const Operation& operation) {
  Backend* const mirror = options_.reads_primary ? nullptr : mirror_.load();
  if (mirror == nullptr || !IsNamedByContent(name)) return operation(*primary_);
  auto timed = [&](NearerStore::Side side) {
    const int64_t start = clock_.MonotonicNanos();
    T outcome = operation(side == NearerStore::kMirror ? *mirror : *primary_);
    const int64_t now = clock_.MonotonicNanos();
    const Status status = StatusOf(outcome);
    if (status.ok()) nearer_.Served(side, length, now - start);
    if ((status.Is(Code::kUnavailable) && nearer_.Failed(side, now)) || status.Is(Code::kCorrupt)) {
      log_.Warning("reading " + name + " from the other store: " + status.message());
    }
    return outcome;
  };
  // A mirror that is known to be behind is asked where the primary fails.
  const auto first = Taking() == nullptr ? NearerStore::kPrimary
                                         : nearer_.Choose(primary_->IsNear(name, offset, length),
                                                          mirror->IsNear(name, offset, length),
                                                          clock_.MonotonicNanos());
  T outcome = timed(first);
  const Status failed = StatusOf(outcome);
  if (failed.ok() || failed.Is(Code::kInvalid) || failed.Is(Code::kInterrupted)) return outcome;
  const bool mirror_was_first = first == NearerStore::kMirror;
  T second = timed(mirror_was_first ? NearerStore::kPrimary : NearerStore::kMirror);
  // What the primary says counts, also about a failure.
  return mirror_was_first || StatusOf(second).ok() ? std::move(second) : std::move(outcome);
}

Result<Bytes> MirrorBackend::Get(const std::string& name) {
  std::optional<Bytes> damaged;  // what the primary has, if nobody has better
  auto got = Read<Result<Bytes>>(name, 0, 0, [&](Backend& store) -> Result<Bytes> {
    BKFS_ASSIGN(Bytes bytes, store.Get(name));
    if (!IsNamedByContent(name) || HashesToName(name, bytes)) return bytes;
    const Status bad(Code::kCorrupt,
                     store.Describe() + "/" + name + ": its bytes do not hash to its name");
    if (&store == primary_.get()) damaged = std::move(bytes);
    return bad;
  });
  if (!got.ok() && damaged) return *std::move(damaged);
  return got;
}

Status MirrorBackend::ReadAt(const std::string& name, uint64_t offset, MutableByteView out) {
  return Read<Status>(name, offset, out.size(),
                      [&](Backend& store) { return store.ReadAt(name, offset, out); });
}

bool MirrorBackend::IsNear(const std::string& name, uint64_t offset, uint64_t length) {
  if (primary_->IsNear(name, offset, length)) return true;
  Backend* const mirror = options_.reads_primary ? nullptr : Taking();
  const bool either = IsNamedByContent(name) || name == "packs";
  return either && mirror != nullptr && mirror->IsNear(name, offset, length);
}

// Of bytes that are on the primary, or are what their name says.
Status MirrorBackend::Mirrored(Backend& mirror, const std::string& name,
                               std::span<const ByteView> parts) {
  Status put = mirror.Put(name, parts);
  if (!put.Is(Code::kExists)) return put;
  if (HashesToName(name, parts)) {
    uint64_t size = 0;
    for (ByteView part : parts) size += part.size();
    auto there = mirror.Size(name);
    if (there.ok() && *there == size) return {};
  }
  return PutInstead(mirror, name, parts);
}

Status MirrorBackend::PutBoth(const std::string& name, std::span<const ByteView> parts,
                              Backend* mirror, Status& mirrored) {
  BesidePut beside(*this);
  const bool both_at_once =
      mirror != nullptr && !name.starts_with("snapshots/") && beside.Start(*mirror, name, parts);
  Status put = primary_->Put(name, parts);
  const bool stored = put.ok() || put.Is(Code::kExists);
  if (both_at_once) {
    mirrored = beside.Wait();
    // Unless it is put again, the mirror may keep what the primary has not got.
    if (!stored) NoteRemovals({name});
  } else if (stored && mirror != nullptr) {
    mirrored = Mirrored(*mirror, name, parts);
  }
  return put;
}

Status MirrorBackend::Put(const std::string& name, std::span<const ByteView> parts) {
  if (!IsMirrored(name)) return primary_->Put(name, parts);
  MirrorState::Change change(*state_);
  Begun(change.status());
  Backend* const mirror = Taking();
  Status mirrored(Code::kUnavailable, "it is away");
  Status put;
  bool is_due = false;
  if (HashesToName(name, parts)) {
    put = PutBoth(name, parts, mirror, mirrored);
    is_due = put.ok() || put.Is(Code::kExists);
  } else {
    put = primary_->Put(name, parts);
    is_due = put.ok();
    if (is_due && mirror != nullptr) mirrored = Mirrored(*mirror, name, parts);
  }
  if (is_due && !mirrored.ok()) Missed(mirrored);
  // A second try of this Put finds the primary's, and says nothing to the mirror.
  if (MayHaveHappened(put) && !mirrored.ok()) Missed({});
  return put;
}

void MirrorBackend::RemoveMirrored(const std::vector<std::string>& names) {
  Backend* const mirror = Taking();
  if (mirror == nullptr) return Missed({Code::kUnavailable, "it is away"});
  Status removed = mirror->RemoveAll(names);
  if (removed.ok()) return Resolved(names.size());
  if (removed.Is(Code::kDenied)) {
    log_.Warning("the mirror keeps what was removed for now: " + removed.message());
    return;
  }
  Missed(removed);
}

Status MirrorBackend::Remove(const std::string& name) {
  if (!IsMirrored(name)) return primary_->Remove(name);
  MirrorState::Change change(*state_);
  Begun(change.status());
  NoteRemovals({name});
  Status removed = primary_->Remove(name);
  if (removed.ok() || removed.Is(Code::kNotFound)) {
    RemoveMirrored({name});
  } else if (MayHaveHappened(removed)) {
    Missed({});
  } else {
    Resolved(1);
  }
  return removed;
}

Status MirrorBackend::RemoveAll(const std::vector<std::string>& names) {
  std::vector<std::string> mirrored;
  std::ranges::copy_if(names, std::back_inserter(mirrored), IsMirrored);
  if (mirrored.empty()) return primary_->RemoveAll(names);
  MirrorState::Change change(*state_);
  Begun(change.status());
  NoteRemovals(mirrored);
  Status removed = primary_->RemoveAll(names);
  if (removed.ok()) {
    RemoveMirrored(mirrored);
  } else {
    Missed({});  // which of them are gone is asked when it is caught up
  }
  return removed;
}

Result<RepackedObject> MirrorBackend::Repack(std::span<const RepackPiece> pieces) {
  MirrorState::Change change(*state_);
  Begun(change.status());
  auto made = primary_->Repack(pieces);
  if (!made.ok()) {
    if (MayHaveHappened(made.status())) Missed({});
    return made;
  }
  Backend* const mirror = Taking();
  Status mirrored(Code::kUnavailable, "it is away");
  if (mirror != nullptr) {
    mirrored = mirror->Repack(pieces).status();
    // It may lack a source, or not be able to.
    if (!mirrored.ok() && !mirrored.Is(Code::kUnavailable)) {
      mirrored = CopyObject(*primary_, *mirror, made->name).status();
    }
  }
  if (!mirrored.ok()) Missed(mirrored);
  return made;
}

Status MirrorBackend::Lock(const std::string& name, int64_t until_ns) {
  BKFS_TRY(primary_->Lock(name, until_ns));
  Backend* const mirror = Taking();
  if (mirror == nullptr || mirror->LockSpan() == 0) return {};
  Status locked = mirror->Lock(name, until_ns);
  if (!locked.ok()) log_.Warning("not locked for longer on the mirror: " + locked.message());
  return {};
}

}  // namespace bkfs

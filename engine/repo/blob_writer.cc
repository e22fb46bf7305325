// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/blob_writer.h"

#include <algorithm>

#include "engine/base/transfer.h"
#include "engine/codec/frame_codec.h"
#include "engine/crypto/hash.h"
#include "engine/repo/blob_writer_state.h"

namespace bkfs {

namespace {
constexpr size_t kQueue = 4096;  // never reached: the counters below bound what is queued
// Nor this, after a crash while the store was away either.
constexpr size_t kUploadQueue = 1 << 20;
constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kLongestRetry = 5 * kSecond;  // how long after a full disk has room again
}  // namespace

Result<DedupPolicy> ParseDedupPolicy(std::string_view word) {
  if (word == "own") return DedupPolicy::kOwn;
  if (word == "trusted") return DedupPolicy::kTrusted;
  if (word == "all") return DedupPolicy::kAll;
  return Status(Code::kInvalid,
                "unknown dedup policy '" + std::string(word) + "' (want own, trusted or all)");
}

BlobWriter::BlobWriter(const Context& context, std::unique_ptr<PackSpool> spool,
                       WriterOptions options)
    : context_(context),
      options_(options),
      spool_(std::move(spool)),
      tree_id_key_(TreeIdKey(context.key.id_key.view())),
      self_(context.key.id()),
      sealers_(options.threads, kQueue),
      uploads_(options.upload_threads, kUploadQueue) {}

BlobWriter::~BlobWriter() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  sealers_.Drain();
  uploads_.Drain();
}

BlobId BlobWriter::MakeId(PackKind kind, ByteView data) const {
  ByteView key = kind == PackKind::kContents ? context_.key.id_key.view() : tree_id_key_.view();
  BlobId id;
  id.bytes = KeyedHash(key, data);
  return id;
}

bool BlobWriter::Trusts(const KeyId& writer) {
  if (writer == self_ || options_.dedup == DedupPolicy::kAll) return true;
  {
    MutexLock lock(trust_mutex_);
    auto found = trust_.find(writer);
    if (found != trust_.end()) return found->second;
  }
  auto signer = context_.keys.Find(writer);
  bool trusted = signer.ok() && !signer->revoked() &&
                 (signer->type == KeyType::kMaster ||
                  (options_.dedup == DedupPolicy::kTrusted && MayReadContents(signer->type)));
  MutexLock lock(trust_mutex_);
  trust_[writer] = trusted;
  return trusted;
}

void BlobWriter::NoteUsed(const PackId& pack) {
  MutexLock lock(used_mutex_);
  used_.insert(pack);
}

bool BlobWriter::MayRelyOn(const PackId& pack, Purpose purpose) {
  if (!condemned_->Contains(pack)) return true;
  return purpose == Purpose::kKeep && held_.contains(pack) && !condemned_->doomed.contains(pack);
}

Result<bool> BlobWriter::IsStored(PackKind kind, const BlobId& id, Purpose purpose) {
  ReaderLock deciding(decide_mutex_);
  BKFS_ASSIGN(auto first, context_.index.Find(id));
  if (!first) return false;
  auto usable = [&](const BlobLocation& at) BKFS_NO_ANALYSIS -> Result<bool> {
    BKFS_ASSIGN(CachedPack pack, context_.index.Pack(at.pack));
    if (pack.kind != kind || at.frame.slot >= pack.slots.size()) return false;
    if (!Trusts(pack.slots[at.frame.slot].writer) || !MayRelyOn(pack.id, purpose)) return false;
    NoteUsed(pack.id);
    return true;
  };
  BKFS_ASSIGN(bool good, usable(*first));
  if (good) return true;
  BKFS_ASSIGN(auto copies, context_.index.FindAll(id));
  for (const auto& copy : copies) {
    BKFS_ASSIGN(good, usable(copy));
    if (good) return true;
  }
  return false;
}

std::vector<PackId> BlobWriter::Heed(std::shared_ptr<const CondemnedPacks> condemned,
                                     std::unordered_set<PackId, IdHash> held) {
  WriterLock alone(decide_mutex_);
  condemned_ = std::move(condemned);
  held_ = std::move(held);
  MutexLock lock(used_mutex_);
  std::vector<PackId> out;
  for (const auto& [pack, entry] : condemned_->condemned) {
    if (used_.contains(pack)) out.push_back(pack);
  }
  return out;
}

void BlobWriter::ForgetUsed() {
  MutexLock lock(used_mutex_);
  used_.clear();
}

Status BlobWriter::CurrentError() {
  if (!error_.ok()) return error_;
  return store_error_;
}

Status BlobWriter::health() {
  MutexLock lock(mutex_);
  return CurrentError();
}

WriterStats BlobWriter::stats() const {
  MutexLock lock(stats_mutex_);
  return stats_;
}

Status BlobWriter::WaitForRoom() {
  for (;;) {
    BKFS_TRY(error_);
    if (stopping_) return {Code::kInterrupted, "the writer is being closed"};
    const bool is_away = store_error_.Is(Code::kUnavailable);
    // Away, or closed to us: that may pass, and until then the spool takes what it can. There is no
    // sense in filling it for a store that is full.
    if (!store_error_.ok() && !is_away && !store_error_.Is(Code::kDenied)) return store_error_;
    if (frames_in_flight_ < options_.threads * 2 + 2 &&
        packs_in_flight_ < options_.packs_in_flight) {
      return {};
    }
    if (!store_error_.ok() && !is_away) return store_error_;
    BKFS_TRY(WaitForChange());
  }
}

// As long as the thread's watches let it.
Status BlobWriter::WaitForChange() {
  constexpr int64_t kLookNs = 100'000'000;
  changed_.WaitFor(mutex_, kLookNs);
  return TellWaiting();
}

bool BlobWriter::IsStopping() {
  MutexLock lock(mutex_);
  return stopping_;
}

bool BlobWriter::IsPending(PackKind kind, const BlobId& id) {
  MutexLock lock(mutex_);
  return pending_[Slot(kind)].contains(id);
}

Result<bool> BlobWriter::Has(PackKind kind, const BlobId& id) {
  if (IsPending(kind, id)) return true;
  return IsStored(kind, id, Purpose::kKeep);
}

Result<BlobId> BlobWriter::Add(PackKind kind, ByteView data) {
  if (data.size() > kMaxFramePlain) {
    return Status(Code::kTooLarge, "a blob of " + std::to_string(data.size()) + " bytes");
  }
  const BlobId id = MakeId(kind, data);
  bool known = false;
  std::shared_ptr<OpenFrame> before;
  std::shared_ptr<OpenFrame> full;
  for (bool decided = false; !decided;) {
    const uint64_t settled = settled_;
    known = IsPending(kind, id);
    if (!known) {
      BKFS_ASSIGN(known, IsStored(kind, id, Purpose::kReuse));
    }
    if (known) break;
    MutexLock lock(mutex_);
    BKFS_TRY(WaitForRoom());
    known = pending_[Slot(kind)].contains(id);  // another thread may have been quicker
    // Or so much quicker that the blob is stored by now: then the index is to be asked again.
    decided = known || settled_ == settled;
    if (known || !decided) continue;
    const auto& open = frames_[Slot(kind)];
    if (open && open->plain.size() + data.size() > kMaxFramePlain) before = TakeFrame(kind);
    full = AppendToFrame(kind, id, data);
  }
  if (before) Submit(std::move(before));
  if (full) Submit(std::move(full));
  MutexLock lock(stats_mutex_);
  (known ? stats_.blobs_known : stats_.blobs_new) += 1;
  (known ? stats_.bytes_known : stats_.bytes_new) += data.size();
  if (!known) stats_.bytes_pending += data.size();
  return id;
}

std::shared_ptr<BlobWriter::OpenFrame> BlobWriter::AppendToFrame(PackKind kind, const BlobId& id,
                                                                 ByteView data) {
  const size_t target =
      kind == PackKind::kContents ? options_.contents_frame : options_.trees_frame;
  auto& frame = frames_[Slot(kind)];
  if (!frame) {
    frame = std::make_shared<OpenFrame>();
    frame->kind = kind;
    frame->plain.reserve(target + context_.header.chunks.max);
    unspooled_.push_back(frame);
  }
  const auto offset = static_cast<uint32_t>(frame->plain.size());
  const auto length = static_cast<uint32_t>(data.size());
  Append(frame->plain, data);
  frame->blobs.push_back({id, 0, offset, length});
  pending_[Slot(kind)][id] = PendingBlob{frame, nullptr, {}, offset, length};
  // Of tiny blobs fewer: who wants one of them need not decode them all.
  if (frame->plain.size() + frame->blobs.size() * kBlobInFooter < target) return nullptr;
  return TakeFrame(kind);
}

std::shared_ptr<BlobWriter::OpenFrame> BlobWriter::TakeFrame(PackKind kind) {
  auto frame = std::move(frames_[Slot(kind)]);
  frames_[Slot(kind)] = nullptr;
  if (frame) ++frames_in_flight_;
  return frame;
}

void BlobWriter::Submit(std::shared_ptr<OpenFrame> frame) {
  sealers_.Submit([this, frame = std::move(frame)] { SealFrame(frame); });
}

void BlobWriter::SealFrame(const std::shared_ptr<OpenFrame>& frame) {
  thread_local std::pair<int, std::unique_ptr<FrameCodec>> codec;
  if (!codec.second || codec.first != options_.level) {
    codec = {options_.level, std::make_unique<FrameCodec>(options_.level)};
  }
  const Bytes inner = codec.second->Encode(frame->plain, context_.header.pad);
  Status status;
  for (int attempt = 0;; ++attempt) {
    status = PlaceAndPublish(*frame, inner);
    if (status.ok() || !options_.keep_trying || !WaitToRetry(status, attempt)) break;
  }
  if (!status.ok()) Fail(status);
  {
    MutexLock lock(mutex_);
    if (status.ok()) {
      if (frame->guard) frame->guard->Release();
      frame->guard.reset();
      std::erase(unspooled_, frame);
    }
    --frames_in_flight_;
  }
  changed_.NotifyAll();
}

// Places a frame, tells readers where its blobs are now, and passes the pack on when it is full.
Status BlobWriter::PlaceAndPublish(OpenFrame& frame, ByteView inner) {
  const size_t slot = Slot(frame.kind);
  MutexLock placing(place_mutex_[slot]);
  // A full pack that could not be finished (no room for its end) goes first.
  if (open_pack_[slot] && IsFull(*open_pack_[slot])) {
    BKFS_TRY(FinishOpenPack(slot));
  }
  std::shared_ptr<TravellingPack> pack;
  PackFrame place;
  BKFS_TRY(PlaceFrame(frame, inner, pack, place));
  {
    MutexLock lock(mutex_);
    for (const auto& blob : frame.blobs) {
      pending_[slot][blob.id] = PendingBlob{nullptr, pack, place, blob.offset, blob.length};
    }
  }
  if (!IsFull(*pack)) return {};
  Status finished = FinishOpenPack(slot);
  // The frame is placed; the pack's end is tried again with the next frame or by Flush.
  return options_.keep_trying ? OkStatus() : finished;
}

Status BlobWriter::PlaceFrame(OpenFrame& frame, ByteView inner,
                              std::shared_ptr<TravellingPack>& pack, PackFrame& place) {
  auto& open = open_pack_[Slot(frame.kind)];
  if (!open) {
    BKFS_ASSIGN(open, NewPack(frame.kind));
  }
  pack = open;
  Bytes sealed = pack->sealer->Seal({{inner}});
  place.offset = static_cast<uint32_t>(pack->size);
  place.length = static_cast<uint32_t>(sealed.size());
  place.plain = static_cast<uint32_t>(frame.plain.size());
  place.slot = 0;
  const auto number = static_cast<uint32_t>(pack->footer.frames.size());
  for (auto& blob : frame.blobs) blob.frame = number;
  {
    MutexLock lock(pack->mutex);
    BKFS_TRY(pack->spooled->AppendFrame(sealed, place, frame.blobs));
  }
  pack->hasher.Update(sealed);
  pack->size += sealed.size();
  pack->footer.frames.push_back(place);
  pack->footer.blobs.insert(pack->footer.blobs.end(), frame.blobs.begin(), frame.blobs.end());
  return {};
}

bool BlobWriter::WaitToRetry(const Status& why, int attempt) {
  MutexLock lock(mutex_);
  if (stopping_) return false;
  store_error_ = why;
  changed_.NotifyAll();
  const int64_t wait = std::min(kSecond << std::min(attempt, 5), kLongestRetry);
  const int64_t until = context_.clock.MonotonicNanos() + wait;
  const uint64_t wish = retry_wish_;
  while (!stopping_ && retry_wish_ == wish) {
    int64_t left = until - context_.clock.MonotonicNanos();
    if (left <= 0 || !changed_.WaitFor(mutex_, left)) break;
  }
  return !stopping_;
}

void BlobWriter::Fail(const Status& status) {
  {
    MutexLock lock(mutex_);
    if (stopping_) return;
    if (error_.ok()) error_ = status;
  }
  changed_.NotifyAll();
}

Status BlobWriter::Protect() {
  MutexLock lock(mutex_);
  BKFS_TRY(error_);
  for (const auto& frame : unspooled_) {
    if (frame->protected_count == frame->blobs.size()) continue;
    if (!frame->guard) {
      BKFS_ASSIGN(frame->guard, spool_->NewGuard());
    }
    for (; frame->protected_count < frame->blobs.size(); ++frame->protected_count) {
      const PackBlob& blob = frame->blobs[frame->protected_count];
      BKFS_TRY(frame->guard->Protect(frame->kind, blob.id,
                                     ByteView(frame->plain).subspan(blob.offset, blob.length)));
    }
  }
  return {};
}

Status BlobWriter::Sync() {
  BKFS_TRY(Protect());
  return spool_->Sync();
}

void BlobWriter::TryAgain() {
  {
    MutexLock lock(mutex_);
    store_error_ = {};
    ++retry_wish_;
  }
  changed_.NotifyAll();
}

Status BlobWriter::WaitForFrames() {
  TryAgain();
  MutexLock lock(mutex_);
  while (frames_in_flight_ > 0 && CurrentError().ok()) BKFS_TRY(WaitForChange());
  return CurrentError();
}

Status BlobWriter::WaitForUploads() {
  TryAgain();
  MutexLock lock(mutex_);
  while (packs_in_flight_ > 0 && CurrentError().ok()) BKFS_TRY(WaitForChange());
  return CurrentError();
}

Status BlobWriter::Flush() {
  for (PackKind kind : {PackKind::kContents, PackKind::kTrees}) {
    std::shared_ptr<OpenFrame> frame;
    {
      MutexLock lock(mutex_);
      BKFS_TRY(error_);
      frame = TakeFrame(kind);
    }
    if (frame) Submit(std::move(frame));
  }
  BKFS_TRY(WaitForFrames());
  for (PackKind kind : {PackKind::kContents, PackKind::kTrees}) {
    MutexLock placing(place_mutex_[Slot(kind)]);
    Status finished = FinishOpenPack(Slot(kind));
    if (!finished.ok()) {
      if (!options_.keep_trying) Fail(finished);
      return finished;
    }
  }
  BKFS_TRY(WaitForUploads());
  return PutSegments();
}

Result<std::optional<BlobData>> BlobWriter::ReadPending(PackKind kind, const BlobId& id) {
  PendingBlob pending;
  {
    MutexLock lock(mutex_);
    auto found = pending_[Slot(kind)].find(id);
    if (found == pending_[Slot(kind)].end()) return std::optional<BlobData>();
    pending = found->second;
    if (pending.frame) {
      ByteView bytes = ByteView(pending.frame->plain).subspan(pending.offset, pending.length);
      auto copy = std::make_shared<const Bytes>(bytes.begin(), bytes.end());
      return std::optional<BlobData>(BlobData{copy, *copy});
    }
  }
  auto slice = [&](const FramePtr& frame) {
    return std::optional<BlobData>(
        BlobData{frame, frame->plain().subspan(pending.offset, pending.length)});
  };
  const std::pair<const TravellingPack*, uint32_t> at{pending.pack.get(), pending.place.offset};
  {
    MutexLock lock(decoded_mutex_);
    if (decoded_ && decoded_at_ == at) return slice(decoded_);
  }
  Bytes sealed(pending.place.length);
  Secret key;
  {
    MutexLock lock(pending.pack->mutex);
    if (!pending.pack->spooled) return std::optional<BlobData>();  // just stored: the index has it
    BKFS_TRY(pending.pack->spooled->ReadAt(pending.place.offset, sealed));
    key = pending.pack->key.Clone();
  }
  BKFS_ASSIGN(Bytes inner,
              bkfs::OpenFrame(pending.pack->slot.cipher, key.view(), context_.header.repo,
                              static_cast<uint8_t>(kind), sealed));
  FrameCodec codec;
  BKFS_ASSIGN(Bytes plain, codec.Decode(inner, pending.place.plain));
  auto frame = std::make_shared<const DecodedFrame>(std::move(plain));
  MutexLock lock(decoded_mutex_);
  decoded_ = frame;
  decoded_at_ = at;
  return slice(frame);
}

}  // namespace bkfs

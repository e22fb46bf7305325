// SPDX-License-Identifier: Apache-2.0
// Packs on their way: begun, finished, stored, indexed, taken over after a crash.
#include <algorithm>

#include "engine/base/transfer.h"
#include "engine/repo/blob_writer_state.h"

namespace bkfs {

namespace {
// In an index segment, unless its bytes are the limit: what a killed backup sends again at most.
constexpr size_t kSegmentPacks = 32;

uint64_t FooterBytes(const std::vector<IndexedPack>& packs) {
  uint64_t bytes = 0;
  for (const auto& pack : packs) bytes += pack.footer.body.size();
  return bytes;
}
}  // namespace

Result<std::shared_ptr<BlobWriter::TravellingPack>> BlobWriter::NewPack(PackKind kind) {
  const EpochPublicKeys epoch = context_.epochs.Newest();
  auto pack = std::make_shared<TravellingPack>();
  pack->kind = kind;
  pack->key = RandomSecret(32);
  pack->sealer = std::make_unique<FrameSealer>(context_.header.cipher, pack->key.Clone(),
                                               context_.header.repo, static_cast<uint8_t>(kind));
  pack->slot.epoch = epoch.epoch;
  pack->slot.cipher = context_.header.cipher;
  pack->slot.writer = self_;
  pack->slot.box =
      SealBox(kind == PackKind::kContents ? epoch.content : epoch.tree, pack->key.view());
  const Bytes header = EncodePackHeader(kind);
  {
    MutexLock lock(pack->mutex);
    BKFS_ASSIGN(pack->spooled, spool_->Create(kind, header, pack->slot, pack->key.view()));
  }
  pack->hasher.Update(header);
  pack->size = header.size();
  pack->footer.kind = kind;
  pack->footer.signer = self_;
  pack->footer.slots.push_back(pack->slot);
  return pack;
}

// Tiny blobs make a footer that is larger than what they hold.
bool BlobWriter::IsFull(const TravellingPack& pack) const {
  return pack.size + pack.footer.blobs.size() * kBlobInFooter >= options_.pack_target;
}

Status BlobWriter::FinishPack(const std::shared_ptr<TravellingPack>& pack) {
  pack->footer.data_hash = pack->hasher.Finish();
  pack->signed_footer = SignFooter(pack->footer, context_.header.repo, context_.key.signing);
  Bytes end = EncodePackEnd(pack->signed_footer, context_.header.cipher,
                            context_.key.index_key.view(), context_.header.repo);
  {
    MutexLock lock(pack->mutex);
    BKFS_TRY(pack->spooled->AppendEnd(end, pack->signed_footer));
  }
  pack->hasher.Update(end);
  pack->size += end.size();
  pack->id.bytes = pack->hasher.Finish();
  return {};
}

Status BlobWriter::FinishOpenPack(size_t slot) {
  if (!open_pack_[slot]) return {};
  BKFS_TRY(FinishPack(open_pack_[slot]));
  QueueUpload(std::move(open_pack_[slot]));
  open_pack_[slot] = nullptr;
  return {};
}

void BlobWriter::QueueUpload(std::shared_ptr<TravellingPack> pack) {
  {
    MutexLock lock(mutex_);
    ++packs_in_flight_;
  }
  uploads_.Submit([this, pack = std::move(pack)] { Upload(pack); });
}

void BlobWriter::Upload(const std::shared_ptr<TravellingPack>& pack) {
  // A store that is away must not hold up the writer's end.
  WaitLimit until_stopped(WaitLimit::kForever, [this] { return IsStopping(); });
  const WatchScope scope(until_stopped);
  Status status;
  for (int attempt = 0;; ++attempt) {
    status = StoreOnce(*pack);
    if (status.ok() || !options_.keep_trying || IsStopping()) break;
    if (attempt == 0 && health().ok()) {  // the others are kept for the same reason
      context_.log.Error("storing a pack failed, it is kept: " + status.message());
    }
    if (!WaitToRetry(status, attempt)) break;
  }
  if (status.ok()) Settle(*pack);
  bool segment_due = false;
  {
    MutexLock lock(mutex_);
    if (status.ok()) store_error_ = {};
    --packs_in_flight_;
    segment_due =
        unindexed_.size() >= kSegmentPacks || FooterBytes(unindexed_) >= options_.segment_target;
  }
  if (!status.ok()) Fail(status);
  changed_.NotifyAll();
  if (segment_due) {
    Status put = PutSegments();
    if (!put.ok()) context_.log.Warning("index segment not stored yet: " + put.message());
  }
}

// The same frames under another name: the end is sealed with a salt of its own.
Status BlobWriter::GiveNewName(TravellingPack& pack) {
  const Bytes end = EncodePackEnd(pack.signed_footer, context_.header.cipher,
                                  context_.key.index_key.view(), context_.header.repo);
  Hasher hasher;
  MutexLock lock(pack.mutex);
  BKFS_TRY(pack.spooled->ReplaceEnd(end));
  BKFS_ASSIGN(auto parts, pack.spooled->Contents());
  for (ByteView part : parts) hasher.Update(part);
  pack.id.bytes = hasher.Finish();
  return {};
}

Status BlobWriter::StoreOnce(TravellingPack& pack) {
  for (;;) {
    // Before anybody can see it, and condemn it because nothing refers to it yet.
    NoteUsed(pack.id);
    // It was stored once, and this process slept: what is put under that name now would go with
    // what maintenance has given up.
    if (IsGivenUp(pack.id)) {
      context_.log.Info(PackName(pack.id) + " was given up by maintenance; it is stored anew");
      BKFS_TRY(GiveNewName(pack));
      continue;
    }
    BKFS_TRY(Put(pack));
    if (!IsDoomed(pack.id)) break;  // by an entry that has been heeded meanwhile
  }
  const IndexedPack indexed{pack.id, pack.size, pack.signed_footer};
  BKFS_TRY(spool_->RememberStored(indexed));
  BKFS_TRY(context_.index.AddPack(pack.id, pack.size, pack.footer).status());
  MutexLock lock(mutex_);
  unindexed_.push_back(indexed);
  return {};
}

Status BlobWriter::Put(TravellingPack& pack) {
  const std::string name = PackName(pack.id);
  std::vector<ByteView> parts;
  {
    MutexLock lock(pack.mutex);
    BKFS_ASSIGN(parts, pack.spooled->Contents());
  }
  Status put = context_.store.Put(name, parts);
  // Taken already: a try that failed only seemingly, or a crash after it. The name is the hash of
  // the bytes, so only a short object could differ.
  if (put.Is(Code::kExists)) {
    BKFS_ASSIGN(uint64_t size, context_.store.Size(name));
    if (size != pack.size) return {Code::kCorrupt, name + " is in the store with another size"};
    return {};
  }
  return put;
}

// The pack is in the store and in the index: readers find its blobs there.
void BlobWriter::Settle(TravellingPack& pack) {
  uint64_t plain = 0;
  {
    MutexLock lock(mutex_);
    ++settled_;
    auto& pending = pending_[Slot(pack.kind)];
    for (const auto& blob : pack.footer.blobs) {
      plain += blob.length;
      auto found = pending.find(blob.id);
      if (found != pending.end() && found->second.pack.get() == &pack) pending.erase(found);
    }
  }
  {
    MutexLock lock(stats_mutex_);
    stats_.bytes_stored += pack.size;
    stats_.bytes_pending -= std::min(stats_.bytes_pending, plain);
  }
  {
    MutexLock lock(decoded_mutex_);
    decoded_at_ = {nullptr, 0};
    decoded_ = nullptr;
  }
  MutexLock lock(pack.mutex);
  pack.spooled->Discard();
  pack.spooled = nullptr;
  pack.key = Secret();
  pack.sealer = nullptr;
}

Status BlobWriter::PutSegments() {
  MutexLock one_at_a_time(segment_mutex_);
  for (;;) {
    IndexSegment segment;
    {
      ReaderLock deciding(decide_mutex_);
      segment.as_of = condemned_->last;
    }
    {
      MutexLock lock(mutex_);
      uint64_t bytes = 0;
      for (const auto& pack : unindexed_) {
        if (segment.packs.size() == kSegmentPacks || bytes >= options_.segment_target) break;
        segment.packs.push_back(pack);
        bytes += pack.footer.body.size();
      }
    }
    if (segment.packs.empty()) return {};
    BKFS_TRY(PutSegment(segment));
  }
}

Status BlobWriter::PutSegment(const IndexSegment& segment) {
  Bytes object = EncodeIndexSegment(segment, context_.header.cipher, context_.key.index_key.view(),
                                    context_.header.repo);
  IndexId id;
  id.bytes = HashBytes(object);
  BKFS_TRY(context_.store.PutOne(IndexName(id), object));
  std::vector<PackId> packs;
  for (const auto& pack : segment.packs) packs.push_back(pack.id);
  {
    MutexLock lock(mutex_);
    unindexed_.erase(unindexed_.begin(), unindexed_.begin() + static_cast<ptrdiff_t>(packs.size()));
  }
  BKFS_TRY(context_.index.MarkSegment(id, packs));
  return spool_->ForgetStored(packs);
}

Status BlobWriter::AdoptComplete(std::unique_ptr<SpooledPack> spooled,
                                 const SignedFooter& signed_footer, Secret key) {
  auto pack = std::make_shared<TravellingPack>();
  uint64_t size = 0;
  {
    MutexLock lock(pack->mutex);
    pack->spooled = std::move(spooled);
    BKFS_ASSIGN(auto parts, pack->spooled->Contents());
    for (ByteView part : parts) {
      pack->hasher.Update(part);
      size += part.size();
    }
  }
  pack->size = size;
  pack->id.bytes = pack->hasher.Finish();
  pack->key = std::move(key);
  pack->signed_footer = signed_footer;
  BKFS_ASSIGN(pack->footer, DecodeFooterBody(signed_footer.body, size));
  pack->kind = pack->footer.kind;
  pack->slot = pack->footer.slots.at(0);
  // Cut by a power failure while it was given another name.
  if (!HasSoundEnd(*pack)) BKFS_TRY(GiveNewName(*pack));
  PublishAdopted(std::move(pack));
  return {};
}

Status BlobWriter::AdoptFrames(std::unique_ptr<SpooledPack> spooled, PackKind kind,
                               const PackSlot& slot, Secret key, std::vector<PackFrame> frames,
                               std::vector<PackBlob> blobs) {
  auto pack = std::make_shared<TravellingPack>();
  {
    MutexLock lock(pack->mutex);
    pack->spooled = std::move(spooled);
    BKFS_ASSIGN(auto parts, pack->spooled->Contents());
    for (ByteView part : parts) {
      pack->hasher.Update(part);
      pack->size += part.size();
    }
  }
  pack->kind = kind;
  pack->slot = slot;
  pack->key = std::move(key);
  pack->footer.kind = kind;
  pack->footer.signer = self_;
  pack->footer.slots = {slot};
  pack->footer.frames = std::move(frames);
  pack->footer.blobs = std::move(blobs);
  BKFS_TRY(FinishPack(pack));
  PublishAdopted(pack);
  return {};
}

void BlobWriter::PublishAdopted(std::shared_ptr<TravellingPack> pack) {
  {
    MutexLock lock(mutex_);
    for (const auto& blob : pack->footer.blobs) {
      pending_[Slot(pack->kind)][blob.id] =
          PendingBlob{nullptr, pack, pack->footer.frames[blob.frame], blob.offset, blob.length};
    }
  }
  QueueUpload(std::move(pack));
}

bool BlobWriter::HasSoundEnd(TravellingPack& pack) {
  MutexLock lock(pack.mutex);
  Bytes end(kPackTrailer);
  if (!pack.spooled->ReadAt(pack.size - end.size(), end).ok()) return false;
  auto length = DecodePackTrailer(end);
  if (!length.ok() || *length > pack.size) return false;
  end.resize(*length);
  return pack.spooled->ReadAt(pack.size - end.size(), end).ok() &&
         DecodePackEnd(end, context_.key.index_key.view(), context_.header.repo).ok();
}

bool BlobWriter::IsGivenUp(const PackId& pack) {
  ReaderLock deciding(decide_mutex_);
  return condemned_->Contains(pack);
}

bool BlobWriter::IsDoomed(const PackId& pack) {
  ReaderLock deciding(decide_mutex_);
  return condemned_->doomed.contains(pack);
}

Status BlobWriter::AdoptStored(const IndexedPack& indexed) {
  const auto there = context_.store.Size(PackName(indexed.id));
  if (IsDoomed(indexed.id) || there.code() == Code::kNotFound) {
    context_.log.Warning(PackName(indexed.id) + " was given up by maintenance meanwhile");
    return spool_->ForgetStored({indexed.id});
  }
  if (!there.ok()) return there.status();
  BKFS_ASSIGN(PackFooter footer, DecodeFooterBody(indexed.footer.body, indexed.size));
  BKFS_ASSIGN(uint32_t number, context_.index.AddPack(indexed.id, indexed.size, footer));
  (void)number;
  NoteUsed(indexed.id);
  MutexLock lock(mutex_);
  unindexed_.push_back(indexed);
  return {};
}

}  // namespace bkfs

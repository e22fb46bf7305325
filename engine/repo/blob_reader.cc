// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/blob_reader.h"

#include <algorithm>

#include "engine/base/transfer.h"
#include "engine/codec/frame_codec.h"
#include "engine/crypto/hash.h"

namespace bkfs {

namespace {
constexpr uint64_t kMostTogether = 4 << 20;  // bytes of neighbouring frames in one request
constexpr uint64_t kMostGap = 64 << 10;      // fetched in vain between two of them

FrameCodec& ThreadCodec() {
  thread_local FrameCodec codec;
  return codec;
}
}  // namespace

Secret TreeIdKey(ByteView id_key) { return DeriveKey("bkfs v1 tree id", id_key); }

BlobReader::BlobReader(Backend& store, IndexCache& index, const KeyMaterial& key, Epochs& epochs,
                       const RepoHeader& header, Logger& log, std::function<Status()> refresh,
                       Options options)
    : store_(store),
      is_far_(!store.IsNear("packs", 0, 1)),
      most_ahead_(std::clamp(options.frame_cache_bytes / 4, kFirstAhead, kMostAhead)),
      index_(index),
      key_(key),
      header_(header),
      log_(log),
      refresh_(std::move(refresh)),
      tree_id_key_(TreeIdKey(key.id_key.view())),
      frames_(options.frame_cache_bytes),
      windows_(store, options.window_bytes),
      pack_keys_(epochs),
      prefetch_(is_far_ ? options.prefetch_threads_far : options.prefetch_threads, 16) {}

BlobReader::~BlobReader() {
  stopping_ = true;
  prefetch_.Drain();
}

void BlobReader::SetPending(PendingBlobs* pending) {
  MutexLock lock(pending_mutex_);
  pending_ = pending;
}

bool BlobReader::CanRead(PackKind kind) const {
  return kind == PackKind::kContents ? MayReadContents(key_.type) : MayReadTrees(key_.type);
}

Result<BlobData> BlobReader::Read(PackKind kind, const BlobId& id) {
  PendingBlobs* pending = nullptr;
  {
    MutexLock lock(pending_mutex_);
    pending = pending_;
  }
  if (pending) {
    BKFS_ASSIGN(auto found, pending->ReadPending(kind, id));
    if (found) return std::move(*found);
  }
  return ReadStored(kind, id);
}

Result<BlobData> BlobReader::ReadStored(PackKind kind, const BlobId& id) {
  if (!CanRead(kind)) {
    return Status(Code::kDenied,
                  "a " + std::string(KeyTypeName(key_.type)) + " key cannot read what is stored");
  }
  BKFS_ASSIGN(auto at, index_.Find(id));
  if (!at && refresh_) {
    BKFS_TRY(refresh_());
    BKFS_ASSIGN(at, index_.Find(id));
  }
  if (!at) {
    return Status(Code::kCorrupt,
                  "blob " + id.hex() + " is in no pack the index knows: the pack is missing");
  }
  Result<BlobData> data = ReadAt(kind, id, *at);
  if (data.code() == Code::kNotFound && refresh_) {
    // Maintenance may have moved the blob and deleted the pack since.
    BKFS_TRY(refresh_());
  } else if (data.ok() || data.code() != Code::kCorrupt) {
    return data;
  } else {
    log_.Error(data.status().message());
  }
  BKFS_ASSIGN(auto copies, index_.FindAll(id));
  Status trouble;
  for (const auto& copy : copies) {
    if (copy.pack == at->pack && copy.frame.offset == at->frame.offset) continue;
    Result<BlobData> other = ReadAt(kind, id, copy);
    if (other.ok()) {
      if (data.code() == Code::kCorrupt) {
        log_.Warning("blob " + id.hex() + " was read from another pack");
      }
      return other;
    }
    // The store is in trouble: that says nothing about this copy.
    if (!other.status().Is(Code::kCorrupt) && !other.status().Is(Code::kNotFound)) {
      trouble = other.status();
    }
  }
  BKFS_TRY(trouble);
  if (data.code() != Code::kNotFound) return data;
  log_.Error(data.status().message());
  return Status(Code::kCorrupt, data.status().message());
}

Result<BlobData> BlobReader::ReadAt(PackKind kind, const BlobId& id, const BlobLocation& at) {
  BKFS_ASSIGN(FramePtr frame, Frame(kind, at));
  ByteView plain = frame->plain();
  if (uint64_t{at.offset} + at.length > plain.size()) {
    return Status(Code::kCorrupt, "blob " + id.hex() + " lies outside its frame");
  }
  ByteView bytes = plain.subspan(at.offset, at.length);
  if (!frame->IsVerified(at.offset)) {
    ByteView key = kind == PackKind::kContents ? key_.id_key.view() : tree_id_key_.view();
    if (KeyedHash(key, bytes) != id.bytes) {
      return Status(Code::kCorrupt,
                    "blob " + id.hex() + " does not hash to its id: its writer stored other bytes");
    }
    frame->SetVerified(at.offset);
  }
  return BlobData{frame, bytes};
}

Result<FramePtr> BlobReader::Frame(PackKind kind, const BlobLocation& at) {
  return frames_.GetOrLoad({at.pack, at.frame.offset, static_cast<uint8_t>(kind)},
                           [&] { return LoadFrame(kind, at); });
}

Result<FramePtr> BlobReader::LoadFrame(PackKind kind, const BlobLocation& at) {
  auto known = index_.Pack(at.pack);
  if (!known.ok()) return known.status();  // kNotFound: forgotten a moment ago
  const CachedPack pack = *std::move(known);
  const std::string name = PackName(pack.id);
  if (pack.kind != kind) {
    return Status(Code::kCorrupt, name + " is of the wrong kind: its index entry was forged");
  }
  BKFS_ASSIGN(Secret key, pack_keys_.Open(at.pack, pack, at.frame.slot));
  if (at.frame.length > kMaxFrameLength || at.frame.plain > kMaxFramePlain) {
    return Status(Code::kCorrupt, name + ": frame is larger than the format allows");
  }
  Bytes sealed(at.frame.length);
  const PackWindows::Pack place{at.pack, kind, pack.size, name};
  Status read = windows_.Read(place, at.frame.offset, MutableByteView(sealed));
  if (is_far_) FetchAhead(place, at.frame.offset + at.frame.length);
  if (read.Is(Code::kNotFound)) {
    return Status(Code::kNotFound, name + " is missing from the store");
  }
  BKFS_TRY(read);
  auto inner = OpenFrame(pack.slots[at.frame.slot].cipher, key.view(), header_.repo,
                         static_cast<uint8_t>(kind), sealed);
  if (!inner.ok()) {
    return Status(Code::kCorrupt, name + ": frame at " + std::to_string(at.frame.offset) +
                                      " was changed: " + inner.status().message());
  }
  auto plain = ThreadCodec().Decode(*inner, at.frame.plain);
  if (!plain.ok()) return plain.status().WithContext(name);
  return FramePtr(std::make_shared<DecodedFrame>(std::move(plain).value()));
}

// Small files that are read one after the other lie one after the other.
void BlobReader::FetchAhead(const PackWindows::Pack& pack, uint64_t offset) {
  const PackWindows::Range range = windows_.Ahead(pack, offset);
  if (range.length == 0) return;
  (void)prefetch_.TrySubmit([this, pack, range] {
    WaitLimit until_stopped(WaitLimit::kForever, [this] { return stopping_.load(); });
    const WatchScope scope(until_stopped);
    windows_.Fetch(pack, range.offset, range.length);
  });
}

std::vector<BlobLocation> BlobReader::NotCached(PackKind kind, const std::vector<BlobId>& ids) {
  std::vector<BlobLocation> places;
  FrameKey last{~0U, ~0U, 0};
  for (const auto& id : ids) {
    auto at = index_.Find(id);
    if (!at.ok() || !*at) continue;
    const BlobLocation place = **at;
    const FrameKey key{place.pack, place.frame.offset, static_cast<uint8_t>(kind)};
    if (key == last || frames_.Contains(key)) continue;
    last = key;
    places.push_back(place);
  }
  return places;
}

// In the order of their first blobs: what is read first is fetched first.
std::vector<BlobReader::Group> BlobReader::GroupByRange(PackKind kind,
                                                        std::vector<BlobLocation> places) {
  std::vector<Group> groups;
  for (BlobLocation& place : places) {
    const uint64_t begin = place.frame.offset;
    const uint64_t end = begin + place.frame.length;
    if (!groups.empty() && !groups.back().is_near && groups.back().pack.number == place.pack) {
      Group& last = groups.back();
      if (begin >= last.begin && begin <= last.end + kMostGap &&
          std::max(end, last.end) - last.begin <= kMostTogether) {
        last.end = std::max(end, last.end);
        last.places.push_back(std::move(place));
        continue;
      }
    }
    auto pack = index_.Pack(place.pack);
    if (!pack.ok()) continue;
    const std::string name = PackName(pack->id);
    const bool is_near = store_.IsNear(name, begin, end - begin);
    Group group{{place.pack, kind, pack->size, name}, begin, end, is_near, {}};
    group.places.push_back(std::move(place));
    groups.push_back(std::move(group));
  }
  return groups;
}

void BlobReader::Prefetch(PackKind kind, const std::vector<BlobId>& ids) {
  if (!CanRead(kind)) return;
  for (Group& group : GroupByRange(kind, NotCached(kind, ids))) {
    // An error is met again, and told, by whoever reads the blob.
    auto load = [this, kind, wanted = std::make_shared<const Group>(std::move(group))] {
      WaitLimit until_stopped(WaitLimit::kForever, [this] { return stopping_.load(); });
      const WatchScope scope(until_stopped);
      if (wanted->places.size() > 1) {
        windows_.Fetch(wanted->pack, wanted->begin, wanted->end - wanted->begin);
      }
      for (const BlobLocation& place : wanted->places) (void)Frame(kind, place);
    };
    if (!prefetch_.TrySubmit(std::move(load))) return;
  }
}

}  // namespace bkfs

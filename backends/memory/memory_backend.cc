// SPDX-License-Identifier: Apache-2.0
#include "backends/memory/memory_backend.h"

#include <algorithm>
#include <utility>

#include "engine/base/transfer.h"
#include "engine/crypto/hash.h"
#include "engine/format/pack.h"

namespace bkfs {

Result<MemoryBackend::Stored> MemoryBackend::Find(const std::string& name) const {
  BKFS_TRY(CheckObjectName(name));
  MutexLock lock(mutex_);
  auto it = objects_.find(name);
  if (it == objects_.end()) return Status(Code::kNotFound, "no object " + name);
  return it->second;
}

Result<Bytes> MemoryBackend::Get(const std::string& name) {
  BKFS_ASSIGN(Stored stored, Find(name));
  BKFS_TRY(TellReceivedAll(stored.object->size()));
  return Bytes(*stored.object);
}

Status MemoryBackend::ReadAt(const std::string& name, uint64_t offset, MutableByteView out) {
  BKFS_ASSIGN(Stored stored, Find(name));
  const Object& object = stored.object;
  if (offset > object->size() || out.size() > object->size() - offset) {
    return {Code::kCorrupt, name + " ends too early: it has been cut"};
  }
  std::copy_n(object->data() + offset, out.size(), out.data());
  return TellReceivedAll(out.size());
}

Status MemoryBackend::Put(const std::string& name, std::span<const ByteView> parts) {
  BKFS_TRY(CheckObjectName(name));
  uint64_t size = 0;
  for (ByteView part : parts) size += part.size();
  Bytes data;
  data.reserve(size);
  for (ByteView part : parts) {
    for (; !part.empty(); part = part.subspan(std::min(part.size(), kTransferPiece))) {
      const ByteView piece = part.first(std::min(part.size(), kTransferPiece));
      BKFS_TRY(TellSending(piece.size()));
      Append(data, piece);
    }
  }
  auto object = std::make_shared<const Bytes>(std::move(data));

  MutexLock lock(mutex_);
  if (objects_.contains(name)) return {Code::kExists, name + " is there already"};
  if (capacity_ != 0 && (used_ > capacity_ || size > capacity_ - used_)) {
    return {Code::kNoSpace, "no space for " + name};
  }
  objects_.emplace(
      name, Stored{std::move(object), Now(), IsLockedWhenPut(name) ? Now() + lock_span_ : 0});
  used_ += size;
  return {};
}

Result<uint64_t> MemoryBackend::Size(const std::string& name) {
  BKFS_ASSIGN(Stored stored, Find(name));
  return uint64_t{stored.object->size()};
}

Result<int64_t> MemoryBackend::ModifiedAt(const std::string& name) {
  BKFS_ASSIGN(Stored stored, Find(name));
  return stored.time_ns;
}

Status MemoryBackend::List(
    const std::string& prefix,
    const std::function<Status(const std::string& name, uint64_t size)>& visit) {
  BKFS_TRY(CheckObjectPrefix(prefix));
  // The lock is taken anew for each step, so that `visit` may use this store.
  std::string last = prefix;
  for (;;) {
    uint64_t size = 0;
    {
      MutexLock lock(mutex_);
      auto it = objects_.upper_bound(last);
      if (it == objects_.end() || !it->first.starts_with(prefix)) return {};
      last = it->first;
      size = it->second.object->size();
    }
    BKFS_TRY(visit(last, size));
  }
}

Status MemoryBackend::Remove(const std::string& name) {
  BKFS_TRY(CheckObjectName(name));
  MutexLock lock(mutex_);
  auto it = objects_.find(name);
  if (it == objects_.end()) return {Code::kNotFound, "no object " + name};
  if (it->second.locked_ns > Now()) {
    return {Code::kDenied, name + " is locked until " + FormatRfc3339(it->second.locked_ns)};
  }
  used_ -= it->second.object->size();
  objects_.erase(it);
  return {};
}

Result<int64_t> MemoryBackend::LockedUntil(const std::string& name) {
  BKFS_ASSIGN(Stored stored, Find(name));
  return stored.locked_ns;
}

Status MemoryBackend::Lock(const std::string& name, int64_t until_ns) {
  if (lock_span_ == 0) return Backend::Lock(name, until_ns);
  MutexLock lock(mutex_);
  auto it = objects_.find(name);
  if (it == objects_.end()) return {Code::kNotFound, "no object " + name};
  it->second.locked_ns = std::max(it->second.locked_ns, until_ns);
  return {};
}

bool MemoryBackend::IsLockedWhenPut(const std::string& name) const {
  if (lock_span_ == 0) return false;
  return name == "bkfs.repo" || name.starts_with("packs/") || name.starts_with("snapshots/") ||
         name.starts_with("keys/");
}

Result<StoreSpace> MemoryBackend::Space() {
  MutexLock lock(mutex_);
  if (capacity_ == 0) return StoreSpace{};
  return StoreSpace{.total = capacity_, .available = capacity_ - std::min(used_, capacity_)};
}

Result<RepackedObject> MemoryBackend::Repack(std::span<const RepackPiece> pieces) {
  if (pieces.empty()) return Status(Code::kInvalid, "a new object of nothing");
  std::map<std::string, Object> sources;
  Bytes data;
  for (const auto& piece : pieces) {
    if (piece.source.empty()) {
      Append(data, piece.bytes);
      continue;
    }
    Object& source = sources[piece.source];
    if (!source) {
      BKFS_ASSIGN(PackId id, ParsePackName(piece.source));
      BKFS_ASSIGN(Stored stored, Find(piece.source));
      if (HashBytes(*stored.object) != id.bytes) {
        return Status(Code::kCorrupt, piece.source + ": its bytes do not hash to its name");
      }
      source = stored.object;
    }
    if (piece.offset > source->size() || piece.length > source->size() - piece.offset) {
      return Status(Code::kCorrupt, piece.source + " is too short for a piece of it");
    }
    Append(data, ByteView(*source).subspan(piece.offset, piece.length));
  }
  PackId id;
  id.bytes = HashBytes(data);
  RepackedObject made{PackName(id), data.size()};
  Status put = PutOne(made.name, data);
  if (!put.ok() && !put.Is(Code::kExists)) return put;
  return made;
}

std::unique_ptr<MemoryBackend> MemoryBackend::Clone() const {
  auto copy = std::make_unique<MemoryBackend>(capacity_, clock_);
  copy->lock_span_ = lock_span_;
  MutexLock lock(mutex_);
  MutexLock copy_lock(copy->mutex_);  // nobody else knows it yet
  copy->objects_ = objects_;
  copy->used_ = used_;
  return copy;
}

void MemoryBackend::Replace(const std::string& name, Bytes data) {
  auto object = std::make_shared<const Bytes>(std::move(data));
  MutexLock lock(mutex_);
  auto [it, added] = objects_.try_emplace(name, Stored{object, Now(), 0});
  if (!added) used_ -= std::exchange(it->second.object, object)->size();
  used_ += object->size();
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "backends/decorators/read_cache_backend.h"

namespace bkfs {

namespace {
bool IsPack(const std::string& name) { return name.starts_with("packs/"); }
bool IsRecord(const std::string& name) {
  return name.starts_with("snapshots/") ||
         (name.starts_with("removed/") && !name.starts_with("removed/lease-"));
}

// A record is kept with its length before it, so that a whole one is known as such.
constexpr uint64_t kLengthSize = 8;
}  // namespace

Result<Bytes> ReadCacheBackend::Get(const std::string& name) {
  if (!IsRecord(name)) return inner().Get(name);
  Bytes length(kLengthSize);
  if (cache_->Read(name, 0, length)) {
    const auto size = Load<uint64_t>(length.data());
    if (cache_->Has(name, kLengthSize, size)) {
      Bytes object(size);
      if (cache_->Read(name, kLengthSize, object)) return object;
    }
  }
  BKFS_ASSIGN(Bytes object, inner().Get(name));
  if (object.empty()) return object;
  Bytes kept;
  AppendInt(kept, uint64_t{object.size()});
  Append(kept, object);
  cache_->Keep(name, 0, kept);
  return object;
}

Status ReadCacheBackend::ReadAt(const std::string& name, uint64_t offset, MutableByteView out) {
  if (!IsPack(name)) return inner().ReadAt(name, offset, out);
  if (cache_->Read(name, offset, out)) return {};
  BKFS_TRY(inner().ReadAt(name, offset, out));
  cache_->Keep(name, offset, out);
  return {};
}

bool ReadCacheBackend::IsNear(const std::string& name, uint64_t offset, uint64_t length) {
  return (IsPack(name) && cache_->Has(name, offset, length)) ||
         inner().IsNear(name, offset, length);
}

Status ReadCacheBackend::Remove(const std::string& name) {
  cache_->Forget(name);
  return inner().Remove(name);
}

Status ReadCacheBackend::RemoveAll(const std::vector<std::string>& names) {
  for (const std::string& name : names) cache_->Forget(name);
  return inner().RemoveAll(names);
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "backends/decorators/mirror_objects.h"

#include <algorithm>

#include "engine/crypto/hash.h"
#include "engine/format/pack.h"
#include "engine/format/snapshot.h"

namespace bkfs {

namespace {
bool HasBytes(const Bytes& stored, std::span<const ByteView> parts) {
  ByteView rest(stored);
  for (ByteView part : parts) {
    if (part.size() > rest.size() || !std::ranges::equal(part, rest.first(part.size()))) {
      return false;
    }
    rest = rest.subspan(part.size());
  }
  return rest.empty();
}
}  // namespace

bool IsMirrored(std::string_view name) { return !name.starts_with("leases/"); }

bool IsNamedByContent(std::string_view name) {
  return ParsePackName(name).ok() || ParseIndexName(name).ok() || ParseSnapshotName(name).ok();
}

bool HashesToName(std::string_view name, std::span<const ByteView> parts) {
  if (!IsNamedByContent(name)) return false;
  Hasher hasher;
  for (ByteView part : parts) hasher.Update(part);
  // A snapshot's name is the beginning of the hash.
  return ToHex(hasher.Finish()).starts_with(name.substr(name.rfind('/') + 1));
}

Status PutInstead(Backend& to, const std::string& name, std::span<const ByteView> parts) {
  Status put = to.Put(name, parts);
  if (!put.Is(Code::kExists)) return put;
  uint64_t size = 0;
  for (ByteView part : parts) size += part.size();
  auto there = to.Size(name);
  if (!there.ok() && there.code() != Code::kNotFound) return there.status();
  if (there.ok() && *there == size) {
    auto stored = to.Get(name);
    if (stored.ok() && HasBytes(*stored, parts)) return {};
    if (!stored.ok() && stored.code() != Code::kNotFound && stored.code() != Code::kCorrupt) {
      return stored.status();
    }
  }
  Status removed = to.Remove(name);
  if (!removed.Is(Code::kNotFound)) BKFS_TRY(removed);
  return to.Put(name, parts);
}

Result<Copied> CopyObject(Backend& from, Backend& to, const std::string& name) {
  auto bytes = from.Get(name);
  if (bytes.code() == Code::kNotFound) return Copied::kGone;
  if (!bytes.ok()) return bytes.status();
  if (IsNamedByContent(name) && !HashesToName(name, *bytes)) return Copied::kDamaged;
  const ByteView whole(*bytes);
  BKFS_TRY(PutInstead(to, name, std::span(&whole, 1)));
  const auto still = from.Size(name);
  if (still.ok()) return Copied::kDone;
  if (still.code() != Code::kNotFound) return still.status();
  Status removed = to.Remove(name);
  if (!removed.Is(Code::kNotFound)) BKFS_TRY(removed);
  // Put again between the question and the removal.
  const auto again = from.Size(name);
  if (again.code() == Code::kNotFound) return Copied::kGone;
  if (!again.ok()) return again.status();
  return CopyObject(from, to, name);
}

}  // namespace bkfs

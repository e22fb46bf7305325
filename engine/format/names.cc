// SPDX-License-Identifier: Apache-2.0
#include "engine/format/envelope.h"
#include "engine/format/lease.h"
#include "engine/format/maintenance.h"
#include "engine/format/pack.h"
#include "engine/format/snapshot.h"

// Object names, doc/format.md section 2.
namespace bkfs {

namespace {
constexpr std::string_view kPacks = "packs/";
constexpr std::string_view kIndex = "index/";
constexpr std::string_view kSnapshots = "snapshots/";
constexpr std::string_view kLeases = "leases/";
constexpr std::string_view kLog = "condemned/";
constexpr std::string_view kRemoved = "removed/";
constexpr std::string_view kClosures = "removed/lease-";
constexpr std::string_view kFence = "fence";
constexpr size_t kLogDigits = 16;
constexpr size_t kMaxSeriesName = 200;

template <typename IdType>
Result<IdType> ParseName(std::string_view name, std::string_view prefix, std::string_view what) {
  if (name.starts_with(prefix)) {
    auto id = IdType::FromHex(name.substr(prefix.size()));
    if (id.ok()) return id;
  }
  return Status(Code::kInvalid,
                "'" + std::string(name) + "' is not the name of " + std::string(what));
}
}  // namespace

std::string PackName(const PackId& id) {
  std::string hex = id.hex();
  return std::string(kPacks) + hex.substr(0, 2) + "/" + hex;
}

Result<PackId> ParsePackName(std::string_view name) {
  constexpr std::string_view kWhat = "a pack";
  const size_t folder = kPacks.size() + 3;
  std::string_view prefix = name.substr(0, std::min(folder, name.size()));
  if (!prefix.starts_with(kPacks)) prefix = kPacks;  // refused below, by the name itself
  BKFS_ASSIGN(PackId id, ParseName<PackId>(name, prefix, kWhat));
  if (PackName(id) == name) return id;
  return Status(Code::kInvalid, "'" + std::string(name) + "' is a pack in the wrong folder");
}

std::string IndexName(const IndexId& id) { return std::string(kIndex) + id.hex(); }

Result<IndexId> ParseIndexName(std::string_view name) {
  return ParseName<IndexId>(name, kIndex, "an index segment");
}

std::string SnapshotName(const SnapshotId& id) { return std::string(kSnapshots) + id.hex(); }

Result<SnapshotId> ParseSnapshotName(std::string_view name) {
  return ParseName<SnapshotId>(name, kSnapshots, "a snapshot");
}

std::string LogEntryName(uint64_t number) {
  uint8_t raw[8];
  for (size_t i = 0; i < sizeof raw; ++i) raw[i] = static_cast<uint8_t>(number >> (56 - 8 * i));
  return std::string(kLog) + ToHex(raw);
}

Result<uint64_t> ParseLogEntryName(std::string_view name) {
  if (name.starts_with(kLog) && name.size() == kLog.size() + kLogDigits) {
    auto raw = ParseHex(name.substr(kLog.size()));
    uint64_t number = 0;
    if (raw.ok()) {
      for (uint8_t byte : *raw) number = number << 8 | byte;
    }
    if (number > 0 && LogEntryName(number) == name) return number;
  }
  return Status(Code::kInvalid,
                "'" + std::string(name) + "' is not the name of a maintenance log entry");
}

std::string RemovalName(const RemovalId& id) { return std::string(kRemoved) + id.hex(); }

Result<RemovalId> ParseRemovalName(std::string_view name) {
  return ParseName<RemovalId>(name, kRemoved, "a removal");
}

std::string ClosureName(const LeaseId& lease) { return std::string(kClosures) + lease.hex(); }

Result<LeaseId> ParseClosureName(std::string_view name) {
  return ParseName<LeaseId>(name, kClosures, "a lease closure");
}

std::string LeaseName(const LeaseId& id) { return std::string(kLeases) + id.hex(); }
std::string LeaseStateName(const LeaseId& id, uint64_t number) {
  return LeaseName(id) + "." + std::to_string(number);
}
std::string FenceName(const LeaseId& id) { return LeaseName(id) + "." + std::string(kFence); }

Result<LeaseObject> ParseLeaseName(std::string_view name) {
  constexpr size_t kIdEnd = kLeases.size() + 2 * LeaseId::kSize;
  constexpr size_t kMostDigits = 18;
  const Status invalid(Code::kInvalid,
                       "'" + std::string(name) + "' is not the name of a lease object");
  auto id = ParseName<LeaseId>(name.substr(0, kIdEnd), kLeases, "a lease");
  if (!id.ok()) return invalid;
  LeaseObject out;
  out.id = *id;
  if (name.size() == kIdEnd) return out;
  if (name[kIdEnd] != '.') return invalid;
  std::string_view rest = name.substr(kIdEnd + 1);
  if (rest == kFence) {
    out.what = LeaseObject::kFence;
    return out;
  }
  if (rest.empty() || rest.size() > kMostDigits || rest[0] == '0') return invalid;
  for (char digit : rest) {
    if (digit < '0' || digit > '9') return invalid;
    out.number = out.number * 10 + static_cast<uint64_t>(digit - '0');
  }
  out.what = LeaseObject::kState;
  return out;
}

Status CheckSeriesName(std::string_view name) {
  if (!name.empty() && name.size() <= kMaxSeriesName && name[0] != '.' &&
      name.find('/') == std::string_view::npos && IsCleanText(name)) {
    return {};
  }
  return {Code::kInvalid,
          "a series name is 1 to 200 bytes of UTF-8 without '/' and control characters, and does "
          "not begin with '.'"};
}

}  // namespace bkfs

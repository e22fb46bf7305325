// SPDX-License-Identifier: Apache-2.0
#include "engine/format/envelope.h"
#include "engine/format/pack.h"
#include "engine/format/snapshot.h"

// Object names, doc/format.md section 2.
namespace bkfs {

namespace {
constexpr std::string_view kPacks = "packs/";
constexpr std::string_view kIndex = "index/";
constexpr std::string_view kSnapshots = "snapshots/";
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

// SPDX-License-Identifier: Apache-2.0
#include "backends/s3/s3_names.h"

namespace bkfs {

namespace {
constexpr size_t kIdDigits = 32;

// Takes an id off the front.
bool TakeId(std::string_view& name) {
  if (name.size() < kIdDigits) return false;
  if (name.substr(0, kIdDigits).find_first_not_of("0123456789abcdef") != std::string_view::npos) {
    return false;
  }
  name.remove_prefix(kIdDigits);
  return true;
}

bool TakeFolder(std::string_view& name, std::string_view folder) {
  if (!name.starts_with(folder)) return false;
  name.remove_prefix(folder.size());
  return true;
}
}  // namespace

bool IsOfLease(std::string_view name) {
  if (!TakeFolder(name, "leases/") || !TakeId(name)) return false;
  // A lease, or one of its numbered states; not its fence, which anybody who maintains may put.
  if (name.empty()) return true;
  return name.size() > 1 && name[0] == '.' &&
         name.find_first_not_of("0123456789", 1) == std::string_view::npos;
}

bool HasOneWriter(std::string_view name) {
  for (std::string_view folder : {"packs/", "index/", "snapshots/"}) {
    if (name.starts_with(folder)) return true;
  }
  if (TakeFolder(name, "removed/") || TakeFolder(name, "keys/")) {
    return TakeId(name) && name.empty();
  }
  return IsOfLease(name);
}

bool IsLockedWhenPut(std::string_view name) {
  for (std::string_view folder : {"packs/", "snapshots/", "keys/"}) {
    if (name.starts_with(folder)) return true;
  }
  return name == "bkfs.repo";
}

}  // namespace bkfs

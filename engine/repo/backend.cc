// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/backend.h"

namespace bkfs {

namespace {
constexpr size_t kMaxObjectName = 200;

bool IsNameByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
}

bool IsWord(std::string_view word) {
  if (word.empty() || word == "." || word == "..") return false;
  for (char c : word) {
    if (!IsNameByte(c)) return false;
  }
  return true;
}
}  // namespace

Result<RepackedObject> Backend::Repack(std::span<const RepackPiece>) {
  return Status(Code::kUnsupported, Describe() + " copies nothing by itself");
}

Status Backend::RemoveAll(const std::vector<std::string>& names) {
  Status first;
  for (const std::string& name : names) {
    Status removed = Remove(name);
    if (first.ok() && !removed.Is(Code::kNotFound)) first = removed;
  }
  return first;
}

Result<int64_t> Backend::LockedUntil(const std::string& name) {
  BKFS_TRY(Size(name).status());
  return int64_t{0};
}

Status Backend::Lock(const std::string&, int64_t) {
  return {Code::kUnsupported, Describe() + " cannot lock objects"};
}

Status CheckObjectName(std::string_view name) {
  // A bad name may hold anything and be of any length; the message stays short.
  Status bad(Code::kInvalid,
             "not an object name: '" + std::string(name.substr(0, kMaxObjectName)) + "'");
  if (name.size() > kMaxObjectName) return bad;
  for (std::string_view rest = name;;) {
    size_t slash = rest.find('/');
    if (!IsWord(rest.substr(0, slash))) return bad;
    if (slash == std::string_view::npos) return {};
    rest.remove_prefix(slash + 1);
  }
}

Status CheckObjectPrefix(std::string_view prefix) {
  if (prefix.empty()) return {};
  if (!prefix.ends_with('/')) {
    return {Code::kInvalid, "a prefix of object names ends with '/', unlike '" +
                                std::string(prefix.substr(0, kMaxObjectName)) + "'"};
  }
  return CheckObjectName(prefix.substr(0, prefix.size() - 1));
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "tools/bkfs/output.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <map>

#include "engine/repo/refused_objects.h"

namespace bkfs {

namespace {
// Columns a text takes, near enough: one for each character.
size_t Width(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; }));
}
}  // namespace

std::string Counted(uint64_t count, const std::string& thing) {
  return std::to_string(count) + " " + thing + (count == 1 ? "" : "s");
}

std::string KindWord(EntryKind kind) {
  switch (kind) {
    case EntryKind::kFile: return "file";
    case EntryKind::kDirectory: return "directory";
    case EntryKind::kSymlink: return "symlink";
    case EntryKind::kFifo: return "fifo";
    case EntryKind::kSocket: return "socket";
    case EntryKind::kCharDevice: return "char_device";
    case EntryKind::kBlockDevice: return "block_device";
  }
  return "unknown";
}

int64_t ToNanos(const Timestamp& time) { return time.seconds * 1'000'000'000 + time.nanos; }

std::string LongListing(const Entry& entry, const std::string& path) {
  static constexpr char kKinds[] = "?-dlpscb";
  std::string mode(1, kKinds[static_cast<size_t>(entry.kind)]);
  const char* letters = "rwxrwxrwx";
  for (int bit = 8; bit >= 0; --bit) {
    mode += (entry.mode >> bit & 1) != 0 ? letters[8 - bit] : '-';
  }
  auto special = [&](size_t at, int bit, char set) {
    if ((entry.mode >> bit & 1) == 0) return;
    mode[at] = mode[at] == 'x' ? set : static_cast<char>(set - 'a' + 'A');
  };
  special(3, 11, 's');
  special(6, 10, 's');
  special(9, 9, 't');
  const std::string owner = entry.user.empty() ? std::to_string(entry.uid) : entry.user;
  const std::string group = entry.group.empty() ? std::to_string(entry.gid) : entry.group;
  std::string size = std::to_string(entry.is_directory() ? entry.totals.bytes : entry.size);
  if (entry.kind == EntryKind::kCharDevice || entry.kind == EntryKind::kBlockDevice) {
    size = std::to_string(major(entry.rdev)) + "," + std::to_string(minor(entry.rdev));
  }
  char line[160];
  std::snprintf(line, sizeof line, "%s %-8s %-8s %12s %s ", mode.c_str(), owner.c_str(),
                group.c_str(), size.c_str(),
                FormatRfc3339(entry.mtime.seconds * 1'000'000'000).c_str());
  std::string out = line + Printable(path);
  if (entry.kind == EntryKind::kSymlink) out += " -> " + Printable(entry.target);
  return out;
}

std::string Table::Text(const std::vector<size_t>& right) const {
  std::vector<size_t> widths;
  for (const auto& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  std::string out;
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string fill(widths[i] - Width(row[i]), ' ');
      const bool to_right = std::find(right.begin(), right.end(), i) != right.end();
      const bool last = i + 1 == row.size();
      out += to_right ? fill + row[i] : row[i] + (last ? "" : fill);
      if (!last) out += "  ";
    }
    while (!out.empty() && out.back() == ' ') out.pop_back();
    out += "\n";
  }
  return out;
}

Status WarnOfProblems(Repository& repo, const SnapshotList& list) {
  BKFS_ASSIGN(const auto refused, FindRefusedMaintenance(repo));
  std::map<std::string, std::string> all;
  for (const auto& [object, why] : list.problems) all.emplace(object, why.message());
  for (const auto& [object, why] : refused) all.emplace(object, why.message());
  for (const auto& [object, why] : all) {
    std::cerr << "bkfs: warning: " << object << ": " << why << "\n";
  }
  return {};
}

std::pair<std::string, std::string> SplitSnapshotPath(const std::string& text) {
  // A path begins with '/' or stands behind the first ':' of a name without a time.
  const size_t slash = text.find(":/");
  if (slash != std::string::npos) return {text.substr(0, slash), text.substr(slash + 1)};
  if (text.find('@') != std::string::npos) return {text, ""};
  const size_t colon = text.find(':');
  if (colon == std::string::npos) return {text, ""};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

}  // namespace bkfs

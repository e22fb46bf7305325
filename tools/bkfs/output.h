// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/printable.h"
#include "engine/format/tree.h"
#include "engine/repo/repository.h"

namespace bkfs {

std::string Counted(uint64_t count, const std::string& thing);         // "1 file", "2 files"
std::string LongListing(const Entry& entry, const std::string& path);  // as ls -l
std::string KindWord(EntryKind kind);                                  // "file", "directory", ...
int64_t ToNanos(const Timestamp& time);

// Columns aligned by their widest cell; the first row is the heading.
class Table {
 public:
  void Row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  // Columns named here are aligned to the right.
  std::string Text(const std::vector<size_t>& right) const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// Warns on stderr about records that are refused or have vanished, and about what passes for a
// decision of maintenance. Errors: the store cannot be read.
Status WarnOfProblems(Repository& repo, const SnapshotList& list);
// Splits SNAP[:PATH] at the first ':' that leaves a snapshot's name; name@time may hold colons
// itself.
std::pair<std::string, std::string> SplitSnapshotPath(const std::string& text);

}  // namespace bkfs

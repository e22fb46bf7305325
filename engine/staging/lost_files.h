// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/bytes.h"
#include "engine/base/status.h"

namespace bkfs {

// Files that went from a series' tree by themselves, because what they consist of is not there any
// more: what the log and .status tell of them. Bounded, however many they are.
class LostFiles {
 public:
  // One file, or all those below a directory, whose path then ends with '/'. Paths are relative to
  // the series' directory; 20 are remembered.
  void Add(uint64_t files, std::string path);
  void Add(const LostFiles& more);
  // "that ...": why they are gone.
  void set_why(std::string_view why) { why_ = why; }
  bool empty() const { return files_ == 0 && named_.empty(); }
  // "12 files that ... are gone; copy them again", then the paths, each on a line that begins with
  // `indent`, and how many more there are. Control characters are escaped.
  std::string Text(std::string_view indent) const;

  Bytes Encode() const;
  // kCorrupt for what Encode has not made.
  static Result<LostFiles> Decode(ByteView bytes);

 private:
  struct Named {
    uint64_t files = 0;  // that the path stands for
    std::string path;
  };
  uint64_t files_ = 0;
  std::vector<Named> named_;
  std::string why_;
};

}  // namespace bkfs

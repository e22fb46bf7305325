// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace bkfs {

// The names of one directory, sorted; a million of them in one piece of memory.
class NameList {
 public:
  void Add(std::string_view name) {
    offsets_.push_back(text_.size());
    text_ += name;
    text_ += '\0';
  }
  // What readdir(3) tells of an open directory, without "." and "..". An error leaves the names
  // that came before it.
  Status AddAll(int dir);
  void Sort();  // and drops what a changing directory listed twice
  size_t size() const { return offsets_.size(); }
  std::string operator[](size_t index) const { return text_.c_str() + offsets_[index]; }
  void Clear() { *this = NameList(); }

 private:
  std::string text_;
  std::vector<size_t> offsets_;
};

}  // namespace bkfs

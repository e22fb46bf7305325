// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace bkfs {

// Shell patterns over paths: '*' and '?' match no '/', a whole part "**" matches any number of
// parts (at the end of a pattern at least one), [abc], [a-z], [!a] as in a shell, '\' takes the
// next character as it is. No pattern takes exponential time.
bool GlobMatch(std::string_view pattern, std::string_view text);

// Patterns that keep files out of a backup, as in a gitignore file: one without '/' matches a name
// anywhere; one with '/' matches the path from the root of what is backed up, or the absolute path;
// a trailing '/' matches directories only; a leading '!' takes back what an earlier pattern
// excluded. The last pattern that matches decides. Below an excluded directory nothing is looked
// at.
class ExcludeList {
 public:
  Status Add(std::string_view pattern);
  // A file with one pattern a line; empty lines and those beginning with '#' are passed over.
  Status AddFile(const std::string& path);
  // `relative` has no leading '/'.
  bool Excludes(std::string_view relative, std::string_view absolute, bool is_directory) const;
  bool empty() const { return patterns_.empty(); }

 private:
  struct Pattern {
    std::string text;
    bool negated = false;
    bool directories_only = false;
    bool anchored = false;
  };
  std::vector<Pattern> patterns_;
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/glob.h"

#include "engine/base/fd.h"

namespace bkfs {

namespace {

// Matches one bracket expression at pattern[at] ('['). Moves `at` behind it; false if it is not
// closed.
bool BracketMatch(std::string_view pattern, size_t& at, char c, bool& matches) {
  size_t i = at + 1;
  const bool negated = i < pattern.size() && (pattern[i] == '!' || pattern[i] == '^');
  if (negated) ++i;
  bool found = false;
  for (bool first = true; i < pattern.size() && (first || pattern[i] != ']'); first = false) {
    const char low = pattern[i++];
    char high = low;
    if (i + 1 < pattern.size() && pattern[i] == '-' && pattern[i + 1] != ']') {
      high = pattern[i + 1];
      i += 2;
    }
    found = found || (low <= c && c <= high);
  }
  if (i >= pattern.size()) return false;
  at = i + 1;
  matches = found != negated && c != '/';
  return true;
}

}  // namespace

// Iterative with one level of backtracking for '*' and one for '**', so that no pattern takes
// exponential time.
bool GlobMatch(std::string_view pattern, std::string_view text) {
  constexpr size_t kNone = std::string_view::npos;
  size_t p = 0;
  size_t t = 0;
  size_t star_p = kNone;
  size_t star_t = 0;
  size_t deep_p = kNone;
  size_t deep_t = 0;
  while (t < text.size() || p < pattern.size()) {
    if (p < pattern.size()) {
      if (pattern.substr(p).starts_with("**")) {
        // "**/" also matches no directory at all.
        deep_p = pattern.substr(p).starts_with("**/") && (p == 0 || pattern[p - 1] == '/') ? p + 3
                                                                                           : p + 2;
        deep_t = t;
        p = deep_p;
        star_p = kNone;
        continue;
      }
      if (pattern[p] == '*') {
        star_p = ++p;
        star_t = t;
        continue;
      }
      if (t < text.size()) {
        size_t next = p;
        bool matches = false;
        if (pattern[p] == '[' && BracketMatch(pattern, next, text[t], matches)) {
          if (matches) {
            p = next;
            ++t;
            continue;
          }
        } else {
          const bool escaped = pattern[p] == '\\' && p + 1 < pattern.size();
          const char want = escaped ? pattern[p + 1] : pattern[p];
          if (want == text[t] || (!escaped && want == '?' && text[t] != '/')) {
            p += escaped ? 2 : 1;
            ++t;
            continue;
          }
        }
      }
    }
    if (star_p != kNone && star_t < text.size() && text[star_t] != '/') {
      t = ++star_t;
      p = star_p;
    } else if (deep_p != kNone && deep_t < text.size()) {
      t = ++deep_t;
      p = deep_p;
      star_p = kNone;
    } else {
      return false;
    }
  }
  return true;
}

Status ExcludeList::Add(std::string_view text) {
  Pattern pattern;
  if (text.starts_with('!')) {
    pattern.negated = true;
    text.remove_prefix(1);
  }
  while (text.size() > 1 && text.ends_with('/')) {
    pattern.directories_only = true;
    text.remove_suffix(1);
  }
  if (text.empty()) return {Code::kInvalid, "an exclude pattern is empty"};
  pattern.anchored = text.find('/') != std::string_view::npos;
  if (text.starts_with('/')) text.remove_prefix(1);
  pattern.text = text;
  patterns_.push_back(std::move(pattern));
  return {};
}

Status ExcludeList::AddFile(const std::string& path) {
  auto bytes = ReadWholeFile(path, 16 << 20);
  if (!bytes.ok()) return bytes.status().WithContext("exclude file");
  std::string_view text = AsText(*bytes);
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    while (line.ends_with('\r') || line.ends_with(' ')) line.remove_suffix(1);
    if (line.empty() || line.starts_with('#')) continue;
    BKFS_TRY(Add(line));
  }
  return {};
}

bool ExcludeList::Excludes(std::string_view relative, std::string_view absolute,
                           bool is_directory) const {
  bool excluded = false;
  const std::string_view name = relative.substr(relative.rfind('/') + 1);
  while (absolute.starts_with('/')) absolute.remove_prefix(1);
  for (const auto& pattern : patterns_) {
    if (pattern.directories_only && !is_directory) continue;
    const bool matches =
        pattern.anchored ? GlobMatch(pattern.text, relative) || GlobMatch(pattern.text, absolute)
                         : GlobMatch(pattern.text, name);
    if (matches) excluded = !pattern.negated;
  }
  return excluded;
}

}  // namespace bkfs

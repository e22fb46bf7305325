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
    const auto low = static_cast<uint8_t>(pattern[i++]);
    uint8_t high = low;
    if (i + 1 < pattern.size() && pattern[i] == '-' && pattern[i + 1] != ']') {
      high = static_cast<uint8_t>(pattern[i + 1]);
      i += 2;
    }
    found = found || (low <= static_cast<uint8_t>(c) && static_cast<uint8_t>(c) <= high);
  }
  if (i >= pattern.size()) return false;
  at = i + 1;
  matches = found != negated;
  return true;
}

// Whether pattern[p] (no '*') matches the character; moves `p` behind it if so.
bool MatchOne(std::string_view pattern, size_t& p, char c) {
  if (pattern[p] == '[') {
    size_t next = p;
    bool matches = false;
    if (BracketMatch(pattern, next, c, matches)) {
      if (matches) p = next;
      return matches;
    }
  }
  const bool escaped = pattern[p] == '\\' && p + 1 < pattern.size();
  if (!escaped && pattern[p] == '?') {
    ++p;
    return true;
  }
  if (pattern[p + (escaped ? 1 : 0)] != c) return false;
  p += escaped ? 2 : 1;
  return true;
}

// One part of a path. For a '*' the shortest match is tried first; only the last one passed ever
// needs to be made longer, which bounds the time by the product of the lengths.
bool MatchPart(std::string_view pattern, std::string_view text) {
  constexpr size_t kNone = std::string_view::npos;
  size_t p = 0;
  size_t t = 0;
  size_t star_p = kNone;
  size_t star_t = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star_p = ++p;
      star_t = t;
    } else if (p < pattern.size() && MatchOne(pattern, p, text[t])) {
      ++t;
    } else if (star_p != kNone) {
      p = star_p;
      t = ++star_t;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::vector<std::string_view> Split(std::string_view path) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t slash = path.find('/');
    parts.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return parts;
    path.remove_prefix(slash + 1);
  }
}

}  // namespace

// The same search one level up: parts are the characters, "**" is the '*'.
bool GlobMatch(std::string_view pattern, std::string_view text) {
  constexpr size_t kNone = std::string_view::npos;
  const auto patterns = Split(pattern);
  const auto parts = Split(text);
  size_t p = 0;
  size_t t = 0;
  size_t star_p = kNone;
  size_t star_t = 0;
  while (t < parts.size()) {
    if (p < patterns.size() && patterns[p] == "**") {
      star_p = ++p;
      star_t = t;
    } else if (p < patterns.size() && MatchPart(patterns[p], parts[t])) {
      ++p;
      ++t;
    } else if (star_p != kNone) {
      p = star_p;
      t = ++star_t;
    } else {
      return false;
    }
  }
  return p == patterns.size();
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

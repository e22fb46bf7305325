// SPDX-License-Identifier: Apache-2.0
#include "tools/ini.h"

namespace bkfs {

namespace {
constexpr size_t kLongestLine = 8192;

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r";
  size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

Status ParseLine(std::string_view line, int number, const std::string& file, std::string& section,
                 std::vector<IniEntry>& out) {
  if (line.empty() || line[0] == '#' || line[0] == ';') return {};
  for (char c : line) {
    if (c == '\0') return IniError(file, number, "a NUL byte; this is no configuration file");
    // Nor shall a terminal see it in a message.
    if (static_cast<unsigned char>(c) < 0x20 && c != '\t') {
      return IniError(file, number, "a control character; this is no configuration file");
    }
  }
  if (line.size() > kLongestLine) return IniError(file, number, "the line is too long");
  if (line[0] == '[') {
    std::string_view name =
        line.back() == ']' ? Trim(line.substr(1, line.size() - 2)) : std::string_view();
    if (name.empty())
      return IniError(file, number, "want [Section], have '" + std::string(line) + "'");
    section = name;
    return {};
  }
  size_t equals = line.find('=');
  std::string_view key = Trim(line.substr(0, equals));
  if (equals == std::string_view::npos || key.empty()) {
    return IniError(file, number, "want key = value, have '" + std::string(line) + "'");
  }
  if (section.empty()) {
    return IniError(file, number, "'" + std::string(key) + "' stands before the first [Section]");
  }
  out.push_back({section, std::string(key), std::string(Trim(line.substr(equals + 1))), number});
  return {};
}
}  // namespace

Status IniError(const std::string& file, int line, std::string_view what) {
  return {Code::kInvalid, file + ":" + std::to_string(line) + ": " + std::string(what)};
}

Result<std::vector<IniEntry>> ParseIni(std::string_view text, const std::string& file) {
  std::vector<IniEntry> out;
  std::string section;
  int number = 0;
  while (!text.empty()) {
    size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    BKFS_TRY(ParseLine(Trim(line), ++number, file, section, out));
  }
  return out;
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace bkfs {

// One `key = value` line of an INI file.
struct IniEntry {
  std::string section;
  std::string key;
  std::string value;
  int line = 0;
};

// Reads INI text: `[Section]` lines, `key = value` lines, empty lines, and lines that begin with
// '#' or ';' (comments; not at the end of a line, since paths may hold those characters). Blanks
// around section, key and value go. Which sections and keys there may be is the caller's business.
// Errors are kInvalid and read "<file>:<line>: <what>".
Result<std::vector<IniEntry>> ParseIni(std::string_view text, const std::string& file);

// "<file>:<line>: <what>", kInvalid.
Status IniError(const std::string& file, int line, std::string_view what);

}  // namespace bkfs

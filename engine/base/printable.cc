// SPDX-License-Identifier: Apache-2.0
#include "engine/base/printable.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>

namespace bkfs {

namespace {
// Length of the valid UTF-8 sequence at the beginning, 0 if there is none.
size_t SequenceLength(std::string_view text) {
  const auto lead = static_cast<uint8_t>(text[0]);
  if (lead < 0x80) return 1;
  size_t length = lead >= 0xf0 && lead < 0xf5 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 0;
  if (lead >= 0xf5) length = 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<uint8_t>(text[i]) & 0xc0) != 0x80) return 0;
  }
  const auto second = static_cast<uint8_t>(text[1]);
  if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
      (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) {
    return 0;
  }
  return length;
}
}  // namespace

std::string Printable(std::string_view name) {
  std::string out;
  while (!name.empty()) {
    const size_t length = SequenceLength(name);
    const auto c = static_cast<uint8_t>(name[0]);
    if (length == 0 || c < 0x20 || c == 0x7f ||
        (c == 0xc2 && static_cast<uint8_t>(name[1]) < 0xa0)) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", c);
      out += escaped;
      name.remove_prefix(1);
    } else {
      out += name.substr(0, length);
      name.remove_prefix(length);
    }
  }
  return out;
}

std::string Utf8(std::string_view name) {
  std::string out;
  while (!name.empty()) {
    const size_t length = SequenceLength(name);
    out += length == 0 ? "\xef\xbf\xbd" : name.substr(0, length);
    name.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

std::string HumanSize(uint64_t bytes) {
  static constexpr std::array<const char*, 6> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

}  // namespace bkfs

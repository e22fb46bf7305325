// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace bkfs {

// A file name as it may be shown on a terminal or in a line of text: control characters and invalid
// UTF-8 as \xNN.
std::string Printable(std::string_view name);
// The same for JSON, which must be UTF-8: invalid bytes become U+FFFD.
std::string Utf8(std::string_view name);
// Bytes as people read them: "512 B", "1.5 MiB".
std::string HumanSize(uint64_t bytes);

}  // namespace bkfs

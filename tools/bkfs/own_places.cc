// SPDX-License-Identifier: Apache-2.0
#include "tools/bkfs/own_places.h"

#include "engine/base/fd.h"
#include "tools/open_repository.h"
#include "tools/store_url.h"

namespace bkfs {

namespace {
std::string_view TakeWord(std::string_view& line) {
  const std::string_view word = line.substr(0, line.find(' '));
  line.remove_prefix(std::min(line.size(), word.size() + 1));
  return word;
}

// "\040" for a blank, and the like.
std::string Unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool octal = text[i] == '\\' && i + 3 < text.size() &&
                       text.substr(i + 1, 3).find_first_not_of("01234567") == text.npos;
    if (!octal) {
      out += text[i];
      continue;
    }
    out +=
        static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + text[i + 3] - '0');
    i += 3;
  }
  return out;
}
}  // namespace

std::vector<std::string> MountPointsIn(std::string_view mountinfo) {
  std::vector<std::string> out;
  while (!mountinfo.empty()) {
    std::string_view line = mountinfo.substr(0, mountinfo.find('\n'));
    mountinfo.remove_prefix(std::min(mountinfo.size(), line.size() + 1));
    // Id, parent, device, root, mount point, options, optional fields, "-", type.
    for (int i = 0; i < 4; ++i) TakeWord(line);
    const std::string_view point = TakeWord(line);
    while (!line.empty() && TakeWord(line) != "-") {
    }
    if (TakeWord(line) == "fuse.bkfs") out.push_back(Unescape(point));
  }
  return out;
}

Result<std::vector<std::string>> OwnPlaces(const Context& context) {
  std::vector<std::string> out;
  if (auto table = ReadWholeFile("/proc/self/mountinfo"); table.ok()) {
    out = MountPointsIn(AsText(*table));
  }
  for (const auto& url : {context.config.url, context.config.mirror}) {
    if (auto local = LocalPathOf(url); local && !local->empty()) out.push_back(*local);
  }
  BKFS_ASSIGN(std::string cache, CacheDirectoryOf(context.config, context.env));
  out.push_back(std::move(cache));
  return out;
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/name_list.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/base/fd.h"

namespace bkfs {

Status NameList::AddAll(int dir) {
  UniqueFd copy(::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!copy.valid()) return Status::FromErrno(errno, "list");
  DIR* listing = ::fdopendir(copy.get());
  if (!listing) return Status::FromErrno(errno, "list");
  (void)copy.Release();
  errno = 0;
  while (const dirent* entry = ::readdir(listing)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") Add(name);
    errno = 0;
  }
  const int error = errno;
  ::closedir(listing);
  if (error != 0) return Status::FromErrno(error, "list");
  return {};
}

void NameList::Sort() {
  const char* text = text_.data();
  std::sort(offsets_.begin(), offsets_.end(),
            [=](size_t a, size_t b) { return std::strcmp(text + a, text + b) < 0; });
  offsets_.erase(
      std::unique(offsets_.begin(), offsets_.end(),
                  [=](size_t a, size_t b) { return std::strcmp(text + a, text + b) == 0; }),
      offsets_.end());
}

}  // namespace bkfs

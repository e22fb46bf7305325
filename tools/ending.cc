// SPDX-License-Identifier: Apache-2.0
#include "tools/ending.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include "engine/base/fd.h"
#include "engine/base/printable.h"

namespace bkfs {

namespace {
// Whole or not at all, for who reads it meanwhile.
void Replace(const std::string& path, const std::string& text) {
  const std::string draft = path + ".new";
  auto fd = OpenFile(draft, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW);
  if (!fd.ok()) return;
  if (!WriteAll(fd->get(), AsBytes(text + "\n"), draft).ok()) return;
  (void)std::rename(draft.c_str(), path.c_str());
}
}  // namespace

void EndingNotes::Begin() const {
  ::unlink(ending_.c_str());  // a killed daemon's
  ::unlink(unfinished_.c_str());
}

void EndingNotes::Say(const std::string& text) const { Replace(ending_, text); }

void EndingNotes::End(const Status& stored) const {
  if (!stored.ok()) Replace(unfinished_, stored.message());
  ::unlink(ending_.c_str());
}

bool EndingNotes::IsEnding() const { return ::access(ending_.c_str(), F_OK) == 0; }

std::string EndingNotes::FirstLine(const std::string& path) {
  auto fd = OpenFile(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  struct stat st {};
  if (!fd.ok() || ::fstat(fd->get(), &st) != 0 || !S_ISREG(st.st_mode)) return {};
  std::array<char, 1024> text{};
  const ssize_t n = ::read(fd->get(), text.data(), text.size());
  if (n <= 0) return {};
  const std::string_view all(text.data(), static_cast<size_t>(n));
  return Printable(all.substr(0, all.find('\n')));
}

}  // namespace bkfs

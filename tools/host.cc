// SPDX-License-Identifier: Apache-2.0
#include "tools/host.h"

#include <pwd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>

namespace bkfs {

std::string HostName() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

std::string UserName() {
  passwd buffer{};
  passwd* found = nullptr;
  std::array<char, 4096> text;
  if (::getpwuid_r(::geteuid(), &buffer, text.data(), text.size(), &found) == 0 && found) {
    return found->pw_name;
  }
  return std::to_string(::geteuid());
}

void RaiseFileLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace bkfs

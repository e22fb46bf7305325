// SPDX-License-Identifier: Apache-2.0
#include "tools/mount_bkfs/mountpoint.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "fs/control.h"

namespace bkfs {

namespace {
// Spaces and the like stand as \040 in mountinfo.
std::string Unescape(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out += static_cast<char>(std::strtol(text.substr(i + 1, 3).c_str(), nullptr, 8));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

// Whether the topmost mount at the path is bkfs.
bool IsBkfsMount(const std::string& path) {
  std::ifstream table("/proc/self/mountinfo");
  std::string line;
  bool found = false;
  while (std::getline(table, line)) {
    std::istringstream words(line);
    std::string word;
    std::string place;
    for (int i = 0; i < 5 && words >> word; ++i) place = word;
    if (Unescape(place) != path) continue;
    while (words >> word && word != "-") {
    }
    words >> word;
    found = word == "fuse.bkfs";
  }
  return found;
}

bool Holds(const std::filesystem::path& outer, const std::filesystem::path& inner) {
  auto o = outer.begin();
  auto i = inner.begin();
  for (; o != outer.end(); ++o, ++i) {
    if (o->empty()) return true;  // a trailing slash
    if (i == inner.end() || *o != *i) return false;
  }
  return true;
}
}  // namespace

Result<std::string> CheckMountpoint(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) {
    if (errno == ENOTCONN) {
      return Status(Code::kBusy, "mountpoint " + path +
                                     ": a mount whose daemon is gone is still there (umount it)");
    }
    return Status(Code::kInvalid, Status::FromErrno(errno, "mountpoint " + path).message());
  }
  if (!S_ISDIR(st.st_mode)) {
    return Status(Code::kInvalid, "mountpoint " + path + " is not a directory");
  }
  std::error_code error;
  std::string real = std::filesystem::canonical(path, error).string();
  if (error) return Status::FromErrno(error.value(), "mountpoint " + path);
  if (IsBkfsMount(real)) {
    auto mount = AskMount(real);
    std::string who = mount.ok() ? " (process " + std::to_string(mount->pid) + ")" : "";
    return Status(Code::kBusy, "mountpoint " + path + " is busy: bkfs is mounted there" + who);
  }
  return real;
}

Status CheckApart(const std::string& mountpoint, const std::vector<std::string>& places) {
  for (const std::string& place : places) {
    std::error_code error;
    auto real = std::filesystem::weakly_canonical(place, error);
    if (error) return Status::FromErrno(error.value(), place);
    if (Holds(real, mountpoint)) {
      return {Code::kInvalid,
              "mountpoint " + mountpoint + " lies in " + place + ", which the mount itself needs"};
    }
    if (Holds(mountpoint, real)) {
      return {Code::kInvalid, "mounting on " + mountpoint + " would hide " + place +
                                  ", which the mount itself needs"};
    }
  }
  return {};
}

}  // namespace bkfs

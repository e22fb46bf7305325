// SPDX-License-Identifier: Apache-2.0
// umount.fuse.bkfs: what umount(8) runs for a mount of this type, so that a plain `umount DIR`, and
// systemd's at shutdown, return when everything is stored.
#include <getopt.h>

#include <cstdio>
#include <exception>

#include "tools/exit_codes.h"
#include "tools/unmount.h"

namespace bkfs {
namespace {

int Usage() {
  std::fprintf(stderr, "usage: umount.fuse.bkfs DIR [-flnrv] [-N namespace] [-t type]\n");
  return kExitUsage;
}

int Run(int argc, char** argv) {
  UnmountHow how = UnmountHow::kNormal;
  for (int option = 0; (option = ::getopt(argc, argv, "flnrvN:t:")) != -1;) {
    if (option == 'f') how = UnmountHow::kForce;
    if (option == 'l') how = UnmountHow::kLazy;
    if (option == '?') return Usage();
  }
  if (::optind + 1 != argc) return Usage();
  Status status = UnmountBkfs(
      argv[::optind], how, [] { return false; },
      [](const std::string& text) {
        std::fprintf(stderr, "umount.fuse.bkfs: %s\n", text.c_str());
      });
  if (!status.ok()) std::fprintf(stderr, "umount.fuse.bkfs: %s\n", status.message().c_str());
  return ExitCodeOf(status);
}

}  // namespace
}  // namespace bkfs

int main(int argc, char** argv) {
  try {
    return bkfs::Run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "umount.fuse.bkfs: %s\n", error.what());
    return bkfs::kExitFailed;
  }
}

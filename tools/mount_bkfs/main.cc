// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "tools/exit_codes.h"
#include "tools/mount_bkfs/daemon.h"
#include "tools/mount_bkfs/mountpoint.h"
#include "tools/mount_bkfs/options.h"
#include "tools/mount_bkfs/serve.h"
#include "tools/open_repository.h"
#include "tools/store_url.h"

namespace bkfs {
namespace {

int Fail(const Status& status) {
  std::fprintf(stderr, "mount.bkfs: %s\n", status.message().c_str());
  return ExitCodeOf(status);
}

// Where the mount must not be: what the daemon itself reads and writes.
Result<std::vector<std::string>> OwnPlaces(const MountOptions& options, const Environment& env) {
  std::vector<std::string> places;
  if (auto local = LocalPathOf(options.config.url)) places.push_back(*local);
  BKFS_ASSIGN(std::string cache, CacheDirectoryOf(options.config, env));
  places.push_back(cache);
  if (!options.config.mount.log_file.empty()) places.push_back(options.config.mount.log_file);
  return places;
}

Result<std::string> CheckPlace(const MountOptions& options, const Environment& env) {
  BKFS_ASSIGN(std::string mountpoint, CheckMountpoint(options.mountpoint));
  BKFS_ASSIGN(std::vector<std::string> places, OwnPlaces(options, env));
  BKFS_TRY(CheckApart(mountpoint, places));
  return mountpoint;
}

int Run(const std::vector<std::string>& arguments) {
  const Environment env = [](const char* name) -> const char* { return std::getenv(name); };
  auto options = ParseMountOptions(arguments, env);
  if (!options.ok()) return Fail(options.status());
  if (options->help) {
    std::fputs(MountUsage().c_str(), stdout);
    return kExitDone;
  }
  if (options->version) {
    std::printf("mount.bkfs %s\n", BKFS_VERSION);
    return kExitDone;
  }
  auto mountpoint = CheckPlace(*options, env);
  if (!mountpoint.ok()) return Fail(mountpoint.status());
  if (options->foreground) return ServeMount(*options, *mountpoint, env, ParentLine());
  int exit_code = -1;
  auto line = ForkDaemon(exit_code);
  if (!line.ok()) return Fail(line.status());
  if (exit_code < 0) return ServeMount(*options, *mountpoint, env, std::move(*line));
  if (exit_code == kExitDone && options->verbose) {
    std::printf("mount.bkfs: %s mounted on %s\n", options->source.c_str(), mountpoint->c_str());
  }
  return exit_code;
}

}  // namespace
}  // namespace bkfs

int main(int argc, char** argv) {
  try {
    return bkfs::Run(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "mount.bkfs: %s\n", error.what());
    return bkfs::kExitFailed;
  }
}

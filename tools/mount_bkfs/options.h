// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "tools/config.h"

namespace bkfs {

// What a call of mount.bkfs asks for.
struct MountOptions {
  Config config;           // configuration, environment and options together
  std::string source;      // as given, for the mount table
  std::string mountpoint;  // as given
  bool foreground = false;
  bool verbose = false;
  bool help = false;
  bool version = false;
  std::vector<std::string> kernel_options;  // nodev, noexec and the like
};

// mount.bkfs SOURCE MOUNTPOINT [-fnrsvw] [-o options], as mount(8) calls it. SOURCE is a
// configuration file or the URL or path of a repository. All paths in the result are absolute but
// `mountpoint`. kInvalid for an unknown option or a bad value.
Result<MountOptions> ParseMountOptions(const std::vector<std::string>& arguments,
                                       const Environment& env);

std::string MountUsage();

}  // namespace bkfs

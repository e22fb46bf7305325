// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/format/keyfile.h"

namespace bkfs::fuzz {

// The fixed keys that the targets and their seeds share.
struct Fixture {
  RepoId repo;
  KeyMaterial master;
  Bytes index_key;
  Bytes frame_key;

  static const Fixture& Get();
};

}  // namespace bkfs::fuzz

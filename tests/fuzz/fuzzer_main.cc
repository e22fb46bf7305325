// SPDX-License-Identifier: Apache-2.0
// The entry point that libFuzzer calls; BKFS_FUZZ_TARGET names the target of this program.
#include "tests/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bkfs::fuzz::Target* target = bkfs::fuzz::FindTarget(BKFS_FUZZ_TARGET);
  target->run({data, size});
  return 0;
}

// SPDX-License-Identifier: Apache-2.0
// A process for crash_test to kill: adds packs to the cache in the directory given, says "." for
// each on standard output after it was added, and goes on until it is killed.
#include <unistd.h>

#include <cstdio>

#include "tests/cache/cache_fixture.h"

int main(int argc, char** argv) {
  if (argc != 2 || !bkfs::InitCrypto().ok()) return 2;
  bkfs::NullLogger log;
  bkfs::IndexCache::Options options;
  options.directory = argv[1];
  options.memory_bytes = 4 << 20;
  options.repo = bkfs::IdFrom<bkfs::RepoId>(1);
  options.local_key = bkfs::KeyFrom(7);
  auto cache = bkfs::IndexCache::Open(std::move(options), log);
  if (!cache.ok()) return 3;
  for (uint64_t i = 0;; ++i) {
    auto added = (*cache)->AddPack(bkfs::IdFrom<bkfs::PackId>(i), i, bkfs::FooterOf(i * 500, 500));
    if (!added.ok() || ::write(STDOUT_FILENO, ".", 1) != 1) return 4;
  }
}

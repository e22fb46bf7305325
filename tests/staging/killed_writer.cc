// SPDX-License-Identifier: Apache-2.0
// killed_writer STORE CACHE KEYFILE ROUND PIPE: writes files into a staging tree, and tells through
// the pipe each one whose close returned, until somebody kills it. A program of its own: a fork of
// the test would inherit half of its threads' state.
#include "tests/staging/killed_writer.h"

#include <unistd.h>

#include <cstdlib>

#include "backends/local/local_backend.h"
#include "engine/staging/staging.h"

namespace bkfs {
namespace {

[[noreturn]] void WriteUntilKilled(const std::string& store, const std::string& cache,
                                   KeyMaterial key, uint64_t round, int pipe) {
  SystemClock clock;
  NullLogger log;
  Repository::Options options;
  options.cache_directory = cache;
  options.index_memory = 8 << 20;
  auto repo = Repository::Open(std::move(OpenLocalBackend(store, false)).value(), std::move(key),
                               options, log, clock);
  if (!repo.ok()) _exit(2);
  Staging::Options staging_options;
  staging_options.directory = (*repo)->local_directory() + "/staging";
  staging_options.commit_idle_ns = 0;
  auto staging = Staging::Open(**repo, staging_options);
  if (!staging.ok()) _exit(3);
  auto root = (*staging)->LookupSeries("s");
  if (!root.ok()) root = (*staging)->CreateSeries("s", {.mode = 0755});
  if (!root.ok()) _exit(4);
  for (int i = 0; i < kFiles; ++i) {
    auto made = (*staging)->Create(root->id, std::to_string(round) + "." + std::to_string(i), {});
    if (!made.ok()) _exit(5);
    const Bytes data = DataOf(round, i);
    if (!(*staging)->OpenFile(made->id, true, false).ok()) _exit(6);
    if (!(*staging)->Write(made->id, 0, data).ok()) _exit(7);
    if (!(*staging)->Flush(made->id).ok()) _exit(8);
    (*staging)->CloseFile(made->id, true);
    if (::write(pipe, &i, sizeof i) != sizeof i) _exit(9);
    if (i % 50 == 49 && !(*staging)->Commit("s").ok()) _exit(10);
  }
  for (;;) ::pause();
}

}  // namespace
}  // namespace bkfs

int main(int argc, char** argv) {
  if (argc != 6 || !bkfs::InitCrypto().ok()) return 20;
  auto text = bkfs::ReadWholeFile(argv[3]);
  if (!text.ok()) return 21;
  auto key = bkfs::DecodeKeyfile(bkfs::AsText(*text), nullptr);
  if (!key.ok()) return 22;
  bkfs::WriteUntilKilled(argv[1], argv[2], std::move(*key), std::strtoull(argv[4], nullptr, 10),
                         std::atoi(argv[5]));
}

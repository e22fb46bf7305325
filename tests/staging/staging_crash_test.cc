// SPDX-License-Identifier: Apache-2.0
// kill -9 of a writing process at random moments: what was closed is there, whole.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <ctime>

#include "backends/local/local_backend.h"
#include "tests/staging/staging_fixture.h"

namespace bkfs {
namespace {

constexpr int kFiles = 400;

Bytes DataOf(uint64_t round, int i) {
  const size_t size = i % 7 == 0 ? 900'000 : static_cast<size_t>(i) * 37;
  return PseudoRandom(size, round * 1000 + static_cast<uint64_t>(i));
}

// In the child: opens, writes files, and tells through the pipe each one whose close returned.
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

TEST(StagingCrash, Kill9LosesNothingThatWasClosed) {
  ScratchFolder scratch;
  const std::string store_path = scratch.path() + "/store";
  auto store = OpenLocalBackend(store_path, true);
  ASSERT_TRUE(IsOk(store));
  TestRepository test(**store);
  const std::string cache = scratch.path() + "/cache";
  std::map<std::string, std::pair<uint64_t, int>> closed;
  uint64_t random = 12345;
  for (uint64_t round = 0; round < 15; ++round) {
    int pipes[2];
    ASSERT_EQ(::pipe(pipes), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(pipes[0]);
      WriteUntilKilled(store_path, cache, test.CloneMaster(), round, pipes[1]);
    }
    ::close(pipes[1]);
    random = random * 6364136223846793005ULL + 1442695040888963407ULL;
    // Moments are spread over the files written, not over time, so that a slow machine tests as
    // much.
    const int stop_at = static_cast<int>((random >> 33) % kFiles);
    int i = -1;
    while (i < stop_at && ::read(pipes[0], &i, sizeof i) == sizeof i) {
      closed[std::to_string(round) + "." + std::to_string(i)] = {round, i};
    }
    const timespec moment{0, static_cast<long>((random >> 20) % 2'000'000)};
    ::nanosleep(&moment, nullptr);
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child failed by itself, exit " << WEXITSTATUS(status);
    while (::read(pipes[0], &i, sizeof i) == sizeof i) {
      closed[std::to_string(round) + "." + std::to_string(i)] = {round, i};
    }
    ::close(pipes[0]);

    SystemClock clock;
    NullLogger log;
    Repository::Options options;
    options.cache_directory = cache;
    options.index_memory = 8 << 20;
    auto repo = Repository::Open(std::move(OpenLocalBackend(store_path, false)).value(),
                                 test.CloneMaster(), options, log, clock);
    ASSERT_TRUE(IsOk(repo));
    Staging::Options staging_options;
    staging_options.directory = (*repo)->local_directory() + "/staging";
    staging_options.commit_idle_ns = 0;
    auto staging = Staging::Open(**repo, staging_options);
    ASSERT_TRUE(IsOk(staging));
    auto root = (*staging)->LookupSeries("s");
    if (closed.empty() && !root.ok()) continue;
    ASSERT_TRUE(IsOk(root));
    for (const auto& [name, what] : closed) {
      auto attr = (*staging)->Lookup(root->id, name);
      ASSERT_TRUE(IsOk(attr)) << name;
      const Bytes expected = DataOf(what.first, what.second);
      ASSERT_EQ(attr->size, expected.size()) << name;
      Bytes data(attr->size);
      auto n = (*staging)->Read(attr->id, 0, data);
      ASSERT_TRUE(IsOk(n)) << name;
      ASSERT_EQ(data, expected) << name;
    }
    if (round % 3 != 2) continue;
    ASSERT_TRUE(IsOk((*staging)->CommitAll()));
  }
}

}  // namespace
}  // namespace bkfs

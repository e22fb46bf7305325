// SPDX-License-Identifier: Apache-2.0
// kill -9 of a writing process at random moments: what was closed is there, whole.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <ctime>

#include "backends/local/local_backend.h"
#include "tests/staging/killed_writer.h"
#include "tests/staging/staging_fixture.h"

namespace bkfs {
namespace {

// The child keeps only its end of the pipe.
pid_t StartWriter(const std::string& store, const std::string& cache, const std::string& keyfile,
                  uint64_t round, const int (&pipes)[2]) {
  const std::string number = std::to_string(round);
  const std::string pipe = std::to_string(pipes[1]);
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::close(pipes[0]);
  ::execl(BKFS_KILLED_WRITER, BKFS_KILLED_WRITER, store.c_str(), cache.c_str(), keyfile.c_str(),
          number.c_str(), pipe.c_str(), nullptr);
  ::_exit(127);
}

constexpr uint64_t kRounds = 15;

TEST(StagingCrash, Kill9LosesNothingThatWasClosed) {
  ScratchFolder scratch;
  const std::string store_path = scratch.path() + "/store";
  auto store = OpenLocalBackend(store_path, true);
  ASSERT_TRUE(IsOk(store));
  TestRepository test(**store);
  const std::string cache = scratch.path() + "/cache";
  const std::string keyfile = scratch.path() + "/key";
  ASSERT_TRUE(IsOk(WriteNewFile(keyfile, AsBytes(EncodeKeyfile(test.CloneMaster(), {})), 0600)));
  std::map<std::string, std::pair<uint64_t, int>> closed;
  uint64_t random = 12345;
  for (uint64_t round = 0; round < kRounds; ++round) {
    int pipes[2];
    ASSERT_EQ(::pipe(pipes), 0);
    const pid_t child = StartWriter(store_path, cache, keyfile, round, pipes);
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
      // All of them at the end: each round's are looked at when they are new.
      if (what.first != round && round + 1 < kRounds) continue;
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

// SPDX-License-Identifier: Apache-2.0
// An SFTP store whose server or line fails it.
#include <atomic>
#include <chrono>
#include <filesystem>
#include <random>
#include <thread>

#include "engine/base/transfer.h"
#include "tests/backends/sftp_server.h"

namespace bkfs {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kSecond = 1'000'000'000;

Bytes Noise(size_t size, uint64_t seed) {
  Bytes data(size);
  std::mt19937_64 random(seed);
  for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
  return data;
}

// As a decorator outside would: again while it may help.
Status PutAgain(Backend& backend, const std::string& name, const Bytes& data) {
  Status status;
  for (int i = 0; i < 20; ++i) {
    status = backend.PutOne(name, data);
    if (!status.Is(Code::kUnavailable)) return status;
  }
  return status;
}

// Does something when so many bytes have been told of.
class AtByte final : public TransferWatch {
 public:
  AtByte(uint64_t count, std::function<void()> then) : left_(count), then_(std::move(then)) {}
  Status Sending(uint64_t bytes) override { return Count(bytes); }
  Status Received(uint64_t bytes) override { return Count(bytes); }

 private:
  Status Count(uint64_t bytes) {
    EXPECT_LE(bytes, uint64_t{256 << 10});
    if (then_ && bytes >= left_) std::exchange(then_, nullptr)();
    left_ -= std::min(left_, bytes);
    return {};
  }
  uint64_t left_;
  std::function<void()> then_;
};

TEST(SftpFault, AServerThatIsKilledWhilePutting) {
  SshServer server;
  SftpOptions options = server.Options();
  const std::string path = options.path;
  auto backend = OpenOrDie(std::move(options));
  const Bytes data = Noise(16 << 20, 1);
  AtByte kill(4 << 20, [&] { EXPECT_EQ(server.Tell("stop"), "ok"); });
  {
    const WatchScope scope(kill);
    Status status = backend->PutOne("packs/a", data);
    EXPECT_EQ(status.code(), Code::kUnavailable) << status.ToString();
  }
  EXPECT_FALSE(fs::exists(path + "/packs/a"));
  EXPECT_EQ(backend->Get("packs/a").code(), Code::kUnavailable);
  ASSERT_EQ(server.Tell("start"), "ok");
  EXPECT_EQ(backend->Get("packs/a").code(), Code::kNotFound);
  Status status = backend->PutOne("packs/a", data);
  EXPECT_TRUE(status.ok()) << status.ToString();
  auto back = backend->Get("packs/a");
  ASSERT_TRUE(back.ok());
  EXPECT_TRUE(*back == data);
  // What the first try has left is gone with the second one.
  EXPECT_TRUE(fs::is_empty(path + "/_tmp"));
}

TEST(SftpFault, AServerThatIsKilledWhileReading) {
  SshServer server;
  auto backend = OpenOrDie(server.Options());
  const Bytes data = Noise(16 << 20, 2);
  ASSERT_TRUE(backend->PutOne("a", data).ok());
  Bytes out(data.size());
  AtByte kill(4 << 20, [&] { EXPECT_EQ(server.Tell("stop"), "ok"); });
  {
    const WatchScope scope(kill);
    Status status = backend->ReadAt("a", 0, out);
    // All of it may have been under way.
    EXPECT_TRUE(status.Is(Code::kUnavailable) || (status.ok() && out == data)) << status.ToString();
  }
  ASSERT_EQ(server.Tell("start"), "ok");
  Status status = backend->ReadAt("a", 0, out);
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_TRUE(out == data);
}

// Idle connections that the server has closed are noticed before they are used.
TEST(SftpFault, AServerThatWasRestartedMeanwhile) {
  SshServer server;
  auto backend = OpenOrDie(server.Options());
  ASSERT_TRUE(backend->PutOne("a", AsBytes("x")).ok());
  ASSERT_EQ(server.Tell("stop"), "ok");
  ASSERT_EQ(server.Tell("start"), "ok");
  auto back = backend->Get("a");
  EXPECT_TRUE(back.ok()) << back.status().ToString();
}

TEST(SftpFault, ConnectionsCutAtRandomLeaveNoShortObject) {
  SshServer& server = SshServer::Shared();
  FaultLine line(server);
  SftpOptions options = server.Options();
  const std::string path = options.path;
  auto backend = OpenOrDie(line.Through(std::move(options)));
  int failures = 0;
  for (int round = 0; round < 60; ++round) {
    const std::string name = "packs/" + std::to_string(round);
    const Bytes data = Noise(300'000, static_cast<uint64_t>(round));
    // From the middle of the login to after the last answer.
    ASSERT_EQ(line.Tell("reset " + std::to_string(2'000 + round * 6'500)), "ok");
    Status status = backend->PutOne(name, data);
    EXPECT_TRUE(status.ok() || status.Is(Code::kUnavailable)) << status.ToString();
    failures += status.ok() ? 0 : 1;
    ASSERT_EQ(line.Tell("heal"), "ok");
    std::error_code error;
    const auto size = fs::file_size(path + "/" + name, error);
    EXPECT_TRUE(error || size == data.size()) << name << " has " << size;
    EXPECT_TRUE(!status.ok() || !error) << name;
    Status again = PutAgain(*backend, name, data);
    EXPECT_TRUE(again.ok() || again.Is(Code::kExists)) << again.ToString();
    auto back = backend->Get(name);
    ASSERT_TRUE(back.ok()) << back.status().ToString();
    EXPECT_TRUE(*back == data);
  }
  EXPECT_GT(failures, 10);
  ASSERT_TRUE(backend->PutOne("last", AsBytes("x")).ok());
  // Uploads that the server heard of only after their successors had begun may remain for a day.
  EXPECT_LE(std::distance(fs::directory_iterator(path + "/_tmp"), fs::directory_iterator()), 1);
}

// Runs `operation` against a line that does not move, under a watch; it must end with `code`.
void ExpectEnds(const std::function<Status()>& operation, TransferWatch& watch, Code code) {
  const WatchScope scope(watch);
  Status status = operation();
  EXPECT_EQ(status.code(), code) << status.ToString();
}

TEST(SftpFault, AStalledLine) {
  SshServer& server = SshServer::Shared();
  FaultLine line(server);
  SftpOptions options = line.Through(server.Options());
  options.connections = 2;
  auto backend = OpenOrDie(std::move(options));
  const Bytes data = Noise(8 << 20, 3);
  ASSERT_TRUE(backend->PutOne("a", data).ok());
  const std::vector<std::function<Status()>> operations = {
      [&] { return backend->Get("a").status(); }, [&] { return backend->PutOne("b", data); },
      [&] { return backend->Size("a").status(); },
      [&] { return backend->List("", [](const std::string&, uint64_t) { return Status(); }); },
      [&] { return backend->Remove("a"); }};
  for (size_t i = 0; i < operations.size(); ++i) {
    ASSERT_TRUE(backend->Size("a").ok());  // there is a connection to be stalled
    ASSERT_EQ(line.Tell("stall"), "ok");
    WaitLimit limit(kSecond, {});
    ExpectEnds(operations[i], limit, Code::kUnavailable);
    // And one that has to be made.
    std::atomic<bool> stop{false};
    std::thread stopper([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
      stop = true;
    });
    WaitLimit signal(60 * kSecond, [&] { return stop.load(); });
    ExpectEnds(operations[i], signal, Code::kInterrupted);
    stopper.join();
    ASSERT_EQ(line.Tell("heal"), "ok");
  }
}

TEST(SftpFault, ALineThatStallsInTheMidstOfATransfer) {
  SshServer& server = SshServer::Shared();
  FaultLine line(server);
  auto backend = OpenOrDie(line.Through(server.Options()));
  const Bytes data = Noise(16 << 20, 4);
  AtByte stall(2 << 20, [&] { EXPECT_EQ(line.Tell("stall"), "ok"); });
  {
    const WatchScope scope(stall);
    WaitLimit limit(2 * kSecond, {});
    ExpectEnds([&] { return backend->PutOne("a", data); }, limit, Code::kUnavailable);
  }
  ASSERT_EQ(line.Tell("heal"), "ok");
  EXPECT_TRUE(backend->PutOne("a", data).ok());
}

// Nobody watches, and it ends all the same.
TEST(SftpFault, SilenceHasAnEndOfItsOwn) {
  SshServer& server = SshServer::Shared();
  FaultLine line(server);
  SftpOptions options = line.Through(server.Options());
  options.silence_limit_ns = kSecond;
  options.connect_limit_ns = 2 * kSecond;
  auto backend = OpenOrDie(std::move(options));
  ASSERT_EQ(line.Tell("stall"), "ok");
  EXPECT_EQ(backend->Size("a").code(), Code::kUnavailable);
  EXPECT_EQ(backend->Size("a").code(), Code::kUnavailable);
  // The destructor does not wait for it either.
  ASSERT_EQ(line.Tell("heal"), "ok");
  EXPECT_EQ(backend->Size("a").code(), Code::kNotFound);
  ASSERT_EQ(line.Tell("stall"), "ok");
}

// Whoever waits for a connection is watched as well.
TEST(SftpFault, WaitingForAConnectionIsWatched) {
  SftpOptions options = SshServer::Shared().Options();
  options.connections = 1;
  auto backend = OpenOrDie(std::move(options));
  const Bytes data = Noise(1 << 20, 5);
  std::atomic<bool> holds{false};
  std::atomic<bool> release{false};
  AtByte hold(1, [&] {
    holds = true;
    while (!release) std::this_thread::yield();
  });
  std::thread holder([&] {
    const WatchScope scope(hold);
    EXPECT_TRUE(backend->PutOne("a", data).ok());
  });
  while (!holds) std::this_thread::yield();
  WaitLimit limit(kSecond / 2, {});
  ExpectEnds([&] { return backend->Size("a").status(); }, limit, Code::kUnavailable);
  release = true;
  holder.join();
  EXPECT_TRUE(backend->Size("a").ok());
}

// Bytes are told of, all and once; a refusal ends the transfer with what it says.
TEST(SftpFault, WatchesAreToldAndObeyed) {
  class Counting final : public TransferWatch {
   public:
    Status Sending(uint64_t bytes) override {
      sent += bytes;
      return sent > limit ? Status(Code::kQuota, "enough") : Status();
    }
    Status Received(uint64_t bytes) override {
      received += bytes;
      return received > limit ? Status(Code::kQuota, "enough") : Status();
    }
    uint64_t sent = 0;
    uint64_t received = 0;
    uint64_t limit = UINT64_MAX;
  };
  auto backend = OpenOrDie(SshServer::Shared().Options());
  const Bytes data = Noise(3'000'000, 6);
  ASSERT_TRUE(backend->PutOne("warm", AsBytes("x")).ok());
  Counting watch;
  const WatchScope scope(watch);
  ASSERT_TRUE(backend->PutOne("a", data).ok());
  EXPECT_EQ(watch.sent, data.size());
  EXPECT_EQ(watch.received, 0U);
  Bytes out(1'000'000);
  ASSERT_TRUE(backend->ReadAt("a", 1, out).ok());
  EXPECT_EQ(watch.received, out.size());
  watch.limit = watch.sent + 500'000;
  EXPECT_EQ(backend->PutOne("b", data).code(), Code::kQuota);
  watch.limit = watch.received + 500'000;
  EXPECT_EQ(backend->Get("a").code(), Code::kQuota);
  watch.limit = UINT64_MAX;
  EXPECT_EQ(backend->Get("b").code(), Code::kNotFound);
  EXPECT_TRUE(backend->PutOne("b", data).ok());
}

}  // namespace
}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
// What every S3 server is asked for besides the contract's suite. Linked into each server's
// program.
#include <atomic>
#include <thread>

#include "engine/base/transfer.h"
#include "tests/backends/s3_server.h"

namespace bkfs {
namespace {

NullLogger no_log;

S3Options Plain(const std::string& prefix) {
  S3Server& server = S3Server::Get();
  return server.Options(server.Fact("bucket"), prefix);
}

Status OpenStatus(S3Options options) {
  return OpenS3Backend(std::move(options), no_log, true).status();
}

class ShiftedClock final : public Clock {
 public:
  explicit ShiftedClock(int64_t shift_ns) : shift_ns_(shift_ns) {}
  int64_t WallNanos() const override { return SystemClock().WallNanos() + shift_ns_; }
  int64_t MonotonicNanos() const override { return SystemClock().MonotonicNanos(); }

 private:
  const int64_t shift_ns_;
};

void ExpectSays(const Status& status, Code code, const std::string& words) {
  EXPECT_EQ(status.code(), code) << status.ToString();
  EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
}

// All keys below the prefix, those that are no objects too.
std::vector<std::string> RawKeys(const std::string& prefix) {
  const RawS3 raw(Plain(prefix));
  std::vector<std::string> out;
  EXPECT_TRUE(raw.objects()
                  .List("",
                        [&](const S3ListedObject& object) -> Status {
                          out.push_back(object.key);
                          return {};
                        })
                  .ok());
  return out;
}

TEST(S3Real, EachMistakeHasOneClearError) {
  S3Options options = Plain("errors");
  options.secret_key = Secret::CopyOf(AsBytes("not the secret"));
  Status status = OpenStatus(std::move(options));
  ExpectSays(status, Code::kDenied, "the secret key is not the one of access key id");
  EXPECT_EQ(status.message().find("not the secret"), std::string::npos);
  options = Plain("errors");
  options.access_key_id = "nobody";
  ExpectSays(OpenStatus(std::move(options)), Code::kDenied, "nobody");
  options = Plain("errors");
  options.location.bucket = "no-such-bucket";
  ExpectSays(OpenStatus(std::move(options)), Code::kNoRepository, "no bucket no-such-bucket");
  for (int hours : {1, -1}) {
    const ShiftedClock clock(hours * int64_t{3600} * 1'000'000'000);
    options = Plain("errors");
    options.clock = &clock;
    status = OpenStatus(std::move(options));
    ExpectSays(status, Code::kDenied, "the clocks differ: this machine says 20");
    // The store's Date has whole seconds, and the request takes a while.
    const bool apart = status.message().find(" 3600 s apart") != std::string::npos ||
                       status.message().find(" 3601 s apart") != std::string::npos ||
                       status.message().find(" 3599 s apart") != std::string::npos;
    EXPECT_TRUE(apart) << status.message();
  }
}

// 64 threads, half of them of another client, put different contents under one name.
TEST(S3Real, OfManyExactlyOneWins) {
  const std::string prefix = FreshPrefix();
  auto one = MustOpen(Plain(prefix));
  auto other = MustOpen(Plain(prefix));
  constexpr int kThreads = 64;
  for (const std::string name : {"bkfs.repo", "condemned/0000000000000001", "keys/epoch-2"}) {
    SCOPED_TRACE(name);
    std::atomic<int> ready{0};
    std::atomic<int> won{0};
    std::atomic<int> lost{0};
    std::atomic<int> winner{-1};
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        const std::string text = "content " + std::to_string(i);
        ready.fetch_add(1);
        while (ready.load() < kThreads) std::this_thread::yield();
        const Status status = (i % 2 == 0 ? *one : *other).PutOne(name, AsBytes(text));
        EXPECT_TRUE(status.ok() || status.Is(Code::kExists)) << status.ToString();
        if (status.ok()) winner.store(i);
        (status.ok() ? won : lost).fetch_add(1);
      });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(won.load(), 1);
    EXPECT_EQ(lost.load(), kThreads - 1);
    const std::string expected = "content " + std::to_string(winner.load());
    EXPECT_EQ(AsText(one->Get(name).value()), expected);
    EXPECT_EQ(AsText(other->Get(name).value()), expected);
  }
  EXPECT_EQ(RawKeys(prefix).size(), 3U);  // no claim and no probe is left
}

// One put, until it is there. What was answered with an error may have happened or not.
void PutThroughFaults(Backend& flaky, const std::string& name, const Bytes& data) {
  bool doubtful = false;
  for (int tries = 0; tries < 100; ++tries) {
    const Status status = flaky.PutOne(name, data);
    if (status.ok()) return;
    if (status.Is(Code::kExists) && doubtful) return;
    ASSERT_EQ(status.code(), Code::kUnavailable) << status.ToString();
    doubtful = true;
  }
  FAIL() << name << " was never put";
}

TEST(S3Real, TenPercentOf503AreUnavailableAndNothingElse) {
  const StoreProcess proxy("tls_proxy.py",
                           {"--upstream", S3Server::Get().Fact("port"), "--fail-percent", "10"});
  const std::string prefix = FreshPrefix();
  auto direct = MustOpen(Plain(prefix));
  std::unique_ptr<Backend> flaky;
  while (!flaky) {
    S3Options again =
        S3Server::Get().OptionsFor(proxy.Fact("url"), S3Server::Get().Fact("bucket"), prefix);
    again.ca_file = proxy.Fact("ca_file");
    auto opened = OpenS3Backend(std::move(again), no_log, true);
    if (opened.ok()) {
      flaky = std::move(*opened);
    } else {
      ASSERT_EQ(opened.code(), Code::kUnavailable) << opened.status().ToString();
    }
  }
  int failures = 0;
  for (int i = 0; i < 60; ++i) {
    const std::string name = (i % 3 == 0 ? "condemned/" : "packs/aa/") + std::to_string(i);
    const Bytes data(1000 + static_cast<size_t>(i) * 20'000, static_cast<uint8_t>(i));
    PutThroughFaults(*flaky, name, data);
    auto stored = direct->Get(name);
    ASSERT_TRUE(stored.ok()) << stored.status().ToString();
    EXPECT_EQ(*stored, data);
    for (int k = 0; k < 5; ++k) {
      auto got = flaky->Get(name);
      if (!got.ok()) ++failures;
      EXPECT_TRUE(got.ok() ? *got == data : got.code() == Code::kUnavailable);
      const Code absent = flaky->Size("packs/aa/absent").code();
      EXPECT_TRUE(absent == Code::kNotFound || absent == Code::kUnavailable);
    }
  }
  EXPECT_GT(failures, 0);
}

TEST(S3Real, SlowBytesEndWithTheWatch) {
  const StoreProcess proxy("tls_proxy.py",
                           {"--upstream", S3Server::Get().Fact("port"), "--limit-rate", "50000"});
  const std::string prefix = FreshPrefix();
  const Bytes data(8 << 20, 'x');
  ASSERT_TRUE(MustOpen(Plain(prefix))->PutOne("packs/aa/1", data).ok());
  S3Options options =
      S3Server::Get().OptionsFor(proxy.Fact("url"), S3Server::Get().Fact("bucket"), prefix);
  options.ca_file = proxy.Fact("ca_file");
  auto slow = MustOpen(std::move(options));
  WaitLimit limit(1'500'000'000, nullptr);
  const WatchScope scope(limit);
  ExpectSays(slow->Get("packs/aa/1").status(), Code::kUnavailable, "has not answered");
}

TEST(S3Real, MoreThanAThousandAreRemovedTogether) {
  auto store = MustOpen(Plain(FreshPrefix()));
  std::vector<std::string> names;
  for (int i = 0; i < 1100; ++i) names.push_back("packs/aa/" + std::to_string(i));
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = t; i < names.size(); i += 8) {
        EXPECT_TRUE(store->PutOne(names[i], AsBytes("x")).ok());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  size_t listed = 0;
  const auto count = [&](const std::string&, uint64_t) {
    ++listed;
    return OkStatus();
  };
  EXPECT_TRUE(store->List("packs/", count).ok());
  EXPECT_EQ(listed, names.size());
  EXPECT_TRUE(store->RemoveAll(names).ok());
  listed = 0;
  EXPECT_TRUE(store->List("", count).ok());
  EXPECT_EQ(listed, 0U);
}

TEST(S3Real, PrefixesDoNotSeeEachOther) {
  const std::string prefix = FreshPrefix();
  auto inner = MustOpen(Plain(prefix));
  auto longer = MustOpen(Plain(prefix + "2"));
  auto below = MustOpen(Plain(prefix + "/Below_it"));
  ASSERT_TRUE(longer->PutOne("a", AsBytes("longer")).ok());
  ASSERT_TRUE(below->PutOne("a", AsBytes("below")).ok());
  int seen = 0;
  EXPECT_TRUE(inner
                  ->List("",
                         [&](const std::string&, uint64_t) {
                           ++seen;
                           return OkStatus();
                         })
                  .ok());
  EXPECT_EQ(seen, 0);
  EXPECT_EQ(inner->Get("a").code(), Code::kNotFound);
  EXPECT_EQ(AsText(below->Get("a").value()), "below");
}

}  // namespace
}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "backends/http/http_client.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "engine/base/transfer.h"
#include "tests/backends/scripted_http_server.h"

namespace bkfs {
namespace {

std::unique_ptr<HttpClient> Client(size_t connections = 8) {
  return HttpClient::Open({.ca_file = {}, .connections = connections}).value();
}

HttpRequest GetOf(const ScriptedHttpServer& server, const std::string& path = "/x") {
  return {.method = "GET", .url = server.url() + path};
}

class CountingWatch final : public TransferWatch {
 public:
  Status Sending(uint64_t bytes) override {
    EXPECT_LE(bytes, 256U << 10);
    sent += bytes;
    return refusal;
  }
  Status Received(uint64_t bytes) override {
    EXPECT_LE(bytes, 256U << 10);
    received += bytes;
    return refusal;
  }
  Status Waiting() override {
    ++waits;
    return waits > patience ? Status(Code::kInterrupted, "enough") : Status();
  }
  uint64_t sent = 0;
  uint64_t received = 0;
  int waits = 0;
  int patience = 1'000'000;
  Status refusal;
};

TEST(HttpClient, SendsTheBodyAndGivesTheAnswer) {
  ScriptedRequest seen;
  ScriptedHttpServer server([&](const ScriptedRequest& request) {
    seen = request;
    return Answer(201, "made", "X-Word:  a value \r\n");
  });
  const Bytes large(3 << 20, 'a');
  const ByteView parts[] = {AsBytes("begin"), {}, large, AsBytes("end")};
  HttpRequest request{.method = "PUT",
                      .url = server.url() + "/a/../b?q=1",
                      .headers = {{"x-mine", "yes"}, {"x-empty", ""}},
                      .body = parts};
  CountingWatch watch;
  const WatchScope scope(watch);
  auto answer = Client()->Do(request);
  ASSERT_TRUE(answer.ok()) << answer.status().ToString();
  EXPECT_EQ(answer->status, 201);
  EXPECT_EQ(AsText(answer->body), "made");
  ASSERT_NE(answer->Find("x-word"), nullptr);
  EXPECT_EQ(*answer->Find("x-word"), "a value");
  EXPECT_EQ(seen.path, "/a/../b");
  EXPECT_EQ(seen.headers["x-mine"], "yes");
  EXPECT_EQ(seen.headers.count("x-empty"), 1U);
  EXPECT_EQ(seen.body, "begin" + std::string(large.begin(), large.end()) + "end");
  EXPECT_EQ(watch.sent, large.size() + 8);
  EXPECT_EQ(watch.received, 4U);
}

TEST(HttpClient, AnAnswerThatIsCutIsUnavailable) {
  ScriptedHttpServer server([](const ScriptedRequest& request) -> ScriptedAnswer {
    const bool chunked = request.path == "/chunked";
    return {.bytes = chunked ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
                             : "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
            .close = true};
  });
  for (const std::string path : {"/length", "/chunked"}) {
    auto answer = Client()->Do(GetOf(server, path));
    EXPECT_EQ(answer.code(), Code::kUnavailable) << path << answer.status().ToString();
    EXPECT_NE(answer.status().message().find("127.0.0.1"), std::string::npos);
  }
}

TEST(HttpClient, NoServerIsUnavailable) {
  std::string url;
  {
    ScriptedHttpServer server([](const ScriptedRequest&) { return Answer(200); });
    url = server.url();
  }
  EXPECT_EQ(Client()->Do({.method = "GET", .url = url}).code(), Code::kUnavailable);
  EXPECT_EQ(Client()->Do({.method = "GET", .url = "ftp://127.0.0.1/"}).code(), Code::kInvalid);
}

TEST(HttpClient, BodiesAndHeadersAreBounded) {
  ScriptedHttpServer server([](const ScriptedRequest& request) {
    if (request.path == "/headers") {
      std::string headers;
      for (int i = 0; i < 3000; ++i) headers += "X-Long: " + std::string(100, 'x') + "\r\n";
      return Answer(200, "", headers);
    }
    return Answer(request.path == "/error" ? 404 : 200, std::string(3 << 20, 'x'));
  });
  auto client = Client();
  EXPECT_EQ(client->Do(GetOf(server, "/headers")).code(), Code::kIo);
  EXPECT_EQ(client->Do(GetOf(server)).code(), Code::kIo);
  HttpRequest large = GetOf(server);
  large.max_body = 4 << 20;
  EXPECT_EQ(client->Do(large).value().body.size(), 3U << 20);
  auto error = client->Do(GetOf(server, "/error"));  // an error's text is cut, not refused
  ASSERT_TRUE(error.ok()) << error.status().ToString();
  EXPECT_EQ(error->body.size(), 64U << 10);
}

TEST(HttpClient, TheSinkGetsSuccessAloneAndEndsIt) {
  ScriptedHttpServer server([](const ScriptedRequest& request) {
    return Answer(request.path == "/error" ? 404 : 200, "some text");
  });
  std::string taken;
  HttpRequest request = GetOf(server);
  request.sink = [&](const HttpResponse& so_far, ByteView piece) -> Status {
    EXPECT_EQ(so_far.status, 200);
    taken += AsText(piece);
    return taken.size() > 9 ? Status(Code::kRange, "full") : Status();
  };
  auto client = Client();
  EXPECT_TRUE(client->Do(request).value().body.empty());
  EXPECT_EQ(taken, "some text");
  EXPECT_EQ(client->Do(request).code(), Code::kRange);
  request.url = server.url() + "/error";
  EXPECT_EQ(AsText(client->Do(request).value().body), "some text");
}

TEST(HttpClient, AWatchEndsWhatHangs) {
  ScriptedHttpServer server(
      [](const ScriptedRequest&) -> ScriptedAnswer { return {.hang = true}; });
  CountingWatch watch;
  watch.patience = 5;
  const WatchScope scope(watch);
  auto answer = Client()->Do(GetOf(server));
  EXPECT_EQ(answer.code(), Code::kInterrupted);
  EXPECT_EQ(answer.status().message(), "enough");
}

TEST(HttpClient, AWatchEndsSendingAndReceiving) {
  ScriptedHttpServer server([](const ScriptedRequest&) { return Answer(200, "text"); });
  CountingWatch watch;
  watch.refusal = Status(Code::kQuota, "no more");
  const WatchScope scope(watch);
  EXPECT_EQ(Client()->Do(GetOf(server)).code(), Code::kQuota);
  const ByteView body = AsBytes("body");
  EXPECT_EQ(
      Client()->Do({.method = "PUT", .url = server.url(), .body = std::span(&body, 1)}).code(),
      Code::kQuota);
}

TEST(HttpClient, WhoWantsOneConnectionMoreWaitsWatched) {
  std::atomic<bool> hanging{false};
  ScriptedHttpServer server([&](const ScriptedRequest&) -> ScriptedAnswer {
    hanging = true;
    return {.hang = true};
  });
  auto client = Client(1);
  std::atomic<bool> enough{false};
  std::thread first([&] {
    WaitLimit limit(int64_t{60} * 1'000'000'000, [&] { return enough.load(); });
    const WatchScope scope(limit);
    EXPECT_EQ(client->Do(GetOf(server)).code(), Code::kInterrupted);
  });
  while (!hanging) std::this_thread::yield();
  CountingWatch watch;
  watch.patience = 3;
  {
    const WatchScope scope(watch);
    EXPECT_EQ(client->Do(GetOf(server)).code(), Code::kInterrupted);
  }
  enough = true;
  first.join();
}

TEST(HttpClient, ARefusalOfALargeBodyIsKnownBeforeItIsSent) {
  ScriptedHttpServer server(
      [](const ScriptedRequest&) { return Answer(200); },
      {.early = [](const ScriptedRequest&) { return Answer(412, "", "Connection: close\r\n"); }});
  const Bytes large(64 << 20, 'x');
  const ByteView body(large);
  CountingWatch watch;
  const WatchScope scope(watch);
  auto answer = Client()->Do({.method = "PUT", .url = server.url(), .body = std::span(&body, 1)});
  ASSERT_TRUE(answer.ok()) << answer.status().ToString();
  EXPECT_EQ(answer->status, 412);
  EXPECT_EQ(watch.sent, 0U);
}

TEST(HttpClient, AServerThatDoesNotContinueIsAskedOnce) {
  std::vector<bool> asked;
  ScriptedHttpServer server(
      [&](const ScriptedRequest& request) {
        asked.push_back(request.headers.contains("expect"));
        return Answer(request.body.size() == (1U << 20) ? 200 : 400);
      },
      {.continues = false});
  const Bytes large(1 << 20, 'x');
  const ByteView body(large);
  auto client = Client();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(client->Do({.method = "PUT", .url = server.url(), .body = std::span(&body, 1)})
                  .value()
                  .status,
              200);
  }
  EXPECT_EQ(asked, (std::vector<bool>{true, false, false}));
}

TEST(HttpClient, RedirectsAreNotFollowed) {
  ScriptedHttpServer server(
      [](const ScriptedRequest&) { return Answer(302, "", "Location: http://127.0.0.1:1/\r\n"); });
  EXPECT_EQ(Client()->Do(GetOf(server)).value().status, 302);
}

TEST(HttpClient, NoProxyForLoopback) {
  ScriptedHttpServer server([](const ScriptedRequest&) { return Answer(200); });
  ASSERT_EQ(::setenv("http_proxy", "http://127.0.0.1:1", 1), 0);
  EXPECT_EQ(Client()->Do(GetOf(server)).value().status, 200);
  ASSERT_EQ(::unsetenv("http_proxy"), 0);
}

TEST(HttpClient, AClosedConnectionThatWasKeptIsNoFailure) {
  int count = 0;
  ScriptedHttpServer server([&](const ScriptedRequest& request) {
    ScriptedAnswer answer = Answer(200, request.body);
    answer.close = ++count % 2 == 1;  // without a word
    return answer;
  });
  auto client = Client(1);
  for (int i = 0; i < 6; ++i) {
    const ByteView body = AsBytes("text");
    auto answer = client->Do({.method = "PUT", .url = server.url(), .body = std::span(&body, 1)});
    ASSERT_TRUE(answer.ok()) << answer.status().ToString();
    EXPECT_EQ(AsText(answer->body), "text");
  }
}

TEST(HttpClient, WhatIsLoopback) {
  for (const char* host : {"127.0.0.1", "127.1.2.3", "localhost", "::1"}) {
    EXPECT_TRUE(IsLoopback(host)) << host;
  }
  for (const char* host : {"127.example.org", "127.0.0.1.org", "128.0.0.1", "::2", "", "127.1"}) {
    EXPECT_FALSE(IsLoopback(host)) << host;
  }
}

TEST(HttpClient, Dates) {
  EXPECT_EQ(ParseHttpDate("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777LL * 1'000'000'000);
  EXPECT_EQ(ParseHttpDate("yesterday"), std::nullopt);
}

}  // namespace
}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
// Answers that real servers give rarely or never, from a server that the test makes up.
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <tuple>

#include "backends/s3/s3_backend.h"
#include "engine/base/transfer.h"
#include "tests/backends/scripted_http_server.h"

namespace bkfs {
namespace {

const bool kReady = InitCrypto().ok();

std::string ErrorXml(const std::string& code, const std::string& more = "") {
  return "<Error><Code>" + code + "</Code><Message>said so</Message>" + more + "</Error>";
}

// A store below http://127.0.0.1/bucket/repo. What `script` does not answer (no bytes) goes as
// with a well-behaved host that has conditional puts and no objects.
class S3Answers : public testing::Test {
 protected:
  using Script = ScriptedHttpServer::Script;

  void Begin(Script script) {
    ASSERT_TRUE(kReady);
    script_ = std::move(script);
    server_ = std::make_unique<ScriptedHttpServer>(
        [this](const ScriptedRequest& request) { return Respond(request); });
    auto backend = OpenS3Backend(Options(), log_, true);
    ASSERT_TRUE(backend.ok()) << backend.status().ToString();
    backend_ = std::move(*backend);
  }
  S3Options Options() const {
    S3Options options;
    options.location = ParseS3Url(server_->url() + "/bucket/repo", {}).value();
    options.access_key_id = "id";
    options.secret_key = Secret::CopyOf(AsBytes("geheim"));
    options.multipart_size = 5 << 20;
    return options;
  }
  ScriptedAnswer Respond(const ScriptedRequest& request) {
    if (request.path.find("/_probe-") != std::string::npos && !own_probe_) return Probe(request);
    ScriptedAnswer answer = script_(request);
    if (!answer.bytes.empty() || answer.hang) return answer;
    if (request.Has("list-type")) return Answer(200, "<ListBucketResult></ListBucketResult>");
    if (request.method == "PUT") return Answer(200);
    if (request.method == "DELETE") return Answer(204);
    return Answer(404, ErrorXml("NoSuchKey"));
  }
  ScriptedAnswer Probe(const ScriptedRequest& request) {
    if (request.method == "PUT" && request.headers.contains("if-none-match")) {
      if (!conditional_) return Answer(501, ErrorXml("NotImplemented"));
      if (!probe_.empty()) return Answer(412, ErrorXml("PreconditionFailed"));
      probe_ = request.body;
      return Answer(200);
    }
    if (request.method == "PUT") {
      return refuses_old_ ? Answer(403, ErrorXml("RequestTimeTooSkewed")) : Answer(200);
    }
    if (request.method == "DELETE") return Answer(204);
    return probe_.empty() ? Answer(404) : Answer(200, probe_);
  }
  Backend& backend() { return *backend_; }
  // The status that an operation on the object x gets when each request is answered so.
  Status GetWith(const ScriptedAnswer& answer) {
    Begin([answer](const ScriptedRequest& request) {
      return request.path.ends_with("/x") ? answer : ScriptedAnswer{};
    });
    return backend().Get("x").status();
  }
  Status ListWith(const ScriptedAnswer& answer) {
    std::atomic<int> lists{0};
    Begin([&](const ScriptedRequest& request) {
      // The first is the one that asks for the bucket.
      return request.Has("list-type") && lists++ > 0 ? answer : ScriptedAnswer{};
    });
    return backend().List("", [](const std::string&, uint64_t) { return OkStatus(); });
  }

  Script script_;
  bool conditional_ = true;
  bool refuses_old_ = true;
  bool own_probe_ = false;
  std::string probe_;
  NullLogger log_;
  std::unique_ptr<ScriptedHttpServer> server_;
  std::unique_ptr<Backend> backend_;
};

TEST_F(S3Answers, CodesOfRefusals) {
  const std::tuple<int, const char*, Code> cases[] = {
      {500, "InternalError", Code::kUnavailable},
      {503, "SlowDown", Code::kUnavailable},
      {429, "", Code::kUnavailable},
      {400, "RequestTimeout", Code::kUnavailable},
      {409, "OperationAborted", Code::kUnavailable},
      {507, "", Code::kNoSpace},
      {403, "QuotaExceeded", Code::kQuota},
      {413, "EntityTooLarge", Code::kQuota},
      {403, "AccessDenied", Code::kDenied},
      {401, "", Code::kDenied},
      {404, "NoSuchKey", Code::kNotFound},
      {404, "NoSuchBucket", Code::kNoRepository},
      {400, "ExpiredToken", Code::kDenied},
      {403, "InvalidAccessKeyId", Code::kDenied},
      {403, "SignatureDoesNotMatch", Code::kDenied},
      {400, "InvalidToken", Code::kDenied},
      {400, "InvalidRequest", Code::kIo},
      {418, "", Code::kIo},
  };
  for (const auto& [answer, word, expected] : cases) {
    SCOPED_TRACE(std::to_string(answer) + word);
    const Status status = GetWith(Answer(answer, *word == 0 ? "" : ErrorXml(word)));
    EXPECT_EQ(status.code(), expected) << status.ToString();
    EXPECT_EQ(status.message().find("geheim"), std::string::npos);
  }
  const Status denied = GetWith(Answer(403, ErrorXml("AccessDenied")));
  EXPECT_NE(denied.message().find("/bucket/repo/x: GET is not allowed to access key id id"),
            std::string::npos)
      << denied.message();
}

TEST_F(S3Answers, ABodyThatIsCutOrHasNoEndIsNoObject) {
  EXPECT_EQ(
      GetWith({.bytes = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ntext", .close = true}).code(),
      Code::kUnavailable);
  EXPECT_EQ(GetWith({.bytes = "HTTP/1.1 200 OK\r\n\r\ntext", .close = true}).code(), Code::kIo);
  EXPECT_EQ(GetWith(Answer(206, "text", "Content-Range: bytes 0-3/9\r\n")).code(), Code::kIo);
  EXPECT_EQ(GetWith({.bytes = "rubbish\r\n\r\n", .close = true}).code(), Code::kUnavailable);
}

TEST_F(S3Answers, RangesAreNeverMisread) {
  std::string range;
  int status = 206;
  std::string body;
  Begin([&](const ScriptedRequest& request) {
    if (!request.path.ends_with("/x")) return ScriptedAnswer{};
    EXPECT_EQ(request.headers.at("range"), "bytes=4-7");
    return Answer(status, body, range.empty() ? "" : "Content-Range: " + range + "\r\n");
  });
  const auto read = [&](int with, const std::string& text, const std::string& header) {
    status = with;
    body = text;
    range = header;
    Bytes out(4, '-');
    Status done = backend().ReadAt("x", 4, out);
    if (done.ok()) {
      EXPECT_EQ(AsText(out), "4567");
    }
    return done.code();
  };
  EXPECT_EQ(read(206, "4567", "bytes 4-7/10"), Code::kOk);
  EXPECT_EQ(read(206, "4567", "bytes 4-7/*"), Code::kOk);
  EXPECT_EQ(read(200, "0123456789", ""), Code::kOk);  // the whole
  EXPECT_EQ(read(200, "01234", ""), Code::kCorrupt);
  EXPECT_EQ(read(206, "45", "bytes 4-5/6"), Code::kCorrupt);
  EXPECT_EQ(read(416, "", "bytes */3"), Code::kCorrupt);
  for (const char* wrong : {"", "bytes 0-3/10", "bytes 4-8/10", "bytes 5-8/10", "bytes x", "4-7/10",
                            "bytes 4-3/10", "bytes 4-99999999999999999999/10"}) {
    EXPECT_EQ(read(206, "0123", wrong), Code::kIo) << wrong;
  }
}

TEST_F(S3Answers, ListsThatMakeNoSense) {
  EXPECT_EQ(ListWith(Answer(200, "rubbish")).code(), Code::kIo);
  EXPECT_EQ(ListWith(Answer(200, "")).code(), Code::kIo);
  EXPECT_EQ(ListWith(Answer(200, "<ListBucketResult>")).code(), Code::kIo);
  const std::string entry = "<Contents><Key>repo/a</Key><Size>1</Size></Contents>";
  std::string endless = "<ListBucketResult>";
  for (int i = 0; i < 20'000; ++i) endless += entry;
  EXPECT_EQ(ListWith(Answer(200, endless)).code(), Code::kIo);
  EXPECT_EQ(ListWith(Answer(200, "<ListBucketResult>" + std::string(20 << 20, ' '))).code(),
            Code::kIo);
  EXPECT_EQ(ListWith(Answer(503, ErrorXml("SlowDown"))).code(), Code::kUnavailable);
  const std::string again =
      "<ListBucketResult>" + entry +
      "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
      "</ListBucketResult>";
  EXPECT_EQ(ListWith(Answer(200, again)).code(), Code::kIo);
}

TEST_F(S3Answers, ListsShowObjectsAlone) {
  std::atomic<int> lists{0};
  Begin([&](const ScriptedRequest& request) {
    if (!request.Has("list-type") || lists++ == 0) return ScriptedAnswer{};
    std::string body = "<ListBucketResult>";
    for (const char* key : {"repo/a", "repo/_claims/bkfs.repo/1", "repo/_probe-1", "repo/A",
                            "repo/", "other/b", "repo", "repo/packs/"}) {
      body += std::string("<Contents><Key>") + key + "</Key><Size>1</Size></Contents>";
    }
    return Answer(200, body + "</ListBucketResult>");
  });
  std::set<std::string> seen;
  EXPECT_TRUE(backend()
                  .List("",
                        [&](const std::string& name, uint64_t) {
                          seen.insert(name);
                          return OkStatus();
                        })
                  .ok());
  EXPECT_EQ(seen, std::set<std::string>{"a"});
}

TEST_F(S3Answers, ARefusedHeadSaysWhy) {
  Begin([](const ScriptedRequest& request) {
    if (!request.path.ends_with("/x")) return ScriptedAnswer{};
    return Answer(403, ErrorXml("InvalidAccessKeyId"));
  });
  const Status status = backend().Size("x").status();
  EXPECT_EQ(status.code(), Code::kDenied);
  EXPECT_NE(status.message().find("does not know the access key id"), std::string::npos);
}

TEST_F(S3Answers, RegionsAndRedirects) {
  Status moved =
      GetWith(Answer(301, ErrorXml("PermanentRedirect"), "x-amz-bucket-region: eu-1\r\n"));
  EXPECT_EQ(moved.code(), Code::kInvalid);
  EXPECT_NE(moved.message().find("set Region=eu-1"), std::string::npos) << moved.message();
  Status wrong =
      GetWith(Answer(400, ErrorXml("AuthorizationHeaderMalformed", "<Region>eu-2</Region>")));
  EXPECT_EQ(wrong.code(), Code::kInvalid);
  EXPECT_NE(wrong.message().find("set Region=eu-2"), std::string::npos) << wrong.message();
  // A 307 is followed, signed for where it leads; once.
  std::string signed_first;
  std::string signed_then;
  Begin([&](const ScriptedRequest& request) {
    if (request.path == "/elsewhere/x") {
      signed_then = request.headers.at("authorization");
      return Answer(200, "text");
    }
    if (!request.path.ends_with("/x")) return ScriptedAnswer{};
    signed_first = request.headers.at("authorization");
    return Answer(307, "", "Location: " + server_->url() + "/elsewhere/x\r\n");
  });
  auto got = backend().Get("x");
  ASSERT_TRUE(got.ok()) << got.status().ToString();
  EXPECT_EQ(AsText(*got), "text");
  EXPECT_NE(signed_first, signed_then);
  EXPECT_EQ(GetWith(Answer(307, "", "Location: ftp://127.0.0.1/x\r\n")).code(), Code::kIo);
  EXPECT_EQ(GetWith(Answer(307)).code(), Code::kIo);
}

TEST_F(S3Answers, ACompletionMayFailInsideA200) {
  std::string complete = ErrorXml("InternalError");
  int aborted = 0;
  Begin([&](const ScriptedRequest& request) {
    if (request.Has("uploads=")) {
      return Answer(200,
                    "<InitiateMultipartUploadResult><UploadId>u1</UploadId>"
                    "</InitiateMultipartUploadResult>");
    }
    if (!request.Has("uploadId=u1")) return ScriptedAnswer{};
    if (request.method == "DELETE") ++aborted;
    if (request.method == "PUT") return Answer(200, "", "ETag: \"t\"\r\n");
    return request.method == "POST" ? Answer(200, complete) : Answer(204);
  });
  const Bytes data(11 << 20, 'x');
  EXPECT_EQ(backend().PutOne("packs/aa/1", data).code(), Code::kUnavailable);
  EXPECT_EQ(aborted, 1);
  complete = "";
  EXPECT_EQ(backend().PutOne("packs/aa/1", data).code(), Code::kUnavailable);
  EXPECT_EQ(aborted, 2);
  complete = "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>";
  EXPECT_TRUE(backend().PutOne("packs/aa/1", data).ok());
  EXPECT_EQ(aborted, 2);
  // Names that may have several contents are never put in parts.
  EXPECT_TRUE(backend().PutOne("bkfs.repo", data).ok());
}

TEST_F(S3Answers, FailuresInsideAMultiDelete) {
  std::string answer;
  Begin([&](const ScriptedRequest& request) {
    if (request.method == "HEAD") return Answer(200, "x");
    if (!request.Has("delete=")) return ScriptedAnswer{};
    EXPECT_TRUE(request.headers.contains("content-md5"));
    return Answer(200, "<DeleteResult>" + answer + "</DeleteResult>");
  });
  EXPECT_TRUE(backend().RemoveAll({"a", "b"}).ok());
  answer = "<Error><Key>repo/b</Key><Code>AccessDenied</Code></Error>";
  const Status denied = backend().RemoveAll({"a", "b"});
  EXPECT_EQ(denied.code(), Code::kDenied);
  EXPECT_NE(denied.message().find("/repo/b: DELETE"), std::string::npos) << denied.message();
  answer = "<Error><Key>repo/b</Key><Code>InternalError</Code></Error>";
  EXPECT_EQ(backend().RemoveAll({"a", "b"}).code(), Code::kUnavailable);
  answer = "<Deleted><Key>repo/b</Key><DeleteMarker>true</DeleteMarker></Deleted>";
  EXPECT_EQ(backend().RemoveAll({"a", "b"}).code(), Code::kIo);
}

TEST_F(S3Answers, AConflictIsTriedAgain) {
  int tries = 0;
  Begin([&](const ScriptedRequest& request) {
    if (request.method != "PUT") return ScriptedAnswer{};
    EXPECT_EQ(request.headers.at("if-none-match"), "*");
    return ++tries < 4 ? Answer(409, ErrorXml("ConditionalRequestConflict")) : Answer(200);
  });
  EXPECT_TRUE(backend().PutOne("bkfs.repo", AsBytes("x")).ok());
  EXPECT_EQ(tries, 4);
}

// Who only reads puts nothing but leases, and leaves no probe.
TEST_F(S3Answers, ALeaseNeedsNoProbe) {
  const std::string lease = "leases/" + std::string(32, 'a');
  own_probe_ = true;
  int probes = 0;
  int status = 200;
  Begin([&](const ScriptedRequest& request) {
    if (request.path.find("/_probe-") != std::string::npos) ++probes;
    if (request.method != "PUT" || request.path.find("/leases/") == std::string::npos) {
      return ScriptedAnswer{};
    }
    const bool conditional = request.headers.contains("if-none-match");
    return conditional && status != 200 ? Answer(status, ErrorXml("Whatever")) : Answer(200);
  });
  EXPECT_TRUE(backend().PutOne(lease, AsBytes("x")).ok());
  EXPECT_TRUE(backend().PutOne(lease + ".1", AsBytes("x")).ok());
  EXPECT_EQ(probes, 0);
  status = 412;
  EXPECT_EQ(backend().PutOne(lease + ".1", AsBytes("x")).code(), Code::kExists);
  status = 403;
  EXPECT_EQ(backend().PutOne(lease + ".2", AsBytes("x")).code(), Code::kDenied);
  EXPECT_EQ(probes, 0);
  // A host without conditions gets the lease as it gets others.
  status = 501;
  EXPECT_TRUE(backend().PutOne(lease + ".2", AsBytes("x")).ok());
  EXPECT_GT(probes, 0);
}

// Hosts are believed what they do.
TEST_F(S3Answers, AHostThatReplacesIsNotTrusted) {
  own_probe_ = true;
  std::string kept;
  bool conditional_later = false;
  int refuse = 0;
  Begin([&](const ScriptedRequest& request) {
    const bool probe = request.path.find("/_probe-") != std::string::npos;
    if (!probe) {
      if (request.path.ends_with("/bkfs.repo") && request.headers.contains("if-none-match")) {
        conditional_later = true;
      }
      return ScriptedAnswer{};
    }
    if (request.method == "PUT") {
      if (refuse != 0) return Answer(refuse, ErrorXml("AccessDenied"));
      kept = request.body;  // also a 412 may come after the harm is done
      return Answer(200);
    }
    return request.method == "GET" ? Answer(200, kept) : ScriptedAnswer{};
  });
  refuse = 403;
  EXPECT_EQ(backend().PutOne("bkfs.repo", AsBytes("x")).code(), Code::kDenied);
  refuse = 0;  // what failed is probed again
  WaitLimit limit(1'000'000'000, nullptr);
  const WatchScope scope(limit);
  EXPECT_FALSE(backend().PutOne("bkfs.repo", AsBytes("x")).ok());  // its claim is not in the list
  EXPECT_FALSE(conditional_later);
}

// Claims on a host that exists only here, with a clock of its own.
class S3ScriptedClaims : public S3Answers {
 protected:
  void BeginClaims() {
    conditional_ = false;
    Begin([this](const ScriptedRequest& request) { return ClaimsHost(request); });
  }
  ScriptedAnswer ClaimsHost(const ScriptedRequest& request) {
    const std::string key = request.path.substr(std::min<size_t>(13, request.path.size()));
    if (request.Has("list-type")) return Answer(200, ListOf());
    if (request.method == "PUT") {
      if (key == "bkfs.repo" && fail_put_ != 0) return Answer(fail_put_);
      if (key == "bkfs.repo") ++puts_;
      objects_[key] = request.body;
      return Answer(200);
    }
    if (request.method == "DELETE") {
      objects_.erase(key);
      return Answer(204);
    }
    const auto found = objects_.find(key);
    if (found == objects_.end()) return Answer(404, ErrorXml("NoSuchKey"));
    return Answer(200, found->second);
  }
  std::string ListOf() {
    std::string body = "<ListBucketResult>";
    for (const auto& [key, data] : objects_) {
      const int64_t age = key == left_over_ ? age_s_ : 0;
      body += "<Contents><Key>repo/" + key + "</Key><Size>1</Size><LastModified>" +
              FormatRfc3339(SystemClock().WallNanos() - age * 1'000'000'000) +
              "</LastModified></Contents>";
    }
    return body + "</ListBucketResult>";
  }
  // An object's put, given up after two seconds.
  Status PutSoon(const std::string& text) {
    WaitLimit limit(2'000'000'000, nullptr);
    const WatchScope scope(limit);
    return backend().PutOne("bkfs.repo", AsBytes(text));
  }

  std::map<std::string, std::string> objects_;
  std::string left_over_ = "_claims/bkfs.repo/left";
  int64_t age_s_ = 0;
  int fail_put_ = 0;
  int puts_ = 0;
};

TEST_F(S3ScriptedClaims, AClaimIsTakenAndGivenBack) {
  BeginClaims();
  EXPECT_TRUE(PutSoon("x").ok());
  EXPECT_EQ(objects_.size(), 1U);
  EXPECT_EQ(PutSoon("y").code(), Code::kExists);
  EXPECT_EQ(objects_["bkfs.repo"], "x");
}

TEST_F(S3ScriptedClaims, WhoDiedBesideAClaimKeepsOthersAwayFor20Minutes) {
  BeginClaims();
  objects_[left_over_] = "";
  age_s_ = 19 * 60;
  EXPECT_EQ(PutSoon("x").code(), Code::kUnavailable);
  EXPECT_EQ(objects_.count("bkfs.repo"), 0U);
  EXPECT_EQ(objects_.size(), 1U);  // ours are taken back
  age_s_ = 20 * 60 + 5;
  EXPECT_TRUE(PutSoon("x").ok());
  EXPECT_EQ(objects_.size(), 1U);
}

TEST_F(S3ScriptedClaims, WhereRequestsNeverAgeADeadClaimIsForPeople) {
  refuses_old_ = false;
  BeginClaims();
  objects_[left_over_] = "";
  age_s_ = 3600;
  const Status status = PutSoon("x");
  EXPECT_EQ(status.code(), Code::kBusy);
  EXPECT_NE(status.message().find(left_over_), std::string::npos);
  EXPECT_EQ(objects_.count("bkfs.repo"), 0U);
}

TEST_F(S3ScriptedClaims, APutWithoutAnAnswerKeepsItsClaim) {
  BeginClaims();
  fail_put_ = 503;
  EXPECT_EQ(PutSoon("x").code(), Code::kUnavailable);
  ASSERT_EQ(objects_.size(), 1U);
  EXPECT_TRUE(objects_.begin()->first.starts_with("_claims/bkfs.repo/"));
  fail_put_ = 0;
  // Another content must wait, here too; the same one may be put again.
  EXPECT_EQ(PutSoon("y").code(), Code::kUnavailable);
  EXPECT_EQ(puts_, 0);
  EXPECT_TRUE(PutSoon("x").ok());
  EXPECT_EQ(objects_.size(), 1U);
  EXPECT_EQ(objects_["bkfs.repo"], "x");
}

TEST_F(S3ScriptedClaims, ARefusedPutGivesItsClaimBack) {
  BeginClaims();
  fail_put_ = 403;
  EXPECT_EQ(PutSoon("x").code(), Code::kDenied);
  EXPECT_TRUE(objects_.empty());
}

TEST_F(S3Answers, OptionsAreChecked) {
  Begin([](const ScriptedRequest&) { return ScriptedAnswer{}; });
  const auto open = [&](const std::function<void(S3Options&)>& change) {
    S3Options options = Options();
    change(options);
    return OpenS3Backend(std::move(options), log_, false).code();
  };
  EXPECT_EQ(open([](S3Options&) {}), Code::kOk);
  EXPECT_EQ(open([](S3Options& o) { o.access_key_id.clear(); }), Code::kInvalid);
  EXPECT_EQ(open([](S3Options& o) { o.secret_key = {}; }), Code::kInvalid);
  EXPECT_EQ(open([](S3Options& o) { o.lock_mode = "FOREVER"; }), Code::kInvalid);
  EXPECT_EQ(open([](S3Options& o) { o.lock_mode = "COMPLIANCE"; }), Code::kInvalid);
  EXPECT_EQ(open([](S3Options& o) { o.multipart_size = 1 << 20; }), Code::kInvalid);
}

TEST_F(S3Answers, TheSessionTokenIsSentAndSigned) {
  std::string token;
  std::string authorization;
  Begin([&](const ScriptedRequest& request) {
    const auto found = request.headers.find("x-amz-security-token");
    if (found != request.headers.end()) token = found->second;
    authorization = request.headers.at("authorization");
    return ScriptedAnswer{};
  });
  EXPECT_TRUE(token.empty());
  S3Options options = Options();
  options.session_token = Secret::CopyOf(AsBytes("a token"));
  EXPECT_TRUE(OpenS3Backend(std::move(options), log_, false).ok());
  EXPECT_EQ(token, "a token");
  EXPECT_NE(authorization.find("x-amz-security-token"), std::string::npos);
}

}  // namespace
}  // namespace bkfs

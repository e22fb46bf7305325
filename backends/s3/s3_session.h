// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/http/http_client.h"
#include "backends/s3/s3_url.h"
#include "backends/s3/s3_xml.h"
#include "backends/s3/sigv4.h"
#include "engine/base/clock.h"

namespace bkfs {

struct S3Credentials {
  SigV4Key key;
  Secret session_token;  // empty: none
};

// One signed request. Views in it hold until the call returns.
struct S3Call {
  std::string method;
  std::string name;  // below the prefix; empty: the bucket
  std::vector<QueryWord> query;
  std::vector<HttpHeader> headers;  // names in lower case; all are signed
  std::span<const ByteView> body;
  HttpSink sink;
  uint64_t max_body = uint64_t{1} << 20;
  std::optional<int64_t> sign_at_ns;  // the time to sign with; this machine's clock without
};

// Signed requests to one bucket, and what their answers mean. Thread-safe.
class S3Session {
 public:
  S3Session(S3Location location, S3Credentials credentials, std::unique_ptr<HttpClient> http,
            const Clock& clock);

  // Any status is an answer, but 307, which is followed once with a request signed anew.
  Result<HttpResponse> Do(const S3Call& call);
  // The same, but a status of 300 and above is the error that Failure makes of it.
  Result<HttpResponse> DoWell(const S3Call& call);
  // What an answer of 300 and above means, with the operation and the object named.
  Status Failure(const S3Call& call, const HttpResponse& response) const;

  // The same for an error found elsewhere than in the body of a refusal: S3 reports some inside a
  // 200. One that says nothing more may work when tried again.
  Status Refusal(const S3Call& call, int status, const S3Error& error) const;

  // The store's time, from the Date of its latest answer and this machine's monotonic clock: never
  // ahead of the store's own by more than what the clocks drift. Without an answer yet, this
  // machine's time.
  int64_t ServerNow() const;

  const S3Location& location() const { return location_; }
  // "https://host/bucket/prefix/name"
  std::string Describe(const std::string& name) const;

 private:
  Result<HttpResponse> SendTo(const S3Call& call, const std::string& scheme,
                              const std::string& authority, const std::string& path);
  void NoteDate(const HttpResponse& response);
  Status WrongRegion(const S3Call& call, const HttpResponse& response, const S3Error& error) const;
  Status WrongCredentials(const S3Error& error) const;
  Status SkewedClock(const HttpResponse& response) const;

  const S3Location location_;
  const S3Credentials credentials_;
  const std::unique_ptr<HttpClient> http_;
  const Clock& clock_;
  std::atomic<bool> date_known_{false};
  std::atomic<int64_t> date_offset_ns_{0};  // the store's time less our monotonic clock
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "backends/s3/s3_session.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "backends/s3/s3_xml.h"
#include "engine/crypto/hash.h"

namespace bkfs {

namespace {
constexpr int kMovedForNow = 307;
constexpr int kMoved = 301;

struct Meaning {
  std::string_view word;
  Code code;
};

// S3's error codes, those that say more than their status does.
constexpr std::array kMeanings = {
    Meaning{"NoSuchKey", Code::kNotFound},
    Meaning{"NoSuchVersion", Code::kNotFound},
    Meaning{"PreconditionFailed", Code::kExists},
    Meaning{"InvalidRange", Code::kCorrupt},
    Meaning{"NotImplemented", Code::kUnsupported},
    Meaning{"QuotaExceeded", Code::kQuota},
    Meaning{"EntityTooLarge", Code::kQuota},
    Meaning{"InsufficientStorage", Code::kNoSpace},
    Meaning{"XMinioStorageFull", Code::kNoSpace},
    Meaning{"AccessDenied", Code::kDenied},
    Meaning{"SlowDown", Code::kUnavailable},
    Meaning{"RequestTimeout", Code::kUnavailable},
    Meaning{"InternalError", Code::kUnavailable},
    Meaning{"OperationAborted", Code::kUnavailable},
    Meaning{"ServiceUnavailable", Code::kUnavailable},
    Meaning{"ConditionalRequestConflict", Code::kUnavailable},
    // What arrived is not what was sent.
    Meaning{"BadDigest", Code::kUnavailable},
    Meaning{"XAmzContentSHA256Mismatch", Code::kUnavailable},
    Meaning{"IncompleteBody", Code::kUnavailable},
};

Code CodeOf(int status, const std::string& word) {
  for (const Meaning& meaning : kMeanings) {
    if (meaning.word == word) return meaning.code;
  }
  switch (status) {
    case 401:
    case 403: return Code::kDenied;
    case 404: return Code::kNotFound;
    case 408:
    case 409:
    case 425:
    case 429: return Code::kUnavailable;
    case 412: return Code::kExists;
    case 413: return Code::kQuota;
    case 416: return Code::kCorrupt;
    case 501: return Code::kUnsupported;
    case 507: return Code::kNoSpace;
    default: return status >= 500 ? Code::kUnavailable : Code::kIo;
  }
}

// "https://host/path?query" of a redirect.
struct Target {
  std::string scheme;
  std::string authority;
  std::string path;
};

std::optional<Target> ParseTarget(const std::string& url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string::npos) return std::nullopt;
  const size_t path = url.find('/', scheme + 3);
  if (path == std::string::npos) return std::nullopt;
  return Target{url.substr(0, scheme), url.substr(scheme + 3, path - scheme - 3),
                url.substr(path, url.find('?', path) - path)};
}
}  // namespace

S3Session::S3Session(S3Location location, S3Credentials credentials,
                     std::unique_ptr<HttpClient> http, const Clock& clock)
    : location_(std::move(location)),
      credentials_(std::move(credentials)),
      http_(std::move(http)),
      clock_(clock) {}

std::string S3Session::Describe(const std::string& name) const {
  return location_.Describe() + (name.empty() ? "" : "/" + name);
}

int64_t S3Session::ServerNow() const {
  if (!date_known_.load()) return clock_.WallNanos();
  return SystemClock().MonotonicNanos() + date_offset_ns_.load();
}

void S3Session::NoteDate(const HttpResponse& response) {
  const std::string* date = response.Find("date");
  if (date == nullptr) return;
  const std::optional<int64_t> now = ParseHttpDate(*date);
  if (!now) return;
  date_offset_ns_.store(*now - SystemClock().MonotonicNanos());
  date_known_.store(true);
}

Result<HttpResponse> S3Session::SendTo(const S3Call& call, const std::string& scheme,
                                       const std::string& authority, const std::string& path) {
  SigV4Request signing{.method = call.method,
                       .path = path,
                       .query = CanonicalQuery(call.query),
                       .payload_hash = ToHex(Sha256(call.body))};
  HttpRequest request{.method = call.method,
                      .url = scheme + "://" + authority + path,
                      .headers = call.headers,
                      .body = call.body,
                      .sink = call.sink,
                      .max_body = call.max_body};
  if (!signing.query.empty()) request.url += "?" + signing.query;
  request.headers.push_back({"x-amz-date", AmzDate(call.sign_at_ns.value_or(clock_.WallNanos()))});
  request.headers.push_back({"x-amz-content-sha256", signing.payload_hash});
  if (!credentials_.session_token.empty()) {
    request.headers.push_back(
        {"x-amz-security-token", std::string(AsText(credentials_.session_token.view()))});
  }
  for (const HttpHeader& header : request.headers) {
    signing.headers.push_back({header.name, header.value});
  }
  signing.headers.push_back({"host", authority});
  request.headers.push_back({"authorization", SignV4(credentials_.key, signing)});
  Result<HttpResponse> response = http_->Do(request);
  if (!response.ok()) return response.status().WithContext(Describe(call.name));
  NoteDate(*response);
  return response;
}

Result<HttpResponse> S3Session::Do(const S3Call& call) {
  const std::string scheme = location_.tls ? "https" : "http";
  BKFS_ASSIGN(HttpResponse response,
              SendTo(call, scheme, location_.Authority(), location_.PathOf(call.name)));
  if (response.status != kMovedForNow) return response;
  const std::string* where = response.Find("location");
  const std::optional<Target> target = where == nullptr ? std::nullopt : ParseTarget(*where);
  // Never from TLS to none.
  if (!target || target->scheme != scheme) return response;
  return SendTo(call, scheme, target->authority, target->path);
}

Result<HttpResponse> S3Session::DoWell(const S3Call& call) {
  BKFS_ASSIGN(HttpResponse response, Do(call));
  if (response.status >= 300) return Failure(call, response);
  return response;
}

Status S3Session::WrongRegion(const S3Call& call, const HttpResponse& response,
                              const S3Error& error) const {
  const std::string* header = response.Find("x-amz-bucket-region");
  const std::string& right = header != nullptr ? *header : error.region;
  std::string message = Describe(call.name) + ": bucket " + location_.bucket +
                        " is not to be had in region " + location_.region + " at " + location_.host;
  if (!right.empty()) message += "; it is in region " + right + ": set Region=" + right;
  if (!error.endpoint.empty()) message += "; its endpoint is " + error.endpoint;
  return {Code::kInvalid, message};
}

Status S3Session::SkewedClock(const HttpResponse& response) const {
  const int64_t ours = clock_.WallNanos() / 1'000'000'000 * 1'000'000'000;
  std::string message = "the store refuses requests because the clocks differ: this machine says " +
                        FormatRfc3339(ours);
  const std::string* date = response.Find("date");
  const std::optional<int64_t> theirs = date == nullptr ? std::nullopt : ParseHttpDate(*date);
  if (theirs) {
    message += ", the store " + FormatRfc3339(*theirs) + ", " +
               std::to_string(std::abs(ours - *theirs) / 1'000'000'000) + " s apart";
  }
  return {Code::kDenied, message + "; set this machine's clock"};
}

Status S3Session::Failure(const S3Call& call, const HttpResponse& response) const {
  const S3Error error = DecodeS3Error(response.body);
  if (error.code == "RequestTimeTooSkewed") return SkewedClock(response);
  if (error.code == "AuthorizationHeaderMalformed" || error.code == "PermanentRedirect" ||
      error.code == "IllegalLocationConstraintException" || response.status == kMoved) {
    return WrongRegion(call, response, error);
  }
  return Refusal(call, response.status, error);
}

// What is wrong with who asks; OK when it is something else.
Status S3Session::WrongCredentials(const S3Error& error) const {
  const std::string& id = credentials_.key.access_key_id;
  if (error.code == "SignatureDoesNotMatch") {
    return {Code::kDenied, location_.host + ": the secret key is not the one of access key id " +
                               id + " (or the store does not know that id)"};
  }
  if (error.code == "InvalidAccessKeyId") {
    return {Code::kDenied, location_.host + " does not know the access key id " + id};
  }
  if (error.code == "ExpiredToken" || error.code == "TokenRefreshRequired") {
    return {Code::kDenied, location_.host + ": the session token has expired: get a new one"};
  }
  if (error.code == "InvalidToken") {
    return {Code::kDenied, location_.host + ": the session token is not valid"};
  }
  return {};
}

Status S3Session::Refusal(const S3Call& call, int status, const S3Error& error) const {
  BKFS_TRY(WrongCredentials(error));
  if (error.code == "NoSuchBucket" || (call.name.empty() && status == 404)) {
    return {Code::kNoRepository,
            "there is no bucket " + location_.bucket + " at " + location_.host + ": make it first"};
  }
  Code code = CodeOf(status, error.code);
  if (status < 300 && code == Code::kIo) code = Code::kUnavailable;
  std::string message = Describe(call.name) + ": ";
  if (code == Code::kNotFound) return {code, message + "is not there"};
  message += call.method;
  message += code == Code::kDenied
                 ? " is not allowed to access key id " + credentials_.key.access_key_id
                 : " failed";
  message += " (" + std::to_string(status);
  if (!error.code.empty()) message += " " + error.code;
  if (!error.message.empty()) message += ": " + error.message;
  return {code, message + ")"};
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/bytes.h"
#include "engine/base/status.h"

namespace bkfs {

struct HttpHeader {
  std::string name;
  std::string value;
};

struct HttpResponse {
  int status = 0;
  std::vector<HttpHeader> headers;  // names in lower case, values without blanks around them
  // Of an answer of 300 and above at most the first 64 KiB; of others what a sink did not take.
  Bytes body;
  // The connection broke and the request was sent once more: the server may have executed it twice.
  bool resent = false;

  // The first header of that name (lower case); nullptr without.
  const std::string* Find(std::string_view name) const;
};

// Takes a piece of the body; `so_far` has the status and the headers. A failure ends the request
// and is what it returns.
using HttpSink = std::function<Status(const HttpResponse& so_far, ByteView piece)>;

struct HttpRequest {
  std::string method;
  std::string url;  // sent as it is: encoded by who made it
  std::vector<HttpHeader> headers;
  // Of PUT and POST, sent from where it lies; valid until the call returns.
  std::span<const ByteView> body;
  // Gets the body of an answer below 300. Empty: it is kept in HttpResponse::body.
  HttpSink sink;
  uint64_t max_body = uint64_t{1} << 20;  // more in an answer below 300 is kIo
};

struct HttpOptions {
  std::string ca_file;     // certificates of the authorities to trust; empty: the system's
  size_t connections = 8;  // at the same time; who wants one more waits
};

// Requests over HTTP/1.1, with TLS always verified, on connections that are kept for the next
// request. Thread-safe; a request is done on the calling thread, whose watches are told what it
// moves and how it waits (engine/base/transfer.h): a watch's refusal ends it at once.
//
// Any status is an answer, not an error; redirects are the caller's. No time limit but for
// connecting (30 s): watches have theirs. Large bodies ask first (Expect: 100-continue) where the
// server has not shown that it does not answer that. The environment's proxies are used, but for
// hosts on loopback.
//
// Errors: kUnavailable when the transport fails, an answer that ends too early included; kDenied
// when the certificate does not verify; kInvalid for an unusable URL or CA file; kIo for an answer
// that breaks a limit.
class HttpClient {
 public:
  static Result<std::unique_ptr<HttpClient>> Open(HttpOptions options);
  virtual ~HttpClient() = default;
  virtual Result<HttpResponse> Do(const HttpRequest& request) = 0;
};

// An HTTP date ("Sat, 21 Nov 2026 14:29:06 GMT") in ns since 1970.
std::optional<int64_t> ParseHttpDate(const std::string& text);

// 127.0.0.0/8, ::1 and "localhost"; `host` without brackets.
bool IsLoopback(std::string_view host);

}  // namespace bkfs

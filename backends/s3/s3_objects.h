// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "backends/s3/s3_session.h"
#include "backends/s3/s3_xml.h"

namespace bkfs {

// What bkfs keeps below its prefix and is no object of the repository: no object's name has '_'.
inline constexpr std::string_view kProbePrefix = "_probe-";
inline constexpr std::string_view kClaimsPrefix = "_claims/";

struct S3Head {
  uint64_t size = 0;
  int64_t modified_ns = 0;
  std::string version;          // empty: the bucket keeps no versions
  int64_t locked_until_ns = 0;  // as far as the store tells it with a HEAD
};

struct S3PutRequest {
  std::string name;
  std::span<const ByteView> parts;
  std::vector<HttpHeader> headers;
  std::optional<int64_t> sign_at_ns;
};

// The operations on keys below the prefix, one or few requests each, without the promises of
// Backend: names are not checked, a put replaces. Thread-safe.
class S3Objects {
 public:
  explicit S3Objects(S3Session& session) : session_(session) {}

  // kNotFound if it is not there.
  Result<S3Head> Head(const std::string& name);
  Result<Bytes> Get(const std::string& name);
  Status ReadAt(const std::string& name, uint64_t offset, MutableByteView out);
  // The answer, whatever its status.
  Result<HttpResponse> Put(const S3PutRequest& put);
  // The error of an answer to Put of 300 and above.
  Status PutFailure(const S3PutRequest& put, const HttpResponse& response) const;
  // All below `prefix`, page by page; keys come without the location's prefix. While `visit` runs
  // no request does.
  Status List(const std::string& prefix,
              const std::function<Status(const S3ListedObject& object)>& visit);
  // kNotFound if it is not there. Where the bucket keeps versions they are removed, all that come
  // up under that name one after the other: nothing is hidden below a delete marker.
  Status Remove(const std::string& name);
  // The same for up to 1000 in one request, where the bucket keeps no versions. Those not there
  // count as removed. The first failure after trying them all.
  Status RemoveMany(std::span<const std::string> names);

  // Until when an object is locked (Object Lock), in ns since 1970; 0: it is not. Nothing: the host
  // or the bucket does not know of locks. Ask before asking it to lock: Swift takes that request
  // for a put of the object itself, and replaces it.
  Result<std::optional<int64_t>> ReadRetention(const std::string& name, const std::string& version);

  S3Session& session() { return session_; }

 private:
  Result<HttpResponse> GetRange(const std::string& name, uint64_t offset, MutableByteView out,
                                uint64_t& taken);
  Status ExplainHead(const std::string& name, const HttpResponse& response);
  Status RemoveVersion(const std::string& name, const std::string& version);
  Status RemoveEach(std::span<const std::string> names);
  enum class Keeping { kNothing, kObjects, kVersions };
  Result<Keeping> WhatIsKept(std::span<const std::string> names);

  S3Session& session_;
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "backends/s3/s3_objects.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "engine/base/clock.h"
#include "engine/crypto/hash.h"

namespace bkfs {

namespace {
// Far above what the format allows; so a store cannot take all memory.
constexpr uint64_t kMaxObject = uint64_t{1} << 30;
constexpr uint64_t kMaxPage = uint64_t{16} << 20;
constexpr uint64_t kMaxDeleteResult = uint64_t{4} << 20;
constexpr uint64_t kMaxRetention = 64 << 10;
constexpr int kMaxVersions = 100;

std::optional<uint64_t> TakeNumber(std::string_view& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

struct ContentRange {
  uint64_t first = 0;
  uint64_t last = 0;
};

// "bytes 5-9/100"
std::optional<ContentRange> ParseContentRange(const std::string* header) {
  if (header == nullptr) return std::nullopt;
  std::string_view text(*header);
  if (!text.starts_with("bytes ")) return std::nullopt;
  text.remove_prefix(6);
  const auto first = TakeNumber(text);
  if (!first || !text.starts_with('-')) return std::nullopt;
  text.remove_prefix(1);
  const auto last = TakeNumber(text);
  if (!last || !text.starts_with('/') || *last < *first) return std::nullopt;
  return ContentRange{*first, *last};
}

// An answer that says neither how long it is nor where it ends may have been cut anywhere.
Status CheckDelimited(const HttpResponse& response, const std::string& what) {
  if (response.Find("content-length") != nullptr) return {};
  if (response.Find("transfer-encoding") != nullptr) return {};
  return {Code::kIo, what + ": the store does not say how long its answer is"};
}

Status OddStatus(const std::string& what, const HttpResponse& response) {
  return {Code::kIo,
          what + ": the store answers a read with status " + std::to_string(response.status)};
}
}  // namespace

// The answer to a HEAD has no body, so that a refusal does not say why: a GET of nothing does.
Status S3Objects::ExplainHead(const std::string& name, const HttpResponse& response) {
  S3Call call{.method = "HEAD", .name = name};
  if (response.status != 400 && response.status != 403) return session_.Failure(call, response);
  call.method = "GET";
  call.headers = {{"range", "bytes=0-0"}};
  call.sink = [](const HttpResponse&, ByteView) -> Status { return {}; };
  BKFS_ASSIGN(const HttpResponse why, session_.Do(call));
  return session_.Failure(call, why.status >= 300 ? why : response);
}

Result<S3Head> S3Objects::Head(const std::string& name) {
  const S3Call call{.method = "HEAD", .name = name};
  BKFS_ASSIGN(const HttpResponse response, session_.Do(call));
  if (response.status != 200) return ExplainHead(name, response);
  S3Head head;
  const std::string* length = response.Find("content-length");
  std::string_view digits = length == nullptr ? std::string_view() : *length;
  const auto size = TakeNumber(digits);
  if (!size || !digits.empty()) {
    return Status(Code::kIo, session_.Describe(name) + ": the store does not say how large it is");
  }
  head.size = *size;
  if (const std::string* date = response.Find("last-modified")) {
    head.modified_ns = ParseHttpDate(*date).value_or(0);
  }
  if (const std::string* version = response.Find("x-amz-version-id")) head.version = *version;
  if (const std::string* until = response.Find("x-amz-object-lock-retain-until-date")) {
    const auto time = ParseRfc3339(*until);
    if (time.ok()) head.locked_until_ns = *time;
  }
  return head;
}

Result<Bytes> S3Objects::Get(const std::string& name) {
  const S3Call call{.method = "GET", .name = name, .max_body = kMaxObject};
  BKFS_ASSIGN(HttpResponse response, session_.DoWell(call));
  BKFS_TRY(CheckDelimited(response, session_.Describe(name)));
  if (response.status != 200) return OddStatus(session_.Describe(name), response);
  return std::move(response.body);
}

// `taken`: how many bytes of `out` were filled. What the answer holds is decided by its own
// status and Content-Range: some stores answer a range with the whole object.
Result<HttpResponse> S3Objects::GetRange(const std::string& name, uint64_t offset,
                                         MutableByteView out, uint64_t& taken) {
  uint64_t position = 0;
  bool begun = false;
  S3Call call{.method = "GET", .name = name};
  call.max_body = kMaxObject;
  call.headers.push_back(
      {"range", "bytes=" + std::to_string(offset) + "-" + std::to_string(offset + out.size() - 1)});
  call.sink = [&](const HttpResponse& answer, ByteView piece) -> Status {
    if (!begun) {
      begun = true;
      const auto range = ParseContentRange(answer.Find("content-range"));
      if (answer.status == 206 &&
          (!range || range->first != offset || range->last - offset >= out.size())) {
        return {Code::kIo, session_.Describe(name) + ": the store answers with another range"};
      }
      position = answer.status == 206 ? offset : 0;
    }
    const uint64_t begin = std::max(position, offset);
    const uint64_t end = std::min(position + piece.size(), offset + out.size());
    if (begin < end) {
      std::copy_n(piece.data() + (begin - position), end - begin, out.data() + (begin - offset));
      taken += end - begin;
    }
    position += piece.size();
    return {};
  };
  return session_.DoWell(call);
}

Status S3Objects::ReadAt(const std::string& name, uint64_t offset, MutableByteView out) {
  Status too_short(Code::kCorrupt, session_.Describe(name) + " ends too early: it has been cut");
  if (out.empty() || offset > ~uint64_t{0} - out.size()) {
    BKFS_ASSIGN(const S3Head head, Head(name));
    return offset > head.size || !out.empty() ? too_short : Status();
  }
  uint64_t taken = 0;
  Result<HttpResponse> response = GetRange(name, offset, out, taken);
  if (response.code() == Code::kCorrupt) return too_short;
  if (!response.ok()) return response.status();
  BKFS_TRY(CheckDelimited(*response, session_.Describe(name)));
  if (response->status != 200 && response->status != 206) {
    return OddStatus(session_.Describe(name), *response);
  }
  return taken == out.size() ? Status() : too_short;
}

Result<HttpResponse> S3Objects::Put(const S3PutRequest& put) {
  return session_.Do({.method = "PUT",
                      .name = put.name,
                      .headers = put.headers,
                      .body = put.parts,
                      .sign_at_ns = put.sign_at_ns});
}

Status S3Objects::PutFailure(const S3PutRequest& put, const HttpResponse& response) const {
  const S3Call call{.method = "PUT", .name = put.name};
  if (response.status == 412) {
    return {Code::kExists, session_.Describe(put.name) + " is there already"};
  }
  return session_.Failure(call, response);
}

Status S3Objects::List(const std::string& prefix,
                       const std::function<Status(const S3ListedObject& object)>& visit) {
  const std::string below = session_.location().KeyOf("");
  std::string next;
  do {
    S3ListPage page;
    S3Call call{.method = "GET", .name = {}};
    call.max_body = kMaxPage;
    call.query = {{"list-type", "2"}, {"encoding-type", "url"}, {"prefix", below + prefix}};
    if (!next.empty()) call.query.push_back({"continuation-token", next});
    call.sink = [&page](const HttpResponse&, ByteView piece) { return page.Feed(piece); };
    const std::string what = session_.Describe(prefix) + ": listing";
    Result<HttpResponse> response = session_.DoWell(call);
    if (!response.ok()) return response.status().WithContext(what);
    BKFS_TRY(page.Finish().WithContext(what));
    if (!next.empty() && page.next() == next) {
      return {Code::kIo, what + ": the store's list does not go on"};
    }
    next = page.next();
    for (S3ListedObject object : page.objects()) {
      if (!object.key.starts_with(below + prefix)) continue;
      object.key.erase(0, below.size());
      BKFS_TRY(visit(object));
    }
  } while (!next.empty());
  return {};
}

Status S3Objects::RemoveVersion(const std::string& name, const std::string& version) {
  S3Call call{.method = "DELETE", .name = name};
  if (!version.empty()) call.query.push_back({"versionId", version});
  Result<HttpResponse> response = session_.DoWell(call);
  if (response.code() != Code::kDenied || version.empty()) return response.status();
  // Perhaps it is a lock that forbids it.
  const Result<std::optional<int64_t>> read = ReadRetention(name, version);
  const int64_t until = read.ok() ? read->value_or(0) : 0;
  if (until <= session_.ServerNow()) return response.status();
  return {Code::kDenied, session_.Describe(name) + " is locked until " + FormatRfc3339(until)};
}

Status S3Objects::Remove(const std::string& name) {
  // DELETE itself does not tell whether there was something.
  BKFS_ASSIGN(S3Head head, Head(name));
  for (int i = 0; i < kMaxVersions; ++i) {
    BKFS_TRY(RemoveVersion(name, head.version));
    if (head.version.empty()) return {};
    Result<S3Head> below = Head(name);
    if (below.code() == Code::kNotFound) return {};
    if (!below.ok()) return below.status();
    head = std::move(*below);
  }
  return {Code::kIo, session_.Describe(name) + " has more versions than could be removed"};
}

// By the first of the names that is there.
Result<S3Objects::Keeping> S3Objects::WhatIsKept(std::span<const std::string> names) {
  for (const std::string& name : names) {
    Result<S3Head> head = Head(name);
    if (head.ok()) return head->version.empty() ? Keeping::kObjects : Keeping::kVersions;
    if (head.code() != Code::kNotFound) return head.status();
  }
  return Keeping::kNothing;
}

Status S3Objects::RemoveEach(std::span<const std::string> names) {
  Status first;
  for (const std::string& name : names) {
    Status removed = Remove(name);
    if (first.ok() && !removed.Is(Code::kNotFound)) first = removed;
  }
  return first;
}

Status S3Objects::RemoveMany(std::span<const std::string> names) {
  BKFS_ASSIGN(const Keeping kept, WhatIsKept(names));
  // Removing what is not there would leave a marker where versions are kept.
  if (kept == Keeping::kNothing) return {};
  if (kept == Keeping::kVersions) return RemoveEach(names);
  std::string body = "<Delete>";
  for (const std::string& name : names) {
    body += "<Object><Key>" + XmlEscape(session_.location().KeyOf(name)) + "</Key></Object>";
  }
  body += "</Delete>";
  const ByteView part = AsBytes(body);
  const S3Call call{.method = "POST",
                    .name = {},
                    .query = {{"delete", ""}},
                    .headers = {{"content-md5", EncodeBase64(Md5(part))}},
                    .body = std::span(&part, 1),
                    .max_body = kMaxDeleteResult};
  BKFS_ASSIGN(const HttpResponse response, session_.Do(call));
  // Ceph 16 asks for the right to remove from the whole bucket, where one to some of it would do.
  if (response.status == 403) return RemoveEach(names);
  if (response.status >= 300) return session_.Failure(call, response);
  Result<S3DeleteResult> result = DecodeDeleteResult(response.body);
  if (!result.ok()) return result.status().WithContext(session_.Describe("") + ": removing");
  if (result->hidden) {
    return {Code::kIo, session_.Describe("") +
                           ": the bucket keeps versions, and objects were hidden, not removed"};
  }
  if (result->failed_key.empty()) return {};
  S3Call of{.method = "DELETE", .name = result->failed_key};
  const std::string below = session_.location().KeyOf("");
  if (of.name.starts_with(below)) of.name.erase(0, below.size());
  return session_.Refusal(of, response.status, result->error);
}

Result<std::optional<int64_t>> S3Objects::ReadRetention(const std::string& name,
                                                        const std::string& version) {
  S3Call call{.method = "GET", .name = name, .query = {{"retention", ""}}};
  if (!version.empty()) call.query.push_back({"versionId", version});
  Bytes body;
  // A host that does not know the question answers with the object itself.
  call.sink = [&body](const HttpResponse&, ByteView piece) -> Status {
    if (body.size() + piece.size() > kMaxRetention) return {Code::kNoData, "no retention"};
    Append(body, piece);
    return {};
  };
  Result<HttpResponse> response = session_.Do(call);
  const std::optional<int64_t> unknown;
  if (response.code() == Code::kNoData) return unknown;
  if (!response.ok()) return response.status();
  if (response->status >= 300) {
    const std::string why = DecodeS3Error(response->body).code;
    // Ceph says the last of an object without a lock in a bucket that can lock.
    if (why == "NoSuchObjectLockConfiguration" || why == "ObjectLockConfigurationNotFoundError") {
      return std::optional<int64_t>(0);
    }
    if (why == "InvalidRequest" || why == "NotImplemented") return unknown;
    return session_.Failure(call, *response);
  }
  const Result<std::string> until = DecodeElement(body, "Retention/RetainUntilDate");
  if (!until.ok()) return unknown;
  BKFS_ASSIGN(const int64_t time, ParseRfc3339(*until));
  return std::optional<int64_t>(time);
}

}  // namespace bkfs

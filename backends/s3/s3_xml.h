// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/bytes.h"
#include "engine/base/status.h"

namespace bkfs {

// Reads XML of a store, piece by piece, and forgets it as it goes: depth, names and texts are
// bounded, a document type (and with it any entity of the sender's) is refused. Not thread-safe.
class XmlScan {
 public:
  // At the end of each element: its path, "ListBucketResult/Contents/Key", without namespaces, and
  // the text directly in it. A failure ends the reading.
  using Element = std::function<Status(std::string_view path, const std::string& text)>;

  explicit XmlScan(Element element);
  ~XmlScan();
  XmlScan(const XmlScan&) = delete;
  XmlScan& operator=(const XmlScan&) = delete;

  // kIo for what is not XML or breaks a bound.
  Status Feed(ByteView piece);
  Status Finish();  // after the last piece; kIo if the document is not complete

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct S3ListedObject {
  std::string key;
  uint64_t size = 0;
  int64_t modified_ns = 0;  // 0: not told
};

// A page of ListObjectsV2. Feed it the body, then Finish.
class S3ListPage {
 public:
  S3ListPage();
  Status Feed(ByteView piece) { return scan_.Feed(piece); }
  // kIo for anything but a list, and for one that says there is more without saying where.
  Status Finish();
  const std::vector<S3ListedObject>& objects() const { return objects_; }
  // Where the next page begins; empty: this is the last.
  const std::string& next() const { return next_; }

 private:
  Status Take(std::string_view path, const std::string& text);
  Status TakeObject();

  XmlScan scan_;
  std::vector<S3ListedObject> objects_;
  S3ListedObject object_;
  bool size_seen_ = false;
  bool is_list_ = false;
  bool truncated_ = false;
  bool encoded_ = false;
  std::string next_;
};

// What a store answers in place of success. All empty when the body is no such thing.
struct S3Error {
  std::string code;
  std::string message;
  std::string region;
  std::string endpoint;
};
S3Error DecodeS3Error(ByteView body);

// The first failure that the answer to a multi-delete holds; OK for an answer without.
struct S3DeleteResult {
  std::string failed_key;  // empty: none failed
  S3Error error;
  bool hidden = false;  // a delete marker was put in place of a removal: the bucket keeps versions
};
Result<S3DeleteResult> DecodeDeleteResult(ByteView body);

// The text of one element, by its path; kIo when the body is no XML or does not have it.
Result<std::string> DecodeElement(ByteView body, std::string_view path);

// '&' and '<' as XML wants them.
std::string XmlEscape(std::string_view text);

}  // namespace bkfs

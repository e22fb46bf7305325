// SPDX-License-Identifier: Apache-2.0
#include "backends/s3/s3_multipart.h"

#include <algorithm>

namespace bkfs {

namespace {
class Upload {
 public:
  Upload(S3Objects& objects, const S3PutRequest& put, std::string id)
      : session_(objects.session()), put_(put), id_(std::move(id)) {}
  Upload(const Upload&) = delete;
  Upload& operator=(const Upload&) = delete;
  ~Upload() {
    // Its failure changes nothing: the parts cost space until the bucket's rule removes them.
    if (!done_) (void)session_.Do(Call("DELETE")).ok();
  }

  Status Part(size_t number, std::span<const ByteView> body);
  Status Complete(bool conditional);

 private:
  S3Call Call(const char* method) const {
    return {.method = method, .name = put_.name, .query = {{"uploadId", id_}}};
  }

  S3Session& session_;
  const S3PutRequest& put_;
  const std::string id_;
  std::string list_;  // of the parts, in XML
  bool done_ = false;
};

Status Upload::Part(size_t number, std::span<const ByteView> body) {
  S3Call call = Call("PUT");
  call.query.push_back({"partNumber", std::to_string(number)});
  call.body = body;
  BKFS_ASSIGN(const HttpResponse response, session_.DoWell(call));
  const std::string* tag = response.Find("etag");
  if (tag == nullptr) {
    return {Code::kIo, session_.Describe(put_.name) + ": the store gives no tag of a part"};
  }
  list_ += "<Part><PartNumber>" + std::to_string(number) + "</PartNumber><ETag>" + XmlEscape(*tag) +
           "</ETag></Part>";
  return {};
}

Status Upload::Complete(bool conditional) {
  const std::string text = "<CompleteMultipartUpload>" + list_ + "</CompleteMultipartUpload>";
  const ByteView body = AsBytes(text);
  S3Call call = Call("POST");
  call.body = std::span(&body, 1);
  if (conditional) call.headers.push_back({"if-none-match", "*"});
  BKFS_ASSIGN(HttpResponse response, session_.Do(call));
  if (response.status == 501 && conditional) {  // it can for a PUT, not here
    call.headers.clear();
    BKFS_ASSIGN(response, session_.Do(call));
  }
  if (response.status == 412) {
    return {Code::kExists, session_.Describe(put_.name) + " is there already"};
  }
  if (response.status >= 300) return session_.Failure(call, response);
  // The status goes out before the work is done: a failure is told in the body.
  const S3Error error = DecodeS3Error(response.body);
  if (!error.code.empty()) return session_.Refusal(call, response.status, error);
  if (!DecodeElement(response.body, "CompleteMultipartUploadResult").ok()) {
    return {Code::kUnavailable,
            session_.Describe(put_.name) + ": the store does not say that it was put"};
  }
  done_ = true;
  return {};
}

// The next `size` bytes of `parts`, from where `part` and `offset` are, which move on.
std::vector<ByteView> TakePieces(std::span<const ByteView> parts, uint64_t size, size_t& part,
                                 size_t& offset) {
  std::vector<ByteView> out;
  while (size > 0 && part < parts.size()) {
    const ByteView rest = parts[part].subspan(offset);
    const ByteView now = rest.first(std::min<uint64_t>(rest.size(), size));
    if (!now.empty()) out.push_back(now);
    size -= now.size();
    offset += now.size();
    if (now.size() == rest.size()) {
      ++part;
      offset = 0;
    }
  }
  return out;
}
}  // namespace

Status PutMultipart(S3Objects& objects, const S3PutRequest& put, uint64_t part_size,
                    bool conditional) {
  const S3Call begin{
      .method = "POST", .name = put.name, .query = {{"uploads", ""}}, .headers = put.headers};
  BKFS_ASSIGN(const HttpResponse begun, objects.session().DoWell(begin));
  Result<std::string> id = DecodeElement(begun.body, "InitiateMultipartUploadResult/UploadId");
  if (!id.ok()) return id.status().WithContext(objects.session().Describe(put.name));
  Upload upload(objects, put, *id);
  size_t part = 0;
  size_t offset = 0;
  for (size_t number = 1;; ++number) {
    const std::vector<ByteView> pieces = TakePieces(put.parts, part_size, part, offset);
    if (pieces.empty()) break;
    BKFS_TRY(upload.Part(number, pieces));
  }
  return upload.Complete(conditional);
}

}  // namespace bkfs

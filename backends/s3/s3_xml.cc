// SPDX-License-Identifier: Apache-2.0
#include "backends/s3/s3_xml.h"

#include <expat.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <type_traits>
#include <utility>

#include "engine/base/clock.h"
#include "engine/base/printable.h"

namespace bkfs {

namespace {
constexpr size_t kMaxDepth = 16;
constexpr size_t kMaxName = 256;
constexpr size_t kMaxText = 8 << 10;    // keys are 1024 bytes, three times that encoded
constexpr size_t kMaxObjects = 10'000;  // of a page, for which 1000 are asked
constexpr size_t kMaxShown = 300;       // of a server's words in our messages

std::optional<uint64_t> ParseNumber(const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return {};
  return value;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// encoding-type=url: percent-encoding, a blank as '+'. What is not encoded well stays as it is.
std::string UrlDecode(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '%' && i + 2 < text.size() && HexDigit(text[i + 1]) >= 0 &&
                        HexDigit(text[i + 2]) >= 0;
    if (escape) {
      out += static_cast<char>(HexDigit(text[i + 1]) * 16 + HexDigit(text[i + 2]));
      i += 2;
    } else {
      out += text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

// A server's words, fit for a line of ours.
std::string Words(const std::string& text) { return Printable(text.substr(0, kMaxShown)); }
}  // namespace

struct XmlScan::State {
  struct FreeParser {
    void operator()(XML_Parser handle) const { XML_ParserFree(handle); }
  };

  explicit State(Element on_element) : element(std::move(on_element)) {
    BKFS_CHECK(parser != nullptr);
    XML_SetUserData(parser.get(), this);
    XML_SetElementHandler(parser.get(), &OnStart, &OnEnd);
    XML_SetCharacterDataHandler(parser.get(), &OnText);
    XML_SetStartDoctypeDeclHandler(parser.get(), &OnDoctype);
  }

  void Fail(Status why) {
    if (!failure.ok()) return;
    failure = std::move(why);
    XML_StopParser(parser.get(), XML_FALSE);
  }

  static void OnStart(void* self, const XML_Char* name, const XML_Char** /*attributes*/) {
    auto& state = *static_cast<State*>(self);
    std::string_view local(name);
    if (const size_t colon = local.rfind(':'); colon != std::string_view::npos) {
      local.remove_prefix(colon + 1);
    }
    if (state.starts.size() >= kMaxDepth || local.size() > kMaxName) {
      return state.Fail({Code::kIo, "the store's XML is too deep"});
    }
    state.starts.push_back(state.path.size());
    if (!state.path.empty()) state.path += '/';
    state.path += local;
    state.text.clear();
  }

  static void OnEnd(void* self, const XML_Char* /*name*/) {
    auto& state = *static_cast<State*>(self);
    if (!state.failure.ok()) return;
    if (Status taken = state.element(state.path, state.text); !taken.ok()) return state.Fail(taken);
    state.path.resize(state.starts.back());
    state.starts.pop_back();
    state.text.clear();
  }

  static void OnText(void* self, const XML_Char* text, int length) {
    auto& state = *static_cast<State*>(self);
    if (state.text.size() + static_cast<size_t>(length) > kMaxText) {
      return state.Fail({Code::kIo, "the store's XML has an endless text"});
    }
    state.text.append(text, static_cast<size_t>(length));
  }

  static void OnDoctype(void* self, const XML_Char*, const XML_Char*, const XML_Char*, int) {
    static_cast<State*>(self)->Fail({Code::kIo, "the store's XML has a document type"});
  }

  Status Parse(ByteView piece, bool last) {
    if (!failure.ok()) return failure;
    const auto parsed = XML_Parse(parser.get(), reinterpret_cast<const char*>(piece.data()),
                                  static_cast<int>(piece.size()), last ? XML_TRUE : XML_FALSE);
    if (!failure.ok()) return failure;
    if (parsed == XML_STATUS_OK) return {};
    failure = Status(Code::kIo, std::string("the store's answer is not XML: ") +
                                    XML_ErrorString(XML_GetErrorCode(parser.get())));
    return failure;
  }

  const Element element;
  std::unique_ptr<std::remove_pointer_t<XML_Parser>, FreeParser> parser{XML_ParserCreate(nullptr)};
  Status failure;
  std::string path;
  std::vector<size_t> starts;  // lengths of the path before each open element
  std::string text;
};

XmlScan::XmlScan(Element element) : state_(std::make_unique<State>(std::move(element))) {}
XmlScan::~XmlScan() = default;

Status XmlScan::Feed(ByteView piece) {
  constexpr size_t kAtOnce = 1 << 20;  // expat counts with int
  while (!piece.empty()) {
    const ByteView now = piece.first(std::min(piece.size(), kAtOnce));
    BKFS_TRY(state_->Parse(now, false));
    piece = piece.subspan(now.size());
  }
  return {};
}

Status XmlScan::Finish() { return state_->Parse({}, true); }

S3ListPage::S3ListPage()
    : scan_([this](std::string_view path, const std::string& text) { return Take(path, text); }) {}

Status S3ListPage::TakeObject() {
  if (object_.key.empty() || !size_seen_ || objects_.size() >= kMaxObjects) {
    return {Code::kIo, "the store's list of objects makes no sense"};
  }
  objects_.push_back(std::exchange(object_, {}));
  size_seen_ = false;
  return {};
}

Status S3ListPage::Take(std::string_view path, const std::string& text) {
  constexpr std::string_view kRoot = "ListBucketResult";
  if (!path.starts_with(kRoot)) return {Code::kIo, "the store's answer is not a list of objects"};
  path.remove_prefix(kRoot.size());
  if (path.empty()) is_list_ = true;
  if (path == "/Contents") return TakeObject();
  if (path == "/Contents/Key") object_.key = text;
  if (path == "/Contents/Size") {
    const auto size = ParseNumber(text);
    if (!size) return {Code::kIo, "the store's list gives no size of an object"};
    object_.size = *size;
    size_seen_ = true;
  }
  if (path == "/Contents/LastModified") {
    const auto time = ParseRfc3339(text);
    object_.modified_ns = time.ok() ? *time : 0;
  }
  if (path == "/IsTruncated") truncated_ = text == "true";
  if (path == "/NextContinuationToken") next_ = text;
  if (path == "/EncodingType") encoded_ = text == "url";
  return {};
}

Status S3ListPage::Finish() {
  BKFS_TRY(scan_.Finish());
  if (!is_list_) return {Code::kIo, "the store's answer is not a list of objects"};
  if (!truncated_) next_.clear();
  if (truncated_ && next_.empty()) {
    return {Code::kIo, "the store's list goes on and does not say where"};
  }
  if (encoded_) {
    for (S3ListedObject& object : objects_) object.key = UrlDecode(object.key);
  }
  return {};
}

S3Error DecodeS3Error(ByteView body) {
  S3Error out;
  XmlScan scan([&out](std::string_view path, const std::string& text) -> Status {
    if (path == "Error/Code") out.code = Words(text);
    if (path == "Error/Message") out.message = Words(text);
    if (path == "Error/Region") out.region = Words(text);
    if (path == "Error/Endpoint") out.endpoint = Words(text);
    return {};
  });
  // The answer to a HEAD has none, a proxy's is HTML.
  if (!scan.Feed(body).ok() || !scan.Finish().ok()) return {};
  return out;
}

Result<S3DeleteResult> DecodeDeleteResult(ByteView body) {
  S3DeleteResult out;
  S3DeleteResult now;
  bool is_result = false;
  XmlScan scan([&](std::string_view path, const std::string& text) -> Status {
    if (path == "DeleteResult") is_result = true;
    if (path == "DeleteResult/Deleted/DeleteMarker" && text == "true") out.hidden = true;
    if (path == "DeleteResult/Error/Key") now.failed_key = Words(text);
    if (path == "DeleteResult/Error/Code") now.error.code = Words(text);
    if (path == "DeleteResult/Error/Message") now.error.message = Words(text);
    if (path == "DeleteResult/Error") {
      if (now.failed_key.empty()) now.failed_key = "an object that it does not name";
      // An object that was not there counts as removed.
      if (out.failed_key.empty() && now.error.code != "NoSuchKey") {
        out.failed_key = now.failed_key;
        out.error = now.error;
      }
      now = {};
    }
    return {};
  });
  BKFS_TRY(scan.Feed(body));
  BKFS_TRY(scan.Finish());
  if (!is_result) return Status(Code::kIo, "the store's answer does not say what it removed");
  return out;
}

Result<std::string> DecodeElement(ByteView body, std::string_view path) {
  std::optional<std::string> found;
  XmlScan scan([&](std::string_view at, const std::string& text) -> Status {
    if (at == path && !found) found = text;
    return {};
  });
  BKFS_TRY(scan.Feed(body));
  BKFS_TRY(scan.Finish());
  if (found) return std::move(*found);
  return Status(Code::kIo, "the store's answer has no " + std::string(path));
}

std::string XmlEscape(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "backends/http/http_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <utility>

#include "backends/http/connection_pool.h"
#include "engine/base/transfer.h"

namespace bkfs {

namespace {
constexpr size_t kPiece = 256 << 10;               // what watches are told of at a time
constexpr size_t kMaxHeaders = 64 << 10;           // of one answer
constexpr size_t kMaxErrorBody = 64 << 10;         // kept of an answer of 300 and above
constexpr uint64_t kMaxIgnored = 4 << 20;          // read of one, so that its connection can stay
constexpr uint64_t kReserve = uint64_t{64} << 20;  // believed of a Content-Length
constexpr uint64_t kAskFirst = 256 << 10;          // bodies from this size on
constexpr long kAnswerMs = 1000;                   // for "100 Continue"
constexpr long kConnectMs = 30'000;
constexpr int kLookMs = 100;

// Whether the server answers Expect: 100-continue.
enum class Continues { kUnknown, kYes, kNo };

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string_view Trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

// "https://host:port" of a URL, for messages; no query, which may hold what others must not see.
std::string PlaceOf(const std::string& url) {
  const size_t begin = url.find("://");
  return url.substr(0, url.find('/', begin == std::string::npos ? 0 : begin + 3));
}

std::string HostOf(const std::string& url) {
  const size_t begin = url.find("://");
  std::string place = PlaceOf(url).substr(begin == std::string::npos ? 0 : begin + 3);
  if (place.starts_with('[')) return place.substr(1, place.find(']') - 1);
  return place.substr(0, place.find(':'));
}

// One request while it runs: what curl's callbacks work on.
class Transfer {
 public:
  explicit Transfer(const HttpRequest& request) : request_(request) {
    for (ByteView part : request.body) size_ += part.size();
    upload_ = request.method == "PUT" || request.method == "POST";
  }

  Result<HttpResponse> Run(HttpConnection& connection, const HttpOptions& options,
                           std::atomic<Continues>& continues);

 private:
  struct FreeList {
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  };
  using HeaderList = std::unique_ptr<curl_slist, FreeList>;

  static size_t OnRead(char* out, size_t size, size_t count, void* self) {
    return static_cast<Transfer*>(self)->Read(
        {reinterpret_cast<uint8_t*>(out), std::min(size * count, kPiece)});
  }
  static int OnSeek(void* self, curl_off_t offset, int origin) {
    return static_cast<Transfer*>(self)->Rewind(offset, origin);
  }
  static size_t OnHeader(char* line, size_t size, size_t count, void* self) {
    return static_cast<Transfer*>(self)->Header({line, size * count}) ? size * count : 0;
  }
  static size_t OnBody(char* data, size_t size, size_t count, void* self) {
    const ByteView piece(reinterpret_cast<const uint8_t*>(data), size * count);
    return static_cast<Transfer*>(self)->Body(piece) ? piece.size() : 0;
  }

  size_t Read(MutableByteView out);
  int Rewind(curl_off_t offset, int origin);
  bool Header(std::string_view line);
  bool Body(ByteView piece);
  Status Take(ByteView piece);
  Status Told(Status status);
  HeaderList MakeHeaders(bool ask) const;
  Status SetUp(CURL* easy, const HttpOptions& options, curl_slist* headers);
  Status Drive(HttpConnection& connection, CURLcode& outcome);
  Status Explain(CURLcode outcome) const;

  const HttpRequest& request_;
  uint64_t size_ = 0;
  bool upload_ = false;
  size_t part_ = 0;  // where the next byte to send is
  size_t part_offset_ = 0;
  HttpResponse response_;
  size_t header_bytes_ = 0;
  uint64_t received_ = 0;
  bool continued_ = false;
  Status failure_;  // ours: a watch's, the sink's, a limit's
  std::chrono::steady_clock::time_point told_ = std::chrono::steady_clock::now();
  std::array<char, CURL_ERROR_SIZE> reason_{};
};

// Keeps the first failure; the watches have just been told something.
Status Transfer::Told(Status status) {
  told_ = std::chrono::steady_clock::now();
  if (failure_.ok()) failure_ = status;
  return status;
}

size_t Transfer::Read(MutableByteView out) {
  size_t filled = 0;
  while (filled < out.size() && part_ < request_.body.size()) {
    const ByteView rest = request_.body[part_].subspan(part_offset_);
    const size_t n = std::min(rest.size(), out.size() - filled);
    if (n > 0) std::memcpy(out.data() + filled, rest.data(), n);
    filled += n;
    part_offset_ += n;
    if (n == rest.size()) {
      ++part_;
      part_offset_ = 0;
    }
  }
  if (filled > 0 && !Told(TellSending(filled)).ok()) return CURL_READFUNC_ABORT;
  return filled;
}

// curl sends a request again when a kept connection turns out to be closed.
int Transfer::Rewind(curl_off_t offset, int origin) {
  if (offset != 0 || origin != SEEK_SET) return CURL_SEEKFUNC_FAIL;
  if (part_ != 0 || part_offset_ != 0) response_.resent = true;
  part_ = 0;
  part_offset_ = 0;
  return CURL_SEEKFUNC_OK;
}

bool Transfer::Header(std::string_view line) {
  header_bytes_ += line.size();
  if (header_bytes_ > kMaxHeaders) {
    (void)Told({Code::kIo, PlaceOf(request_.url) + " answers with endless headers"});
    return false;
  }
  if (line.starts_with("HTTP/")) {  // a new answer: the one before was a 100
    const size_t blank = line.find(' ');
    const std::string_view digits = line.substr(std::min(blank, line.size() - 1) + 1, 3);
    response_.status = 0;
    for (char c : digits) {
      if (c >= '0' && c <= '9') response_.status = response_.status * 10 + (c - '0');
    }
    if (response_.status == 100) continued_ = true;
    response_.headers.clear();
    return true;
  }
  const size_t colon = line.find(':');
  if (colon != std::string_view::npos) {
    response_.headers.push_back(
        {Lower(line.substr(0, colon)), std::string(Trim(line.substr(colon + 1)))});
  }
  return true;
}

bool Transfer::Body(ByteView piece) {
  while (!piece.empty()) {
    const ByteView now = piece.first(std::min(piece.size(), kPiece));
    piece = piece.subspan(now.size());
    if (!Told(TellReceived(now.size())).ok() || !Told(Take(now)).ok()) return false;
  }
  return true;
}

Status Transfer::Take(ByteView piece) {
  received_ += piece.size();
  const bool error = response_.status >= 300;
  if (received_ > (error ? kMaxIgnored : request_.max_body)) {
    return {Code::kIo, PlaceOf(request_.url) + " answers with more than the " +
                           std::to_string(error ? kMaxIgnored : request_.max_body) +
                           " bytes that this answer may have"};
  }
  if (error) {
    Append(response_.body,
           piece.first(std::min(piece.size(), kMaxErrorBody - response_.body.size())));
    return {};
  }
  if (request_.sink) return request_.sink(response_, piece);
  if (response_.body.empty()) {
    const std::string* length = response_.Find("content-length");
    const uint64_t said = length == nullptr ? 0 : std::strtoull(length->c_str(), nullptr, 10);
    response_.body.reserve(std::min({said, request_.max_body, kReserve}));
  }
  Append(response_.body, piece);
  return {};
}

Transfer::HeaderList Transfer::MakeHeaders(bool ask) const {
  HeaderList list;
  const auto add = [&list](const std::string& line) {
    curl_slist* longer = curl_slist_append(list.get(), line.c_str());
    BKFS_CHECK(longer != nullptr);
    (void)list.release();
    list.reset(longer);
  };
  for (const HttpHeader& header : request_.headers) {
    // curl's way to say a header without a value.
    add(header.value.empty() ? header.name + ";" : header.name + ": " + header.value);
  }
  add(ask ? "Expect: 100-continue" : "Expect:");
  return list;
}

template <typename Value>
void Set(CURL* easy, CURLoption option, Value value) {
  BKFS_CHECK(curl_easy_setopt(easy, option, value) == CURLE_OK);
}

Status Transfer::SetUp(CURL* easy, const HttpOptions& options, curl_slist* headers) {
  curl_easy_reset(easy);  // the connections stay, they are the multi handle's
  const bool known = request_.url.starts_with("https://") || request_.url.starts_with("http://");
  if (!known || curl_easy_setopt(easy, CURLOPT_URL, request_.url.c_str()) != CURLE_OK) {
    return {Code::kInvalid, "not a URL: " + PlaceOf(request_.url)};
  }
  Set(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  Set(easy, CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1});
  Set(easy, CURLOPT_PATH_AS_IS, 1L);  // a name may be "..a": its dots are part of it
  Set(easy, CURLOPT_NOSIGNAL, 1L);
  Set(easy, CURLOPT_SSL_VERIFYPEER, 1L);
  Set(easy, CURLOPT_SSL_VERIFYHOST, 2L);
  if (!options.ca_file.empty()) Set(easy, CURLOPT_CAINFO, options.ca_file.c_str());
  if (IsLoopback(HostOf(request_.url))) Set(easy, CURLOPT_PROXY, "");
  Set(easy, CURLOPT_CONNECTTIMEOUT_MS, kConnectMs);
  Set(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  Set(easy, CURLOPT_BUFFERSIZE, static_cast<long>(kPiece));
  Set(easy, CURLOPT_UPLOAD_BUFFERSIZE, static_cast<long>(kPiece));
  Set(easy, CURLOPT_ERRORBUFFER, reason_.data());
  Set(easy, CURLOPT_HTTPHEADER, headers);
  Set(easy, CURLOPT_HEADERFUNCTION, &OnHeader);
  Set(easy, CURLOPT_HEADERDATA, this);
  Set(easy, CURLOPT_WRITEFUNCTION, &OnBody);
  Set(easy, CURLOPT_WRITEDATA, this);
  if (upload_) {
    Set(easy, CURLOPT_UPLOAD, 1L);
    Set(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(size_));
    Set(easy, CURLOPT_READFUNCTION, &OnRead);
    Set(easy, CURLOPT_READDATA, this);
    Set(easy, CURLOPT_SEEKFUNCTION, &OnSeek);
    Set(easy, CURLOPT_SEEKDATA, this);
    Set(easy, CURLOPT_EXPECT_100_TIMEOUT_MS, kAnswerMs);
  }
  if (request_.method == "HEAD") {
    Set(easy, CURLOPT_NOBODY, 1L);
  } else {
    Set(easy, CURLOPT_CUSTOMREQUEST, request_.method.c_str());
  }
  return {};
}

// curl_easy_perform would look at what it waits for once a second: too seldom for the watches.
Status Transfer::Drive(HttpConnection& connection, CURLcode& outcome) {
  CURLM* multi = connection.multi.get();
  for (;;) {
    int running = 0;
    if (curl_multi_perform(multi, &running) != CURLM_OK) {
      return {Code::kIo, "curl cannot work on " + PlaceOf(request_.url)};
    }
    if (!failure_.ok()) return failure_;
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      outcome = message->data.result;
      return {};
    }
    curl_multi_poll(multi, nullptr, 0, kLookMs, nullptr);
    if (std::chrono::steady_clock::now() - told_ >= std::chrono::milliseconds(kLookMs)) {
      BKFS_TRY(Told(TellWaiting()));
    }
  }
}

Status Transfer::Explain(CURLcode outcome) const {
  const std::string place = PlaceOf(request_.url);
  const std::string reason = reason_[0] != 0 ? reason_.data() : curl_easy_strerror(outcome);
  switch (outcome) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
      return {Code::kDenied, "certificate of " + place + " does not verify: " + reason +
                                 "; CAFile= names another authority"};
    case CURLE_SSL_CACERT_BADFILE: return {Code::kInvalid, "CAFile= cannot be used: " + reason};
    case CURLE_URL_MALFORMAT: return {Code::kInvalid, place + ": " + reason};
    default: return {Code::kUnavailable, place + ": " + reason};
  }
}

Result<HttpResponse> Transfer::Run(HttpConnection& connection, const HttpOptions& options,
                                   std::atomic<Continues>& continues) {
  const bool ask = upload_ && size_ >= kAskFirst && continues.load() != Continues::kNo;
  const HeaderList headers = MakeHeaders(ask);
  CURL* easy = connection.easy.get();
  BKFS_TRY(SetUp(easy, options, headers.get()));
  BKFS_TRY(TellWaiting());
  if (curl_multi_add_handle(connection.multi.get(), easy) != CURLM_OK) {
    return Status(Code::kIo, "curl cannot begin with " + PlaceOf(request_.url));
  }
  CURLcode outcome = CURLE_OK;
  Status driven = Drive(connection, outcome);
  // In the middle of a transfer this closes the connection.
  curl_multi_remove_handle(connection.multi.get(), easy);
  BKFS_TRY(driven);
  BKFS_TRY(failure_);
  if (outcome != CURLE_OK) return Explain(outcome);
  if (continued_) {
    continues.store(Continues::kYes);
  } else if (ask && response_.status < 300) {
    // It took the body without a word: the next one need not wait for it.
    Continues unknown = Continues::kUnknown;
    continues.compare_exchange_strong(unknown, Continues::kNo);
  }
  return std::move(response_);
}

class CurlClient final : public HttpClient {
 public:
  explicit CurlClient(HttpOptions options)
      : options_(std::move(options)), pool_(std::max<size_t>(options_.connections, 1)) {}

  Result<HttpResponse> Do(const HttpRequest& request) override {
    BKFS_ASSIGN(ConnectionPool::Lease connection, pool_.Take());
    return Transfer(request).Run(*connection, options_, continues_);
  }

 private:
  const HttpOptions options_;
  ConnectionPool pool_;
  std::atomic<Continues> continues_{Continues::kUnknown};
};
}  // namespace

const std::string* HttpResponse::Find(std::string_view name) const {
  for (const HttpHeader& header : headers) {
    if (header.name == name) return &header.value;
  }
  return nullptr;
}

Result<std::unique_ptr<HttpClient>> HttpClient::Open(HttpOptions options) {
  static const CURLcode kReady = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (kReady != CURLE_OK) return Status(Code::kUnsupported, "libcurl cannot be initialised");
  return std::unique_ptr<HttpClient>(std::make_unique<CurlClient>(std::move(options)));
}

std::optional<int64_t> ParseHttpDate(const std::string& text) {
  const time_t seconds = curl_getdate(text.c_str(), nullptr);
  if (seconds <= 0) return std::nullopt;
  return int64_t{seconds} * 1'000'000'000;
}

bool IsLoopback(std::string_view host) {
  if (host == "localhost" || host == "::1") return true;
  if (!host.starts_with("127.")) return false;
  // Not "127.example.org": digits and dots alone, three of them.
  return host.find_first_not_of("0123456789.") == std::string_view::npos &&
         std::count(host.begin(), host.end(), '.') == 3;
}

}  // namespace bkfs

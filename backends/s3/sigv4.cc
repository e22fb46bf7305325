// SPDX-License-Identifier: Apache-2.0
#include "backends/s3/sigv4.h"

#include <algorithm>
#include <ctime>
#include <map>

#include "engine/crypto/hash.h"

namespace bkfs {

namespace {
constexpr char kService[] = "s3";

bool IsUnreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

// The key that signs for one day, region and service. A secret like the one it comes from.
Secret SigningKey(const SigV4Key& key, std::string_view date) {
  Secret first(4 + key.secret_key.size());
  const MutableByteView to = first.mutable_view();
  std::memcpy(to.data(), "AWS4", 4);
  std::copy_n(key.secret_key.view().data(), key.secret_key.size(), to.data() + 4);
  Secret now = std::move(first);
  for (std::string_view word : {date, std::string_view(key.region), std::string_view(kService),
                                std::string_view("aws4_request")}) {
    Hash256 next = HmacSha256(now.view(), AsBytes(word));
    now = Secret::CopyOf(next);
    WipeMemory(next);
  }
  return now;
}
}  // namespace

std::string UriEncode(std::string_view text, bool keep_slash) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (char c : text) {
    if (IsUnreserved(c) || (keep_slash && c == '/')) {
      out += c;
    } else {
      const auto byte = static_cast<uint8_t>(c);
      out += '%';
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
  return out;
}

std::string CanonicalQuery(const std::vector<QueryWord>& words) {
  std::vector<std::pair<std::string, std::string>> sorted;
  sorted.reserve(words.size());
  for (const QueryWord& word : words) {
    sorted.emplace_back(UriEncode(word.name, false), UriEncode(word.value, false));
  }
  std::sort(sorted.begin(), sorted.end());
  std::string out;
  for (const auto& [name, value] : sorted) {
    if (!out.empty()) out += '&';
    out += name + "=" + value;
  }
  return out;
}

std::string AmzDate(int64_t wall_ns) {
  const auto seconds = static_cast<time_t>(wall_ns / 1'000'000'000);
  tm utc{};
  gmtime_r(&seconds, &utc);
  char text[32];
  const size_t length = std::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &utc);
  return {text, length};
}

std::string SignV4(const SigV4Key& key, const SigV4Request& request) {
  std::map<std::string, std::string> headers;
  for (const SigV4Header& header : request.headers) headers[header.name] = header.value;
  std::string names;
  std::string canonical = request.method + "\n" + request.path + "\n" + request.query + "\n";
  for (const auto& [name, value] : headers) {
    names += (names.empty() ? "" : ";") + name;
    canonical += name + ":" + value + "\n";
  }
  canonical += "\n" + names + "\n" + request.payload_hash;
  const std::string& time = headers["x-amz-date"];
  const std::string date = time.substr(0, 8);
  const std::string scope = date + "/" + key.region + "/" + kService + "/aws4_request";
  const std::string to_sign =
      "AWS4-HMAC-SHA256\n" + time + "\n" + scope + "\n" + ToHex(Sha256(AsBytes(canonical)));
  const Hash256 signature = HmacSha256(SigningKey(key, date).view(), AsBytes(to_sign));
  return "AWS4-HMAC-SHA256 Credential=" + key.access_key_id + "/" + scope +
         ",SignedHeaders=" + names + ",Signature=" + ToHex(signature);
}

}  // namespace bkfs

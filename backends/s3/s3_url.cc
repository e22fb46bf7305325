// SPDX-License-Identifier: Apache-2.0
#include "backends/s3/s3_url.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "backends/http/http_client.h"
#include "backends/s3/sigv4.h"

namespace bkfs {

namespace {
constexpr char kDefaultRegion[] = "us-east-1";
constexpr size_t kMaxPrefix = 500;  // keys are 1024 bytes at most, of which names take 200

// For messages; what stands before an '@' may be a password.
std::string Shown(std::string_view url) {
  if (url.find('@') != std::string_view::npos) return "the URL given";
  return std::string(url.substr(0, 300));
}

bool IsLowerOrDigit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::vector<std::string> Split(std::string_view text, char by) {
  std::vector<std::string> out;
  for (;;) {
    const size_t at = text.find(by);
    out.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return out;
    text.remove_prefix(at + 1);
  }
}

std::string Join(const std::vector<std::string>& labels, size_t begin, size_t end) {
  std::string out;
  for (size_t i = begin; i < end; ++i) out += (out.empty() ? "" : ".") + labels[i];
  return out;
}

// What the host name of a known provider says.
struct KnownHost {
  std::string bucket;  // in front of it, if any
  std::string host;    // without the bucket
  std::string region;
};

// s3.<region>.amazonaws.com, s3-<region>..., s3.dualstack.<region>..., and the same for others
// whose names begin with "s3.": the bucket is all before the last such label.
std::optional<KnownHost> AfterS3Label(const std::vector<std::string>& labels, size_t suffix) {
  const size_t end = labels.size() - suffix;
  for (size_t i = end; i-- > 0;) {
    if (labels[i] != "s3" && !labels[i].starts_with("s3-")) continue;
    KnownHost known{Join(labels, 0, i), Join(labels, i, labels.size()), {}};
    if (labels[i] != "s3") known.region = labels[i].substr(3);
    for (size_t k = i + 1; k < end; ++k) {
      if (labels[k] != "dualstack") known.region = labels[k];
    }
    return known;
  }
  return std::nullopt;
}

// sos-<zone>.exo.io
std::optional<KnownHost> AtExoscale(const std::vector<std::string>& labels) {
  const size_t i = labels.size() - 3;
  if (!labels[i].starts_with("sos-")) return std::nullopt;
  return KnownHost{Join(labels, 0, i), Join(labels, i, labels.size()), labels[i].substr(4)};
}

// <account>[.<jurisdiction>].r2.cloudflarestorage.com; an account is 32 hexadecimal digits.
std::optional<KnownHost> AtR2(const std::vector<std::string>& labels) {
  for (size_t i = labels.size() - 3; i-- > 0;) {
    const bool account = labels[i].size() == 32 &&
                         labels[i].find_first_not_of("0123456789abcdef") == std::string::npos;
    if (account) return KnownHost{Join(labels, 0, i), Join(labels, i, labels.size()), "auto"};
  }
  return std::nullopt;
}

std::optional<KnownHost> Recognise(const std::string& host) {
  const std::vector<std::string> labels = Split(host, '.');
  if (labels.size() < 3) return std::nullopt;
  if (host.ends_with(".amazonaws.com")) return AfterS3Label(labels, 2);
  if (host.ends_with(".amazonaws.com.cn")) return AfterS3Label(labels, 3);
  if (host.ends_with(".backblazeb2.com")) return AfterS3Label(labels, 2);
  if (host.ends_with(".scw.cloud")) return AfterS3Label(labels, 2);
  if (host.ends_with(".exo.io")) return AtExoscale(labels);
  if (host.ends_with(".r2.cloudflarestorage.com")) return AtR2(labels);
  return std::nullopt;
}

Status CheckHost(const S3Location& out, std::string_view url) {
  const bool literal = out.host.starts_with('[');
  const std::string_view allowed =
      literal ? "[]:0123456789abcdef" : "abcdefghijklmnopqrstuvwxyz0123456789.-";
  const bool bad = out.host.empty() || out.host.find_first_not_of(allowed) != std::string::npos ||
                   out.host.starts_with('.') || out.host.find("..") != std::string::npos;
  if (bad) return {Code::kInvalid, "no host name in " + Shown(url)};
  const bool digits = out.port.find_first_not_of("0123456789") == std::string::npos;
  if (!digits || out.port.size() > 5 || (!out.port.empty() && std::stoi(out.port) > 65535)) {
    return {Code::kInvalid, "no port number in " + Shown(url)};
  }
  return {};
}

Status CheckBucket(const std::string& bucket, std::string_view url) {
  const bool good = bucket.size() >= 3 && bucket.size() <= 63 && IsLowerOrDigit(bucket.front()) &&
                    IsLowerOrDigit(bucket.back()) && bucket.find("..") == std::string::npos &&
                    std::all_of(bucket.begin(), bucket.end(),
                                [](char c) { return IsLowerOrDigit(c) || c == '.' || c == '-'; });
  if (good) return {};
  if (bucket.empty()) {
    return {Code::kInvalid,
            Shown(url) + " names no bucket: write https://<host>/<bucket>[/prefix]"};
  }
  return {Code::kInvalid, "'" + bucket +
                              "' is no bucket's name (3 to 63 lower-case letters, digits, '-' and "
                              "'.') in " +
                              Shown(url)};
}

Status CheckPrefix(const std::string& prefix, std::string_view url) {
  if (prefix.empty()) return {};
  if (prefix.size() > kMaxPrefix) return {Code::kInvalid, "the prefix is too long: " + Shown(url)};
  for (const std::string& word : Split(prefix, '/')) {
    const bool good = !word.empty() && word != "." && word != ".." && !word.starts_with('_') &&
                      UriEncode(word, false) == word;
    if (!good) {
      return {Code::kInvalid, "'" + word +
                                  "' cannot be a word of a prefix (letters, digits, '.', '-', '~' "
                                  "and '_', but not at its beginning) in " +
                                  Shown(url)};
    }
  }
  return {};
}

// Splits "host[:port]" into `out`.
void TakeAuthority(std::string_view authority, S3Location& out) {
  const size_t bracket = authority.starts_with('[') ? authority.find(']') : 0;
  const size_t colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  out.host = Lower(authority.substr(0, colon));
  if (colon != std::string_view::npos) out.port = authority.substr(colon + 1);
  if (out.port == (out.tls ? "443" : "80")) out.port.clear();
}

// Splits "/bucket/prefix" or, with the bucket known, "/prefix".
void TakePath(std::string_view path, S3Location& out) {
  while (path.starts_with('/')) path.remove_prefix(1);
  while (path.ends_with('/')) path.remove_suffix(1);
  if (out.bucket.empty()) {
    const size_t slash = path.find('/');
    out.bucket = path.substr(0, slash);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
  }
  out.prefix = path;
}

// s3://bucket/prefix: at AWS.
void TakeAws(std::string_view rest, const S3UrlChoices& choices, S3Location& out) {
  TakePath(rest, out);
  out.region = choices.region.empty() ? kDefaultRegion : choices.region;
  out.host = "s3." + out.region + ".amazonaws.com";
  if (out.region.starts_with("cn-")) out.host += ".cn";
  // A certificate's "*" stands for one label: with a dot the bucket has to go into the path.
  out.virtual_host = out.bucket.find('.') == std::string::npos;
}

Status CheckScheme(const S3Location& out, const S3UrlChoices& choices, std::string_view url) {
  if (out.tls || choices.allow_http) return {};
  std::string host = out.host;
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (IsLoopback(host)) return {};
  return {Code::kInvalid, Shown(url) +
                              " would send over the network without TLS: use https://, or "
                              "AllowHTTP=yes where that network is trusted"};
}
}  // namespace

std::string S3Location::Authority() const {
  return (virtual_host ? bucket + "." : "") + host + (port.empty() ? "" : ":" + port);
}

std::string S3Location::KeyOf(std::string_view name) const {
  return prefix.empty() ? std::string(name) : prefix + "/" + std::string(name);
}

std::string S3Location::PathOf(std::string_view name) const {
  const std::string at = virtual_host ? "" : "/" + bucket;
  if (name.empty()) return at.empty() ? "/" : at;
  return at + "/" + UriEncode(KeyOf(name), true);
}

std::string S3Location::Describe() const {
  return (tls ? "https://" : "http://") + host + (port.empty() ? "" : ":" + port) + "/" + bucket +
         (prefix.empty() ? "" : "/" + prefix);
}

Result<S3Location> ParseS3Url(std::string_view url, const S3UrlChoices& choices) {
  S3Location out;
  const size_t scheme_end = url.find("://");
  const std::string scheme = Lower(url.substr(0, scheme_end));
  if (scheme_end == std::string_view::npos ||
      (scheme != "https" && scheme != "http" && scheme != "s3")) {
    return Status(Code::kInvalid, "not the URL of an S3 store: " + Shown(url));
  }
  if (url.find_first_of("?#@ \t\r\n") != std::string_view::npos) {
    return Status(Code::kInvalid,
                  "an S3 store's URL has no '?', '#', '@' or blank, unlike " + Shown(url));
  }
  const std::string_view rest = url.substr(scheme_end + 3);
  out.tls = scheme != "http";
  if (scheme == "s3") {
    TakeAws(rest, choices, out);
  } else {
    const size_t slash = std::min(rest.find('/'), rest.size());
    TakeAuthority(rest.substr(0, slash), out);
    const std::optional<KnownHost> known = Recognise(out.host);
    if (known && !known->bucket.empty()) {
      out.bucket = known->bucket;
      out.host = known->host;
      out.virtual_host = out.bucket.find('.') == std::string::npos;
    }
    TakePath(rest.substr(slash), out);
    if (choices.virtual_host) out.virtual_host = true;
    out.region = known ? known->region : "";
    if (!choices.region.empty()) out.region = choices.region;
    if (out.region.empty()) out.region = kDefaultRegion;
  }
  BKFS_TRY(CheckHost(out, url));
  BKFS_TRY(CheckBucket(out.bucket, url));
  BKFS_TRY(CheckPrefix(out.prefix, url));
  BKFS_TRY(CheckScheme(out, choices, url));
  return out;
}

}  // namespace bkfs

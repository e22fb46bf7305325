// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "backends/sftp/sftp_backend.h"
#include "engine/base/printable.h"

namespace bkfs {

namespace {
Status BadUrl(std::string_view url, const std::string& why) {
  return {Code::kInvalid, Printable(url) + ": " + why};
}

std::optional<uint8_t> HexByte(std::string_view digits) {
  uint8_t value = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (digits.size() != 2 || error != std::errc() || end != digits.data() + 2) return std::nullopt;
  return value;
}

// Nothing for a '%' that is not followed by two hexadecimal digits.
std::optional<std::string> PercentDecoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    auto byte = HexByte(text.substr(i + 1, 2));
    if (!byte) return std::nullopt;
    out += static_cast<char>(*byte);
    i += 2;
  }
  return out;
}

bool Clean(std::string_view text) {
  for (char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  }
  return true;
}

Result<uint16_t> ParsePort(std::string_view text, std::string_view url) {
  uint16_t port = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0) {
    return BadUrl(url, "the port is a number from 1 to 65535");
  }
  return port;
}

// "host", "[address]", and after it what `rest` is set to.
Status TakeHost(std::string_view text, std::string_view url, std::string& host,
                std::string_view& rest) {
  size_t end = text.find(':');
  if (text.starts_with('[')) {
    const size_t bracket = text.find(']');
    if (bracket == std::string_view::npos) return BadUrl(url, "a ']' is missing");
    host = text.substr(1, bracket - 1);
    end = bracket + 1;
  } else {
    if (end == std::string_view::npos) end = text.size();
    host = text.substr(0, end);
  }
  rest = text.substr(end);
  // A host beginning with '-' would be an option for a program that is handed the name.
  if (host.empty() || host.starts_with('-') || host.find_first_of("/@[] ") != std::string::npos ||
      !Clean(host)) {
    return BadUrl(url, "no host is named");
  }
  return {};
}

// "user@"; without it the whole is the rest.
Status TakeUser(std::string_view& text, std::string_view url, std::string& user) {
  const size_t at = text.rfind('@');
  if (at == std::string_view::npos) return {};
  user = text.substr(0, at);
  text.remove_prefix(at + 1);
  if (user.find(':') != std::string::npos) {
    // Not shown as a whole: what follows the ':' is secret.
    return {Code::kInvalid,
            "a password does not belong into the place of a repository, where others see it; give "
            "it in the configuration"};
  }
  if (user.empty() || user.starts_with('-') || !Clean(user)) {
    return BadUrl(url, "the user's name is missing before the '@'");
  }
  return {};
}

Status CheckPath(const std::string& path, std::string_view url) {
  if (path.empty()) return BadUrl(url, "no folder is named");
  if (path.find('\0') != std::string::npos) return BadUrl(url, "a name cannot hold a zero byte");
  if (path.starts_with('~') && path != "~" && !path.starts_with("~/")) {
    return BadUrl(url, "only one's own home folder can be named with '~'");
  }
  return {};
}

Result<SftpOptions> ParseWithScheme(std::string_view url, std::string_view after) {
  SftpOptions options;
  const size_t slash = after.find('/');
  if (slash == std::string_view::npos) return BadUrl(url, "no folder is named");
  std::string_view place = after.substr(0, slash);
  BKFS_TRY(TakeUser(place, url, options.user));  // first: no error below may show a password
  auto path = PercentDecoded(after.substr(slash));
  if (!path) return BadUrl(url, "'%' is followed by two hexadecimal digits; write %25 for itself");
  options.path = path->starts_with("/~") && (path->size() == 2 || (*path)[2] == '/')
                     ? path->substr(1)
                     : std::move(*path);
  auto user = PercentDecoded(options.user);
  if (!user || !Clean(*user)) return BadUrl(url, "the user's name is not well written");
  options.user = std::move(*user);
  std::string_view rest;
  BKFS_TRY(TakeHost(place, url, options.host, rest));
  if (!rest.empty()) {
    if (rest[0] != ':') return BadUrl(url, "something stands behind the host that is no port");
    BKFS_ASSIGN(options.port, ParsePort(rest.substr(1), url));
  }
  BKFS_TRY(CheckPath(options.path, url));
  return options;
}

// Where the ':' stands that ends the host, past those inside of brackets.
size_t ScpColon(std::string_view text) {
  const size_t slash = std::min(text.find('/'), text.size());
  const std::string_view head = text.substr(0, slash);
  const size_t open = head.find('[');
  size_t from = 0;
  // Only a bracket that begins the host: "[::1]:/x", "bob@[::1]:/x".
  if (open != std::string_view::npos && (open == 0 || head[open - 1] == '@')) {
    const size_t close = head.find(']', open);
    if (close != std::string_view::npos) from = close;
  }
  const size_t colon = head.find(':', from);
  return colon == 0 ? std::string_view::npos : colon;
}

Result<SftpOptions> ParseScp(std::string_view url) {
  SftpOptions options;
  const size_t colon = ScpColon(url);
  std::string_view place = url.substr(0, colon);
  options.path = url.substr(colon + 1);
  BKFS_TRY(TakeUser(place, url, options.user));
  std::string_view rest;
  BKFS_TRY(TakeHost(place, url, options.host, rest));
  if (!rest.empty()) return BadUrl(url, "something stands between the host and the ':'");
  BKFS_TRY(CheckPath(options.path, url));
  return options;
}
}  // namespace

bool IsScpForm(std::string_view text) {
  const size_t colon = ScpColon(text);
  return colon != std::string_view::npos && !text.substr(colon).starts_with("://");
}

Result<SftpOptions> ParseSftpUrl(std::string_view url) {
  for (std::string_view scheme : {"sftp://", "ssh://"}) {
    if (url.starts_with(scheme)) return ParseWithScheme(url, url.substr(scheme.size()));
  }
  if (IsScpForm(url)) return ParseScp(url);
  return BadUrl(url, "write user@host:folder, or sftp://user@host:port/folder");
}

}  // namespace bkfs

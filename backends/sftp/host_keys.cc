// SPDX-License-Identifier: Apache-2.0
#include "backends/sftp/host_keys.h"

#include <algorithm>
#include <cctype>
#include <memory>
#include <string_view>

#include "backends/sftp/wire.h"

namespace bkfs {

namespace {
constexpr uint64_t kMaxFile = 64 << 20;

struct KnownHostsDeleter {
  void operator()(LIBSSH2_KNOWNHOSTS* hosts) const { ::libssh2_knownhost_free(hosts); }
};

// '*' and '?' alone have a meaning; brackets stand around hosts with ports.
bool GlobMatches(std::string_view pattern, std::string_view name) {
  size_t p = 0;
  size_t n = 0;
  size_t star = std::string_view::npos;
  size_t star_name = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_name = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++star_name;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

// "a.example,*.b.example,!c.b.example"
bool ListMatches(std::string_view list, std::string_view name) {
  bool matches = false;
  while (!list.empty()) {
    std::string_view pattern = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), pattern.size() + 1));
    const bool negated = pattern.starts_with('!');
    if (negated) pattern.remove_prefix(1);
    if (!GlobMatches(pattern, name)) continue;
    if (negated) return false;
    matches = true;
  }
  return matches;
}

// "|1|salt|hash", which is HMAC-SHA1: libssh2 knows how, given a whole line.
bool HashMatches(const std::string& line, const std::string& name, SshSession& session) {
  const std::unique_ptr<LIBSSH2_KNOWNHOSTS, KnownHostsDeleter> hosts(
      ::libssh2_knownhost_init(session.raw()));
  if (hosts == nullptr || ::libssh2_knownhost_readline(hosts.get(), line.data(), line.size(),
                                                       LIBSSH2_KNOWNHOST_FILE_OPENSSH) != 0) {
    return false;
  }
  // No key is "AAAA": a name that is found is told as one with another key.
  return ::libssh2_knownhost_check(hosts.get(), name.c_str(), "AAAA", 4,
                                   LIBSSH2_KNOWNHOST_TYPE_PLAIN | LIBSSH2_KNOWNHOST_KEYENC_BASE64,
                                   nullptr) == LIBSSH2_KNOWNHOST_CHECK_MISMATCH;
}

std::string_view TakeWord(std::string_view& line) {
  const size_t begin = std::min(line.find_first_not_of(" \t\r"), line.size());
  line.remove_prefix(begin);
  const size_t end = std::min(line.find_first_of(" \t\r"), line.size());
  std::string_view word = line.substr(0, end);
  line.remove_prefix(end);
  return word;
}

struct Line {
  std::string_view marker;  // "@revoked"; mostly empty
  std::string_view names;
  std::string_view type;
  std::string_view key;
};

Line SplitLine(std::string_view text) {
  Line line;
  line.names = TakeWord(text);
  if (line.names.starts_with('@')) {
    line.marker = line.names;
    line.names = TakeWord(text);
  }
  line.type = TakeWord(text);
  line.key = TakeWord(text);
  return line;
}

bool NameMatches(const Line& line, const std::string& name, SshSession& session) {
  if (!line.names.starts_with('|')) return ListMatches(line.names, name);
  std::string whole(line.names);
  for (std::string_view word : {line.type, line.key}) whole.append(" ").append(word);
  return HashMatches(whole, name, session);
}

std::string LowerCase(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}
}  // namespace

const std::vector<HostKeyType>& HostKeyTypes() {
  static const std::vector<HostKeyType> types = {
      {"ssh-ed25519", "ssh-ed25519"},
      {"ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"},
      {"ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"},
      {"ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"},
      // Those with SHA-2 only newer versions of libssh2 know; the older leave them out.
      {"ssh-rsa", "rsa-sha2-512,rsa-sha2-256,ssh-rsa"}};
  return types;
}

std::string HostKeyOrder(const std::vector<std::string>& first) {
  std::string order;
  for (const bool early : {true, false}) {
    for (const HostKeyType& type : HostKeyTypes()) {
      const bool is_first = std::find(first.begin(), first.end(), type.type) != first.end();
      if (is_first == early) order.append(order.empty() ? "" : ",").append(type.algorithms);
    }
  }
  return order;
}

std::string KeyType(ByteView key) {
  WireReader reader(key);
  return std::string(reader.Text());
}

Result<std::string> FingerprintOf(SshSession& session) {
  const char* hash = ::libssh2_hostkey_hash(session.raw(), LIBSSH2_HOSTKEY_HASH_SHA256);
  if (hash == nullptr) return session.Lost("before the host showed its key");
  std::string text = EncodeBase64(AsBytes(std::string_view(hash, 32)));
  while (text.ends_with('=')) text.pop_back();
  return "SHA256:" + text;
}

Result<KnownHosts> KnownHosts::Read(const std::vector<std::string>& files, const std::string& host,
                                    uint16_t port, SshSession& session) {
  KnownHosts known;
  const std::string plain = LowerCase(host);
  const std::string with_port = port == 22 ? plain : "[" + plain + "]:" + std::to_string(port);
  for (const std::string& file : files) {
    Result<Bytes> text = ReadWholeFile(file, kMaxFile);
    if (text.code() == Code::kNotFound) continue;
    if (!text.ok()) return text.status();
    std::string_view rest = AsText(*text);
    for (int number = 1; !rest.empty(); ++number) {
      const std::string_view at = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(rest.size(), at.size() + 1));
      const Line line = SplitLine(at);
      if (line.key.empty() || line.names.starts_with('#')) continue;
      if (!line.marker.empty() && line.marker != "@revoked") continue;
      const bool named = NameMatches(line, with_port, session);
      if (!named && !NameMatches(line, plain, session)) continue;
      Result<Bytes> key = DecodeBase64(line.key);
      if (!key.ok()) continue;  // as of a protocol of the past
      if (named && line.marker.empty()) known.other_place_ = file + ":" + std::to_string(number);
      known.entries_.push_back({std::move(*key), named, !line.marker.empty()});
    }
  }
  return known;
}

std::vector<std::string> KnownHosts::Types() const {
  std::vector<std::string> types;
  for (const Entry& entry : entries_) {
    if (!entry.revoked) types.push_back(KeyType(entry.key));
  }
  return types;
}

KnownHosts::Verdict KnownHosts::Judge(ByteView key) const {
  bool known = false;
  bool has_another = false;
  for (const Entry& entry : entries_) {
    const bool same = std::equal(key.begin(), key.end(), entry.key.begin(), entry.key.end());
    if (entry.revoked && same) return Verdict::kRevoked;
    if (entry.revoked) continue;
    // A key known for the host without a port is taken for one with a port too, as ssh does; but
    // another one says nothing: different servers may listen there.
    known = known || same;
    has_another = has_another || (!same && entry.with_port);
  }
  if (known) return Verdict::kKnown;
  return has_another ? Verdict::kChanged : Verdict::kUnknown;
}

}  // namespace bkfs

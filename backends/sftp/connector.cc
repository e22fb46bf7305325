// SPDX-License-Identifier: Apache-2.0
#include "backends/sftp/connector.h"

#include <pwd.h>
#include <unistd.h>

#include <array>
#include <set>
#include <utility>

#include "backends/sftp/dial.h"
#include "backends/sftp/host_keys.h"
#include "backends/sftp/wait.h"
#include "engine/base/printable.h"

namespace bkfs {

namespace {
constexpr size_t kSha256Base64 = 43;

std::string LocalUser() {
  passwd entry{};
  passwd* found = nullptr;
  std::array<char, 4096> room{};
  if (::getpwuid_r(::getuid(), &entry, room.data(), room.size(), &found) != 0 || found == nullptr) {
    return {};
  }
  return entry.pw_name;
}

// Without the padding that some programs print.
Result<std::string> CheckedFingerprint(std::string text) {
  while (text.ends_with('=')) text.pop_back();
  const bool right = text.starts_with("SHA256:") && text.size() == 7 + kSha256Base64 &&
                     DecodeBase64(text.substr(7) + "=").ok();
  if (right || text.empty()) return text;
  return Status(Code::kInvalid, "the fingerprint '" + Printable(text) +
                                    "' is not of the form SHA256:<43 characters>, as 'ssh-keygen "
                                    "-lf FILE' prints it");
}

std::vector<std::string> KnownHostsFiles(const SftpOptions& options) {
  if (!options.known_hosts_file.empty()) return {options.known_hosts_file};
  std::vector<std::string> files;
  const std::string home = LocalHome();
  if (!home.empty()) files.push_back(home + "/.ssh/known_hosts");
  files.emplace_back("/etc/ssh/ssh_known_hosts");
  return files;
}

std::string PeerOf(const SftpOptions& options) {
  const bool v6 = options.host.find(':') != std::string::npos;
  std::string peer =
      "sftp://" + options.user + "@" + (v6 ? "[" : "") + options.host + (v6 ? "]" : "");
  return options.port == 22 ? peer : peer + ":" + std::to_string(options.port);
}
}  // namespace

SftpConnector::SftpConnector(SftpOptions options)
    : options_(std::move(options)),
      peer_(PeerOf(options_)),
      known_hosts_(KnownHostsFiles(options_)) {
  credentials_.ask = options_.ask;
}

Result<std::unique_ptr<SftpConnector>> SftpConnector::Create(SftpOptions options) {
  if (options.user.empty()) options.user = LocalUser();
  if (options.user.empty() || options.host.empty() || options.path.empty()) {
    return Status(Code::kInvalid, "a store over SFTP needs a user, a host, and a folder");
  }
  if (options.connections == 0) {
    return Status(Code::kInvalid, "a store over SFTP needs at least one connection");
  }
  BKFS_ASSIGN(options.fingerprint, CheckedFingerprint(options.fingerprint));
  return std::unique_ptr<SftpConnector>(new SftpConnector(std::move(options)));
}

Result<std::unique_ptr<SshSession>> SftpConnector::Begin(int64_t until_ns) const {
  BKFS_ASSIGN(UniqueFd fd, Dial(options_.host, options_.port, until_ns));
  return SshSession::Create(std::move(fd), peer_, until_ns, options_.silence_limit_ns);
}

Status SftpConnector::CheckKnown(const KnownHosts& known, SshSession& session) const {
  BKFS_ASSIGN(ByteView key, session.HostKey());
  const KnownHosts::Verdict verdict = known.Judge(key);
  if (verdict == KnownHosts::Verdict::kKnown) return {};
  BKFS_ASSIGN(const std::string print, FingerprintOf(session));
  const std::string port = options_.port == 22 ? "" : "-p " + std::to_string(options_.port) + " ";
  const std::string shown =
      peer_ + ": the host shows the key " + print + " (" + Printable(KeyType(key)) + "), which ";
  switch (verdict) {
    case KnownHosts::Verdict::kRevoked:
      return {Code::kDenied, shown + "is marked as revoked in a known_hosts file"};
    case KnownHosts::Verdict::kChanged:
      return {
          Code::kDenied,
          shown + "is not the one in " + known.other_place() +
              ": somebody may stand in between, or the host has a new key. If its owner "
              "confirms the new one, remove that line and put the key there with 'ssh-keyscan " +
              port + options_.host + "', or give Fingerprint=" + print};
    default:
      return {Code::kDenied,
              shown + "is not known here. If the host's owner confirms it, put it into " +
                  known_hosts_[0] + " with 'ssh-keyscan " + port + options_.host +
                  "', or give Fingerprint=" + print};
  }
}

Result<std::unique_ptr<SshSession>> SftpConnector::ReachKnown(int64_t until_ns) const {
  if (!options_.known_hosts_file.empty() && ::access(known_hosts_[0].c_str(), R_OK) != 0) {
    return Status::FromErrno(errno, known_hosts_[0]);
  }
  BKFS_ASSIGN(auto session, Begin(until_ns));
  BKFS_ASSIGN(KnownHosts known,
              KnownHosts::Read(known_hosts_, options_.host, options_.port, *session));
  // A host has keys of several types, of which one may be known.
  BKFS_TRY(session->PreferHostKeys(HostKeyOrder(known.Types())));
  BKFS_TRY(session->Handshake());
  BKFS_TRY(CheckKnown(known, *session));
  return session;
}

// A fingerprint does not tell of which type its key is, and a server shows the key of the one type
// that is agreed on: so each type is asked for until it fits, and remembered.
Result<std::unique_ptr<SshSession>> SftpConnector::ReachWithFingerprint(int64_t until_ns) {
  std::string seen;
  const auto& types = HostKeyTypes();
  const int first = fingerprint_type_.load();
  for (int i = 0; i < static_cast<int>(types.size()); ++i) {
    if (first >= 0 && i != first) continue;
    BKFS_ASSIGN(auto session, Begin(until_ns));
    Status agreed = session->PreferHostKeys(types[static_cast<size_t>(i)].algorithms);
    if (agreed.ok()) agreed = session->Handshake();
    if (agreed.Is(Code::kUnsupported)) continue;
    if (!agreed.ok()) return agreed;
    BKFS_ASSIGN(const std::string print, FingerprintOf(*session));
    if (print == options_.fingerprint) {
      fingerprint_type_.store(i);
      return session;
    }
    seen += (seen.empty() ? "" : " and ") + print;
  }
  if (seen.empty()) {
    return Status(Code::kUnsupported,
                  peer_ + ": the server has no host key of a type that libssh2 " LIBSSH2_VERSION
                          " can check");
  }
  return Status(Code::kDenied, peer_ + ": the host shows the key " + seen + ", not " +
                                   options_.fingerprint +
                                   " as Fingerprint= demands: somebody may stand in between, or "
                                   "the host has a new key; change Fingerprint= only if its owner "
                                   "confirms the new one");
}

Result<std::unique_ptr<SftpClient>> SftpConnector::Connect() {
  const int64_t until = MonotonicNow() + options_.connect_limit_ns;
  auto session = options_.fingerprint.empty() ? ReachKnown(until) : ReachWithFingerprint(until);
  if (!session.ok()) return session.status();
  BKFS_TRY(LogIn(**session, options_, credentials_, until));
  BKFS_TRY((*session)->OpenSftp());
  return SftpClient::Start(std::move(*session));
}

}  // namespace bkfs

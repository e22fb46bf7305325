// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backends/sftp/ssh_session.h"

namespace bkfs {

// "SHA256:<base64>" of a host's key, as ssh-keygen prints it.
Result<std::string> FingerprintOf(SshSession& session);
// The type of a public key: "ssh-ed25519".
std::string KeyType(ByteView key);

// The types of host keys there are, the best first, with the algorithms that go with each.
struct HostKeyType {
  const char* type;
  const char* algorithms;
};
const std::vector<HostKeyType>& HostKeyTypes();
// For SshSession::PreferHostKeys: all algorithms, those of `first` before the others.
std::string HostKeyOrder(const std::vector<std::string>& first);

// What known_hosts files say of one host (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
class KnownHosts {
 public:
  enum class Verdict : uint8_t { kKnown, kUnknown, kChanged, kRevoked };

  // Files that are not there say nothing. `session` lends libssh2's way to compare hashed names.
  static Result<KnownHosts> Read(const std::vector<std::string>& files, const std::string& host,
                                 uint16_t port, SshSession& session);
  // Types of the keys known for the host.
  std::vector<std::string> Types() const;
  Verdict Judge(ByteView key) const;
  // "file:line" of an entry that has another key for the host.
  const std::string& other_place() const { return other_place_; }

 private:
  struct Entry {
    Bytes key;
    bool with_port = false;  // the name looked for, not that of the host alone
    bool revoked = false;
  };
  std::vector<Entry> entries_;
  std::string other_place_;
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "backends/sftp/login.h"
#include "backends/sftp/sftp_backend.h"
#include "backends/sftp/sftp_client.h"

namespace bkfs {

// Makes connections to one server: dials, checks the host's key, logs in, begins SFTP. Thread-safe,
// once the first connection has been made and StopAsking called.
class SftpConnector {
 public:
  // kInvalid for options that cannot be meant.
  static Result<std::unique_ptr<SftpConnector>> Create(SftpOptions options);

  Result<std::unique_ptr<SftpClient>> Connect();
  void StopAsking() { credentials_.ask = nullptr; }

  const SftpOptions& options() const { return options_; }
  // "sftp://bob@host:2222"
  const std::string& peer() const { return peer_; }

 private:
  explicit SftpConnector(SftpOptions options);
  Result<std::unique_ptr<SshSession>> Begin(int64_t until_ns) const;
  Result<std::unique_ptr<SshSession>> ReachKnown(int64_t until_ns) const;
  Result<std::unique_ptr<SshSession>> ReachWithFingerprint(int64_t until_ns);
  Status CheckKnown(const class KnownHosts& known, SshSession& session) const;

  const SftpOptions options_;
  const std::string peer_;
  const std::vector<std::string> known_hosts_;
  Credentials credentials_;
  // Which of HostKeyTypes() has the fingerprint; -1: not known yet.
  std::atomic<int> fingerprint_type_{-1};
};

}  // namespace bkfs

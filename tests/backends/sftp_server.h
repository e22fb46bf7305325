// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backends/sftp/sftp_backend.h"
#include "tests/support/store_process.h"

namespace bkfs {

// Keeps what it is told.
class KeepingLogger final : public Logger {
 public:
  void Log(LogLevel, std::string_view message) override {
    const std::lock_guard lock(mutex_);
    text_ += std::string(message) + "\n";
  }
  std::string text() const {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  mutable std::mutex mutex_;
  std::string text_;
};

// An sshd for the tests (tests/stores/sshd.py).
class SshServer {
 public:
  explicit SshServer(const std::vector<std::string>& arguments = {})
      : process_("sshd.py", arguments) {}

  // The one that most cases share.
  static SshServer& Shared() {
    static SshServer server;
    return server;
  }

  // To log in with its key; the folder is a new one below its root.
  SftpOptions Options() {
    static int number = 0;
    SftpOptions options;
    options.user = Fact("user");
    options.host = Fact("host");
    options.port = static_cast<uint16_t>(process_.NumberFact("port"));
    options.path = Fact("root") + "/" + std::to_string(++number);
    options.key_file = Fact("key_file");
    options.known_hosts_file = Fact("known_hosts");
    return options;
  }
  const std::string& Fact(const std::string& name) const { return process_.Fact(name); }
  std::string Tell(const std::string& line) { return process_.Tell(line); }

 private:
  StoreProcess process_;
};

// In front of a server (tests/stores/fault_proxy.py); options made for the server go through it
// with Through.
class FaultLine {
 public:
  explicit FaultLine(const SshServer& server)
      : process_("fault_proxy.py", {server.Fact("host") + ":" + server.Fact("port")}),
        fingerprint_(server.Fact("fingerprint")) {}
  SftpOptions Through(SftpOptions options) const {
    options.port = static_cast<uint16_t>(process_.NumberFact("port"));
    options.fingerprint = fingerprint_;
    return options;
  }
  std::string Tell(const std::string& line) { return process_.Tell(line); }

 private:
  StoreProcess process_;
  const std::string fingerprint_;
};

inline std::unique_ptr<Backend> OpenOrDie(SftpOptions options, bool create = true) {
  static NullLogger log;
  auto backend = OpenSftpBackend(std::move(options), log, create);
  if (!backend.ok()) Panic(backend.status().ToString(), __FILE__, __LINE__);
  return std::move(*backend);
}
inline Status OpenStatus(SftpOptions options, bool create = true) {
  static NullLogger log;
  return OpenSftpBackend(std::move(options), log, create).status();
}

}  // namespace bkfs

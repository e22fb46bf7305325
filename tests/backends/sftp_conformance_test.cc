// SPDX-License-Identifier: Apache-2.0
#include "tests/backends/decorate.h"
#include "tests/backends/sftp_server.h"

namespace bkfs {
namespace {

// The server needs no cleaning: it keeps its stores in a folder that goes with it.
class SftpTestStore final : public TestStore {
 public:
  SftpTestStore(SshServer& server, const FaultLine* line, unsigned connections)
      : server_(server), line_(line), connections_(connections), path_(server.Options().path) {
    backend_ = Open();
  }
  Backend& backend() override { return *backend_; }
  std::unique_ptr<Backend> OpenAgain() override { return Open(); }

 private:
  std::unique_ptr<Backend> Open() {
    SftpOptions options = server_.Options();
    options.path = path_;
    options.connections = connections_;
    return OpenOrDie(line_ != nullptr ? line_->Through(std::move(options)) : std::move(options));
  }
  SshServer& server_;
  const FaultLine* line_;
  const unsigned connections_;
  const std::string path_;
  std::unique_ptr<Backend> backend_;
};

std::unique_ptr<TestStore> Plain(unsigned connections) {
  return std::make_unique<SftpTestStore>(SshServer::Shared(), nullptr, connections);
}

// 2 ms each way: enough for whatever waits once too often to be seen, and for 1,500 objects in
// time.
std::unique_ptr<TestStore> OverALongLine() {
  static FaultLine line(SshServer::Shared());
  static const std::string told = line.Tell("delay 2");
  BKFS_CHECK(told == "ok");
  return std::make_unique<SftpTestStore>(SshServer::Shared(), &line, 4);
}

// A server that makes no hard links: files get their names by a rename that refuses.
std::unique_ptr<TestStore> Renaming() {
  static SshServer server({"--sftp", "internal-sftp -P hardlink"});
  return std::make_unique<SftpTestStore>(server, nullptr, 4);
}

// A server that offers nothing beyond version 3 of the protocol.
std::unique_ptr<TestStore> Bare() {
  static SshServer server({"--sftp", "internal-sftp -P hardlink,fsync,statvfs,fstatvfs,limits"});
  return std::make_unique<SftpTestStore>(server, nullptr, 4);
}

INSTANTIATE_TEST_SUITE_P(Sftp, BackendConformance,
                         testing::Values(StoreFactory{"Plain", [] { return Plain(4); }},
                                         StoreFactory{"OneConnection", [] { return Plain(1); }},
                                         StoreFactory{"LongLine", OverALongLine},
                                         StoreFactory{"Renaming", Renaming},
                                         StoreFactory{"Bare", Bare}),
                         StoreName);

INSTANTIATE_TEST_SUITE_P(SftpUnder, BackendConformance,
                         testing::ValuesIn(UnderEveryDecorator({"Plain", [] { return Plain(4); }})),
                         StoreName);

}  // namespace
}  // namespace bkfs

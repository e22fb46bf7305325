// SPDX-License-Identifier: Apache-2.0
#include "backends/sftp/publish.h"

#include <array>
#include <utility>

#include "engine/crypto/secret.h"

namespace bkfs {

namespace {
// A new file of `size` bytes.
Status MakeFile(SftpClient& client, const std::string& path, size_t size, const std::string& what) {
  const uint32_t open = client.Open(path, kSftpWrite | kSftpCreate | kSftpExclusive);
  BKFS_ASSIGN(SftpHandle handle, client.AwaitHandle(open, what));
  const Bytes content(size, 'x');
  const ByteView part(content);
  BKFS_TRY(client.WriteAll(handle, std::span(&part, 1), what));
  return client.AwaitStatus(client.Close(handle), what);
}

// The two files a name is fought for with, told apart by their sizes.
class Probe {
 public:
  Probe(SftpClient& client, const std::string& folder, std::string what)
      : client_(client),
        what_(std::move(what)),
        one_(folder + "/probe-" + RandomFileName()),
        two_(one_ + "-two"),
        three_(one_ + "-three") {}
  ~Probe() {
    if (client_.broken()) return;
    for (const std::string& path : {one_, two_, three_}) client_.Forget(client_.Remove(path));
    (void)client_.Flush();  // what is left is removed a day later
  }
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;

  Result<ServerWays> Run() {
    BKFS_TRY(MakeFile(client_, one_, 1, what_));
    BKFS_TRY(MakeFile(client_, two_, 2, what_));
    BKFS_ASSIGN(SftpAttributes made, client_.AwaitAttributes(client_.Lstat(two_), what_));
    ServerWays ways{.naming = NamingWay::kNone, .now = made.modified.value_or(0)};
    for (const NamingWay way : {NamingWay::kLink, NamingWay::kRename}) {
      if (way == NamingWay::kLink && !client_.OffersLinks()) continue;
      BKFS_ASSIGN(const bool safe, IsSafe(way));
      if (!safe) continue;
      ways.naming = way;
      break;
    }
    return ways;
  }

 private:
  // Refuses a name that is taken, and gives one that is free.
  Result<bool> IsSafe(NamingWay way) {
    const Status refused = client_.AwaitStatus(AskForName(client_, way, one_, two_), what_);
    if (client_.broken()) return refused;
    Result<SftpAttributes> two = client_.AwaitAttributes(client_.Lstat(two_), what_);
    if (client_.broken()) return two.status();
    if (refused.ok() || !two.ok() || two->size != 2) return false;
    const Status given = client_.AwaitStatus(AskForName(client_, way, one_, three_), what_);
    if (client_.broken()) return given;
    return given.ok();
  }

  SftpClient& client_;
  const std::string what_;
  const std::string one_;
  const std::string two_;
  const std::string three_;
};
}  // namespace

std::string RandomFileName() {
  std::array<uint8_t, 16> raw{};
  RandomBytes(raw);
  return ToHex(raw);
}

Result<ServerWays> ProbeServer(SftpClient& client, const std::string& folder,
                               const std::string& what) {
  // Says "failure" when it is there already; if it is not, the first file cannot be made.
  const Status made = client.AwaitStatus(client.Mkdir(folder), what);
  if (client.broken()) return made;
  Result<ServerWays> ways = Probe(client, folder, what).Run();
  if (ways.code() == Code::kNotFound && !made.ok()) return made;
  return ways;
}

uint32_t AskForName(SftpClient& client, NamingWay way, const std::string& from,
                    const std::string& to) {
  return way == NamingWay::kLink ? client.Link(from, to) : client.Rename(from, to);
}

Status SyncFolder(SftpClient& client, const std::string& folder, const std::string& what) {
  if (!client.OffersSync()) return {Code::kUnsupported, what + ": the server does not sync"};
  // Opened like a file, to read: a handle of OpenFolder cannot be synced.
  BKFS_ASSIGN(SftpHandle handle, client.AwaitHandle(client.Open(folder, kSftpRead), what));
  const SftpFile open(client, std::move(handle));
  return client.AwaitStatus(client.Sync(open.handle()), what);
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backends/sftp/ssh_session.h"
#include "backends/sftp/wire.h"
#include "engine/repo/backend.h"

namespace bkfs {

using SftpHandle = std::string;
struct SftpEntry {
  std::string name;
  SftpAttributes attributes;
};

// SFTP version 3 over one connection. Requests are queued by the functions named after them, which
// return the request's number; they are sent together before the first wait, and answered in any
// order. So what does not depend on each other's outcome costs one way to the server and back.
// Every request must be either awaited or forgotten.
//
// Errors of the Await functions: those of the server, beginning with `what`, after which the
// connection goes on; or kUnavailable or a watch's refusal, after which it is broken().
// One thread at a time.
class SftpClient {
 public:
  // Greets the server on the session's channel.
  static Result<std::unique_ptr<SftpClient>> Start(std::unique_ptr<SshSession> session);

  bool broken() const { return session_->broken(); }
  bool LooksAlive() const { return session_->LooksAlive(); }
  const std::string& peer() const { return session_->peer(); }
  bool OffersSync() const { return Offers("fsync@openssh.com", "1"); }
  bool OffersLinks() const { return Offers("hardlink@openssh.com", "1"); }
  bool OffersSpace() const { return Offers("statvfs@openssh.com", "2"); }

  uint32_t Open(const std::string& path, uint32_t flags);  // a new file is private to the user
  uint32_t Close(const SftpHandle& handle);
  uint32_t Stat(const std::string& path);   // follows a link
  uint32_t Lstat(const std::string& path);  // does not
  uint32_t Fstat(const SftpHandle& handle);
  uint32_t Remove(const std::string& path);
  uint32_t Mkdir(const std::string& path);  // private to the user
  uint32_t Rename(const std::string& from, const std::string& to);
  uint32_t Link(const std::string& from, const std::string& to);
  uint32_t Sync(const SftpHandle& handle);
  uint32_t OpenFolder(const std::string& path);
  uint32_t ReadFolder(const SftpHandle& handle);
  uint32_t Space(const std::string& path);

  Status AwaitStatus(uint32_t id, const std::string& what);
  Result<SftpHandle> AwaitHandle(uint32_t id, const std::string& what);
  Result<SftpAttributes> AwaitAttributes(uint32_t id, const std::string& what);
  // The next names of a folder, without "." and ".."; nothing at its end.
  Result<std::optional<std::vector<SftpEntry>>> AwaitEntries(uint32_t id, const std::string& what);
  struct Room {
    StoreSpace space;
    bool no_files_left = false;
    bool read_only = false;
  };
  Result<Room> AwaitSpace(uint32_t id, const std::string& what);
  // The answer will be thrown away.
  void Forget(uint32_t id);
  // Sends what is queued, for requests that are forgotten.
  Status Flush();

  // All of `parts`, one after the other, from the beginning of the file. Watched. `then` (may be
  // empty) is called before the last of it is sent, to queue what is to be done with the file next.
  Status WriteAll(const SftpHandle& handle, std::span<const ByteView> parts,
                  const std::string& what, const std::function<void()>& then = {});
  // Exactly out.size() bytes from `offset`; kCorrupt where the file ends before. Watched.
  Status ReadAll(const SftpHandle& handle, uint64_t offset, MutableByteView out,
                 const std::string& what);

 private:
  struct Answer {
    SftpType type = SftpType::kStatus;
    Bytes body;  // behind the number of the request
  };
  struct Piece {
    uint64_t offset = 0;
    size_t length = 0;
  };
  class Forgetter;

  explicit SftpClient(std::unique_ptr<SshSession> session) : session_(std::move(session)) {}
  Status Greet();
  bool Offers(const std::string& extension, const std::string& version) const;

  // A request: Begin, the rest of its body, Finish.
  WireWriter Begin(SftpType type);
  WireWriter BeginExtended(const std::string& extension);
  uint32_t Finish();
  uint32_t WithText(SftpType type, const std::string& text);

  Result<Answer> Await(uint32_t id);
  // The next answer to any request that is not forgotten; nothing if none is there and not `wait`.
  Result<std::optional<std::pair<uint32_t, Answer>>> Next(bool wait);
  Result<std::optional<Answer>> NextPacket(bool wait);
  std::optional<Answer> TakePacket();
  Status Garbled(const std::string& what);
  Status StatusOf(const Answer& answer, const std::string& what);

  uint32_t QueueRead(const SftpHandle& handle, uint64_t offset, size_t length);
  Result<size_t> TakeData(const Answer& answer, const Piece& piece, uint64_t offset,
                          MutableByteView out, const std::string& what);
  Status SendBatch(uint64_t payload, std::set<uint32_t>& sent, const std::string& what);
  Status TakeWriteAnswers(std::set<uint32_t>& sent, bool all, const std::string& what);

  const std::unique_ptr<SshSession> session_;
  std::map<std::string, std::string> extensions_;
  uint32_t last_id_ = 0;
  Bytes out_;            // queued
  size_t begun_at_ = 0;  // where in it the request begins that is being written
  Bytes in_;             // arrived
  size_t in_begin_ = 0;  // what of it has been taken
  std::set<uint32_t> asked_;
  std::set<uint32_t> forgotten_;
  std::map<uint32_t, Answer> arrived_;
};

// An open file or folder of the server, closed with this object: the request goes with whatever the
// connection is asked next, and nobody waits for the answer.
class SftpFile {
 public:
  SftpFile() = default;
  SftpFile(SftpClient& client, SftpHandle handle) : client_(&client), handle_(std::move(handle)) {}
  SftpFile(SftpFile&& other) noexcept
      : client_(std::exchange(other.client_, nullptr)), handle_(std::move(other.handle_)) {}
  SftpFile& operator=(SftpFile&& other) noexcept {
    Close();
    client_ = std::exchange(other.client_, nullptr);
    handle_ = std::move(other.handle_);
    return *this;
  }
  ~SftpFile() { Close(); }
  bool is_open() const { return client_ != nullptr; }
  const SftpHandle& handle() const { return handle_; }
  // Somebody else has asked for it to be closed.
  void Release() { client_ = nullptr; }

 private:
  void Close() {
    if (client_ != nullptr && !client_->broken()) client_->Forget(client_->Close(handle_));
    client_ = nullptr;
  }
  SftpClient* client_ = nullptr;
  SftpHandle handle_;
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "backends/sftp/agent.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "backends/sftp/host_keys.h"
#include "backends/sftp/wait.h"
#include "backends/sftp/wire.h"

namespace bkfs {

namespace {
constexpr uint8_t kListKeys = 11;
constexpr uint8_t kKeyList = 12;
constexpr uint8_t kSign = 13;
constexpr uint8_t kSignature = 14;
constexpr uint32_t kRsaSha256 = 2;
constexpr uint32_t kRsaSha512 = 4;
constexpr size_t kMaxAnswer = 256 << 10;  // as OpenSSH limits it
constexpr char kWho[] = "the SSH agent";

bool Usable(const std::string& type) {
  for (const HostKeyType& known : HostKeyTypes()) {
    if (type == known.type) return true;
  }
  return false;  // certificates, security keys
}

// The name of the algorithm in the request to log in that is to be signed (RFC 4252 section 7).
std::string_view AlgorithmIn(ByteView data) {
  WireReader reader(data);
  reader.Blob();  // the session
  reader.U8();
  for (int i = 0; i < 3; ++i) reader.Blob();  // user, service, method
  reader.U8();
  return reader.Text();
}

// Sends or receives all of it, one way or the other.
template <typename Byte, typename Move>
Status MoveAll(int fd, short events, int64_t until_ns, std::span<Byte> rest, const Move& move) {
  while (!rest.empty()) {
    const ssize_t n = move(rest);
    if (n > 0) {
      rest = rest.subspan(static_cast<size_t>(n));
    } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
      BKFS_TRY(AwaitReady(fd, events, until_ns, kWho));
    } else {
      return {Code::kIo, std::string(kWho) + " has ended the connection"};
    }
  }
  return {};
}
}  // namespace

Result<std::unique_ptr<SshAgent>> SshAgent::Connect(int64_t until_ns) {
  const char* path = std::getenv("SSH_AUTH_SOCK");  // NOLINT(concurrency-mt-unsafe)
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path == nullptr || *path == '\0' || std::strlen(path) >= sizeof address.sun_path) {
    return Status(Code::kNotFound, "no SSH agent");
  }
  std::memcpy(address.sun_path, path, std::strlen(path) + 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return Status::FromErrno(errno, kWho);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return Status(Code::kNotFound, Status::FromErrno(errno, kWho).message());
  }
  return std::unique_ptr<SshAgent>(new SshAgent(std::move(fd), until_ns));
}

Result<Bytes> SshAgent::Ask(const Bytes& body) {
  Bytes request;
  WireWriter(request).Blob(body);
  BKFS_TRY(MoveAll(fd_.get(), POLLOUT, until_ns_, ByteView(request), [this](ByteView rest) {
    return ::send(fd_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
  }));
  auto receive = [this](MutableByteView rest) {
    return ::recv(fd_.get(), rest.data(), rest.size(), 0);
  };
  Bytes length(4);
  BKFS_TRY(MoveAll(fd_.get(), POLLIN, until_ns_, MutableByteView(length), receive));
  const uint32_t size = WireReader(length).U32();
  if (size == 0 || size > kMaxAnswer) return Status(Code::kIo, std::string(kWho) + " is none");
  Bytes answer(size);
  BKFS_TRY(MoveAll(fd_.get(), POLLIN, until_ns_, MutableByteView(answer), receive));
  return answer;
}

Result<std::vector<Bytes>> SshAgent::Keys() {
  BKFS_ASSIGN(Bytes answer, Ask({kListKeys}));
  WireReader reader(answer);
  if (reader.U8() != kKeyList) return Status(Code::kIo, std::string(kWho) + " lists no keys");
  std::vector<Bytes> keys;
  for (uint32_t left = reader.U32(); left > 0 && reader.ok(); --left) {
    const ByteView key = reader.Blob();
    reader.Blob();  // a comment
    if (reader.ok() && Usable(KeyType(key))) keys.emplace_back(key.begin(), key.end());
  }
  return keys;
}

Result<Bytes> SshAgent::Sign(ByteView key, ByteView data) {
  const std::string_view algorithm = AlgorithmIn(data);
  uint32_t flags = 0;
  if (algorithm == "rsa-sha2-256") flags = kRsaSha256;
  if (algorithm == "rsa-sha2-512") flags = kRsaSha512;
  Bytes body;
  WireWriter(body).U8(kSign).Blob(key).Blob(data).U32(flags);
  BKFS_ASSIGN(Bytes answer, Ask(body));
  WireReader reader(answer);
  const uint8_t type = reader.U8();
  WireReader signature(reader.Blob());
  signature.Blob();  // the algorithm
  const ByteView raw = signature.Blob();
  if (type != kSignature || !signature.ok()) {
    return Status(Code::kDenied, std::string(kWho) + " does not sign");
  }
  return Bytes(raw.begin(), raw.end());
}

}  // namespace bkfs

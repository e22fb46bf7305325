// SPDX-License-Identifier: Apache-2.0
#include "backends/sftp/dial.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>

#include "backends/sftp/wait.h"
#include "engine/base/mutex.h"
#include "engine/base/transfer.h"

namespace bkfs {

namespace {
// One that swallows packets must not use up the time of those after it.
constexpr int64_t kAddressLimitNs = 10'000'000'000;
constexpr int64_t kLookNs = 100'000'000;

struct AddressesDeleter {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, AddressesDeleter>;

struct Resolved {
  int error = EAI_AGAIN;
  int system_errno = 0;
  Addresses list;
};

Resolved Resolve(const std::string& host, const std::string& port, int flags) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  Resolved out;
  out.error = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &list);
  out.system_errno = errno;
  out.list.reset(list);
  return out;
}

struct Lookup {
  Mutex mutex;  // a leaf
  CondVar finished;
  bool done BKFS_GUARDED_BY(mutex) = false;
  Resolved result BKFS_GUARDED_BY(mutex);
};

// getaddrinfo blocks for as long as name servers do not answer and cannot be told to stop; so a
// thread of its own does it, which goes on alone (hence shared) when nobody waits any more.
Result<Resolved> ResolveWatched(const std::string& host, const std::string& port,
                                int64_t until_ns) {
  auto lookup = std::make_shared<Lookup>();
  std::thread([lookup, host, port] {
    Resolved result = Resolve(host, port, 0);
    MutexLock lock(lookup->mutex);
    lookup->result = std::move(result);
    lookup->done = true;
    lookup->finished.NotifyAll();
  }).detach();
  for (;;) {
    {
      MutexLock lock(lookup->mutex);
      if (!lookup->done) lookup->finished.WaitFor(lookup->mutex, kLookNs);
      if (lookup->done) return std::move(lookup->result);
    }
    BKFS_TRY(TellWaiting());
    if (MonotonicNow() > until_ns) return Resolved{};
  }
}

Result<Addresses> AddressesOf(const std::string& host, uint16_t port, int64_t until_ns) {
  const std::string number = std::to_string(port);
  Resolved resolved = Resolve(host, number, AI_NUMERICHOST);
  if (resolved.error != 0) {
    BKFS_ASSIGN(resolved, ResolveWatched(host, number, until_ns));
  }
  if (resolved.error == 0) return std::move(resolved.list);
  const char* why = resolved.error == EAI_SYSTEM
                        ? std::strerror(resolved.system_errno)  // NOLINT(concurrency-mt-unsafe)
                        : ::gai_strerror(resolved.error);
  return Status(Code::kUnavailable, "the address of the host '" + host + "' cannot be found (" +
                                        why + "): check its name and the network");
}

// Small requests go out at once, and a peer that has vanished is noticed within a minute.
void Tune(int fd) {
  auto set = [fd](int level, int name, int value) {
    ::setsockopt(fd, level, name, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 20);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set(IPPROTO_TCP, TCP_KEEPCNT, 4);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 60'000);
}

Result<UniqueFd> DialOne(const addrinfo& address, const std::string& where, int64_t until_ns) {
  UniqueFd fd(::socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return Status(Code::kUnavailable, Status::FromErrno(errno, where).message());
  Tune(fd.get());
  int error = 0;
  if (::connect(fd.get(), address.ai_addr, address.ai_addrlen) != 0) {
    error = errno;
    if (error == EINPROGRESS) {
      BKFS_TRY(AwaitReady(fd.get(), POLLOUT, until_ns, where));
      socklen_t size = sizeof error;
      ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    }
  }
  if (error != 0) {
    return Status(Code::kUnavailable, Status::FromErrno(error, where).message(), error);
  }
  return fd;
}
}  // namespace

Result<UniqueFd> Dial(const std::string& host, uint16_t port, int64_t until_ns) {
  const std::string where = "connecting to " + host + " port " + std::to_string(port);
  BKFS_ASSIGN(Addresses list, AddressesOf(host, port, until_ns));
  Status last(Code::kUnavailable, where + ": the host has no address");
  for (const addrinfo* at = list.get(); at != nullptr; at = at->ai_next) {
    const int64_t now = MonotonicNow();
    if (now >= until_ns) return last;
    const int64_t until =
        at->ai_next == nullptr ? until_ns : std::min(until_ns, now + kAddressLimitNs);
    Result<UniqueFd> fd = DialOne(*at, where, until);
    if (fd.ok()) return fd;
    last = fd.status();
    BKFS_TRY(TellWaiting());  // it may be this that ended the attempt
  }
  return last;
}

}  // namespace bkfs

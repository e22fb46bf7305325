// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <libssh2.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "engine/base/fd.h"

namespace bkfs {

// One SSH connection with one channel, over libssh2 without blocking: every wait is watched
// (engine/base/transfer.h) and has an end. After any failure, refused logins excepted, the session
// is broken: what libssh2 has sent in part is not known, and nothing else may be asked of it. One
// thread at a time. The destructor does not wait for the network.
class SshSession {
 public:
  // `peer` begins error messages: "sftp://host". Until `connect_until_ns` (monotonic) everything
  // must be done up to OpenSftp; afterwards the peer may be silent for `silence_limit_ns`.
  static Result<std::unique_ptr<SshSession>> Create(UniqueFd fd, std::string peer,
                                                    int64_t connect_until_ns,
                                                    int64_t silence_limit_ns);
  ~SshSession();
  SshSession(const SshSession&) = delete;
  SshSession& operator=(const SshSession&) = delete;

  // Only these types of host keys, the best first: "ssh-ed25519,ssh-rsa". Before Handshake.
  Status PreferHostKeys(const std::string& algorithms);
  // Agrees on keys. kUnsupported where the two have no algorithm in common.
  Status Handshake();
  // After Handshake. The view holds as long as the session.
  Result<ByteView> HostKey();
  // Opens the channel with the SFTP server behind it.
  Status OpenSftp();

  Status Write(ByteView data);
  // What has arrived, at most out.size() bytes; with `wait` at least one. 0: nothing is there now.
  Result<size_t> Read(MutableByteView out, bool wait);

  // Calls `call` until it no longer says LIBSSH2_ERROR_EAGAIN, and returns what it says then;
  // a failure is of the waiting and breaks the session.
  Result<int> Drive(const std::function<int()>& call);
  // What libssh2 says of its last failure, as kUnavailable; breaks the session.
  Status Lost(const std::string& doing);
  // The time a person took to answer does not count as time to connect.
  void Extend(int64_t ns) { connect_until_ns_ += ns; }

  // Whether the peer has closed an idle connection, as far as this side knows. Does not wait.
  bool LooksAlive() const;
  bool broken() const { return broken_; }
  void Break() { broken_ = true; }
  const std::string& peer() const { return peer_; }
  LIBSSH2_SESSION* raw() { return session_; }

 private:
  SshSession(UniqueFd fd, std::string peer, int64_t connect_until_ns, int64_t silence_limit_ns)
      : fd_(std::move(fd)),
        peer_(std::move(peer)),
        connect_until_ns_(connect_until_ns),
        silence_limit_ns_(silence_limit_ns) {}
  Status WaitForSocket();

  const UniqueFd fd_;
  const std::string peer_;
  int64_t connect_until_ns_;
  const int64_t silence_limit_ns_;
  bool connected_ = false;
  bool broken_ = false;
  LIBSSH2_SESSION* session_ =
      nullptr;  // freed by the destructor, which has to close the socket first
  LIBSSH2_CHANNEL* channel_ = nullptr;  // belongs to the session
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "backends/sftp/ssh_session.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <string_view>
#include <utility>

#include "backends/sftp/wait.h"
#include "engine/base/printable.h"

namespace bkfs {

namespace {
// How much may be under way to us before we take it: a fast line with a long way needs megabytes.
constexpr unsigned kWindow = 8 << 20;
constexpr unsigned kPacket = 32768;

Status StartLibrary() {
  // Once in the life of a process; libssh2_init is not thread-safe itself.
  static const int started = ::libssh2_init(0);
  if (started != 0) return {Code::kIo, "libssh2 does not start: " + std::to_string(started)};
  return {};
}
}  // namespace

Result<std::unique_ptr<SshSession>> SshSession::Create(UniqueFd fd, std::string peer,
                                                       int64_t connect_until_ns,
                                                       int64_t silence_limit_ns) {
  BKFS_TRY(StartLibrary());
  std::unique_ptr<SshSession> session(
      new SshSession(std::move(fd), std::move(peer), connect_until_ns, silence_limit_ns));
  session->session_ = ::libssh2_session_init_ex(nullptr, nullptr, nullptr, nullptr);
  if (session->session_ == nullptr) return Status(Code::kIo, "libssh2 has no memory for a session");
  ::libssh2_session_set_blocking(session->session_, 0);
  return session;
}

SshSession::~SshSession() {
  if (session_ == nullptr) return;
  // With the socket shut libssh2 cannot send its good-byes, and so never asks to wait; a few calls
  // are its way from one state to the next.
  ::shutdown(fd_.get(), SHUT_RDWR);
  for (int i = 0; i < 100 && ::libssh2_session_free(session_) == LIBSSH2_ERROR_EAGAIN; ++i) {
  }
}

Status SshSession::WaitForSocket() {
  const int directions = ::libssh2_session_block_directions(session_);
  short events = 0;
  if ((directions & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0) events |= POLLOUT;
  if ((directions & LIBSSH2_SESSION_BLOCK_INBOUND) != 0 || events == 0) events |= POLLIN;
  const int64_t until = connected_ ? MonotonicNow() + silence_limit_ns_ : connect_until_ns_;
  return AwaitReady(fd_.get(), events, until, peer_);
}

Result<int> SshSession::Drive(const std::function<int()>& call) {
  for (;;) {
    const int result = call();
    if (result != LIBSSH2_ERROR_EAGAIN) return result;
    Status status = WaitForSocket();
    if (!status.ok()) {
      Break();
      return status;
    }
  }
}

Status SshSession::Lost(const std::string& doing) {
  Break();
  char* text = nullptr;
  const int code = ::libssh2_session_last_error(session_, &text, nullptr, 0);
  std::string why = text != nullptr && *text != '\0' ? Printable(text) : std::to_string(code);
  return {Code::kUnavailable, peer_ + ": the connection was lost " + doing + " (" + why + ")"};
}

// Named to libssh2 are only those it knows: the way it leaves out others itself overlaps in memory
// (1.10).
Status SshSession::PreferHostKeys(const std::string& algorithms) {
  const char** known = nullptr;
  const int count = ::libssh2_session_supported_algs(session_, LIBSSH2_METHOD_HOSTKEY, &known);
  if (count < 0) return {Code::kIo, "libssh2 does not tell which host keys it knows"};
  const std::set<std::string_view> supported(known, known + count);
  std::string usable;
  for (std::string_view rest = algorithms; !rest.empty();) {
    const std::string_view one = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), one.size() + 1));
    if (supported.contains(one)) usable.append(usable.empty() ? "" : ",").append(one);
  }
  ::libssh2_free(session_, known);
  if (!usable.empty() &&
      ::libssh2_session_method_pref(session_, LIBSSH2_METHOD_HOSTKEY, usable.c_str()) == 0) {
    return {};
  }
  return {Code::kUnsupported, "libssh2 knows none of the host key types " + algorithms};
}

Status SshSession::Handshake() {
  BKFS_ASSIGN(int result,
              Drive([this] { return ::libssh2_session_handshake(session_, fd_.get()); }));
  if (result == 0) return {};
  if (result == LIBSSH2_ERROR_KEX_FAILURE) {
    Break();
    return {Code::kUnsupported,
            peer_ + ": the server and libssh2 " + LIBSSH2_VERSION +
                " have no algorithm in common (for keys, ciphers, or the host key)"};
  }
  return Lost("while keys were agreed on");
}

Result<ByteView> SshSession::HostKey() {
  size_t size = 0;
  int type = 0;
  const char* key = ::libssh2_session_hostkey(session_, &size, &type);
  if (key == nullptr) return Lost("before the host showed its key");
  return AsBytes(std::string_view(key, size));
}

Status SshSession::OpenSftp() {
  BKFS_ASSIGN(int opened, Drive([this] {
                channel_ =
                    ::libssh2_channel_open_ex(session_, "session", 7, kWindow, kPacket, nullptr, 0);
                return channel_ != nullptr ? 0 : ::libssh2_session_last_errno(session_);
              }));
  if (opened != 0) return Lost("when a channel was opened");
  BKFS_ASSIGN(int begun, Drive([this] {
                return ::libssh2_channel_process_startup(channel_, "subsystem", 9, "sftp", 4);
              }));
  if (begun == LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED) {
    Break();
    return {Code::kUnsupported,
            peer_ +
                ": the server offers no SFTP (a line 'Subsystem sftp internal-sftp' in its "
                "sshd_config would)"};
  }
  if (begun != 0) return Lost("when SFTP was begun");
  connected_ = true;
  return {};
}

Status SshSession::Write(ByteView data) {
  while (!data.empty()) {
    // The same bytes until they are taken: libssh2 may have sent a part of its packet already.
    ssize_t sent = 0;
    BKFS_ASSIGN(int result, Drive([&] {
                  sent = ::libssh2_channel_write_ex(
                      channel_, 0, reinterpret_cast<const char*>(data.data()), data.size());
                  return sent < 0 ? static_cast<int>(sent) : 0;
                }));
    if (result != 0) return Lost("while data was sent");
    data = data.subspan(static_cast<size_t>(sent));
  }
  return {};
}

Result<size_t> SshSession::Read(MutableByteView out, bool wait) {
  for (;;) {
    const ssize_t got =
        ::libssh2_channel_read_ex(channel_, 0, reinterpret_cast<char*>(out.data()), out.size());
    if (got > 0) return static_cast<size_t>(got);
    if (got == 0) {
      Break();
      return Status(Code::kUnavailable, peer_ + ": the server has ended the connection");
    }
    if (got != LIBSSH2_ERROR_EAGAIN) return Lost("while data was read");
    // What it began to send (it makes room for more by a packet) must go out before anything else.
    const bool sending =
        (::libssh2_session_block_directions(session_) & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0;
    if (!wait && !sending) return size_t{0};
    Status status = WaitForSocket();
    if (!status.ok()) {
      Break();
      return status;
    }
  }
}

bool SshSession::LooksAlive() const {
  if (broken_) return false;
  pollfd state{.fd = fd_.get(), .events = POLLIN | POLLRDHUP, .revents = 0};
  if (::poll(&state, 1, 0) < 0) return errno == EINTR;
  return (state.revents & (POLLRDHUP | POLLHUP | POLLERR)) == 0;
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "tools/prompt.h"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>

#include "engine/base/fd.h"

namespace bkfs {

namespace {
constexpr size_t kMaxPassphrase = 4096;
constexpr uint8_t kControlC = 3;

// Switches the terminal's echo off for as long as it lives. ^C ends the line there instead of the
// process, which would leave the terminal mute.
class EchoOff {
 public:
  explicit EchoOff(int fd) : fd_(fd) {
    known_ = ::tcgetattr(fd, &before_) == 0;
    if (!known_) return;
    termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO | ISIG);
    silent.c_cc[VEOL] = kControlC;
    ::tcsetattr(fd, TCSAFLUSH, &silent);
  }
  ~EchoOff() {
    if (known_) ::tcsetattr(fd_, TCSAFLUSH, &before_);
  }
  EchoOff(const EchoOff&) = delete;
  EchoOff& operator=(const EchoOff&) = delete;

 private:
  const int fd_;
  bool known_ = false;
  termios before_{};
};

// Bytes up to a line feed or the end, straight into locked memory. On a terminal a signal or ^C is
// kInterrupted.
Result<Secret> ReadLine(int fd, const std::string& what, bool terminal = false) {
  Secret buffer(kMaxPassphrase);
  size_t length = 0;
  while (length < kMaxPassphrase) {
    ssize_t n = ::read(fd, buffer.mutable_view().data() + length, 1);
    if (terminal && (n < 0 ? errno == EINTR : n > 0 && buffer.view()[length] == kControlC)) {
      return Status(Code::kInterrupted, "interrupted");
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status(Code::kInvalid, Status::FromErrno(errno, what).message());
    if (n == 0 || buffer.view()[length] == '\n') break;
    ++length;
  }
  if (length == kMaxPassphrase)
    return Status(Code::kInvalid, what + ": the passphrase is too long");
  if (length == 0) return Status(Code::kInvalid, what + ": no passphrase there");
  return Secret::CopyOf(buffer.view().first(length));
}
}  // namespace

Result<Secret> PromptSecret(const std::string& prompt) {
  UniqueFd tty(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
  if (!tty.valid()) {
    return Status(Code::kInvalid,
                  "there is no terminal to ask on: " + prompt + "? (give it in a file)");
  }
  BKFS_TRY(WriteAll(tty.get(), AsBytes(prompt), "terminal"));
  Result<Secret> line = [&] {
    EchoOff quiet(tty.get());
    return ReadLine(tty.get(), "terminal", true);
  }();
  BKFS_TRY(WriteAll(tty.get(), AsBytes("\n"), "terminal"));
  return line;
}

Result<Secret> ReadPassphraseFile(const std::string& path) {
  auto fd = OpenFile(path, O_RDONLY);
  if (!fd.ok()) {
    return Status(Code::kInvalid, "cannot read the passphrase: " + fd.status().message());
  }
  return ReadLine(fd->get(), path);
}

}  // namespace bkfs

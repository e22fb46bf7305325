// SPDX-License-Identifier: Apache-2.0
#include "fs/fuse/init_patch.h"

#include <linux/fuse.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>

namespace bkfs {

namespace {
// libfuse hands its user data to the hooks, which belongs to the operations; there is one session
// in a process that lives as long as the process's mount.
InitPatch& ThePatch() {
  static InitPatch patch;
  return patch;
}

ssize_t ReadHook(int fd, void* buffer, size_t size, void*) {
  ssize_t n = ::read(fd, buffer, size);
  if (n > 0) ThePatch().SawRequest(buffer, static_cast<size_t>(n));
  return n;
}

ssize_t WriteHook(int fd, iovec* parts, int count, void*) {
  ThePatch().BeforeAnswer(parts, count);
  return ::writev(fd, parts, count);
}
}  // namespace

void InitPatch::Install(fuse_session* session) {
#ifndef FUSE_CAP_HANDLE_KILLPRIV_V2
  fuse_custom_io io{};
  io.read = ReadHook;
  io.writev = WriteHook;
  // Without it everything works, only slower.
  (void)fuse_session_custom_io(session, &io, fuse_session_fd(session));
#else
  (void)session;
  (void)ReadHook;
  (void)WriteHook;
#endif
}

void InitPatch::SawRequest(const void* data, size_t size) {
  if (state_ != State::kWaiting) return;
  fuse_in_header header{};
  uint32_t flags = 0;
  constexpr size_t kFlagsAt = sizeof header + offsetof(fuse_init_in, flags);
  if (size < kFlagsAt + sizeof flags) return;
  std::memcpy(&header, data, sizeof header);
  if (header.opcode != FUSE_INIT) {
    state_ = State::kOver;
    return;
  }
  std::memcpy(&flags, static_cast<const char*>(data) + kFlagsAt, sizeof flags);
  unique_ = header.unique;
  state_ = (flags & FUSE_HANDLE_KILLPRIV_V2) ? State::kOffered : State::kOver;
}

void InitPatch::BeforeAnswer(const iovec* parts, int count) {
  if (state_ != State::kOffered) return;
  fuse_out_header header{};
  if (count < 2 || parts[0].iov_len < sizeof header) return;
  std::memcpy(&header, parts[0].iov_base, sizeof header);
  constexpr size_t kFlagsAt = offsetof(fuse_init_out, flags);
  uint32_t flags = 0;
  if (header.unique != unique_ || header.error != 0 || parts[1].iov_len < kFlagsAt + sizeof flags) {
    return;
  }
  char* place = static_cast<char*>(parts[1].iov_base) + kFlagsAt;
  std::memcpy(&flags, place, sizeof flags);
  flags |= FUSE_HANDLE_KILLPRIV_V2;
  std::memcpy(place, &flags, sizeof flags);
  state_ = State::kOver;
}

}  // namespace bkfs

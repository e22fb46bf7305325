// SPDX-License-Identifier: Apache-2.0
#include "fs/control.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/base/fd.h"

namespace bkfs {

namespace {
Status AskIoctl(const std::string& path, unsigned request, void* answer) {
  BKFS_ASSIGN(UniqueFd fd, OpenFile(path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  while (::ioctl(fd.get(), request, answer) != 0) {
    if (errno == EINTR) continue;
    if (errno == ENOTTY || errno == ENOSYS || errno == EINVAL || errno == EOPNOTSUPP) {
      return {Code::kInvalid, path + " is not in a bkfs mount"};
    }
    return Status::FromErrno(errno, path);
  }
  return {};
}

std::string TextOf(const char* field, size_t size) {
  return std::string(field, strnlen(field, size));
}
}  // namespace

Result<MountIdentity> AskMount(const std::string& path) {
  IdentityAnswer answer{};
  BKFS_TRY(AskIoctl(path, kIdentityIoctl, &answer));
  if (std::memcmp(answer.magic, IdentityAnswer::kMagic, sizeof answer.magic) != 0) {
    return Status(Code::kInvalid, path + " is not in a bkfs mount");
  }
  return MountIdentity{answer.pid, answer.writable != 0,
                       TextOf(answer.version, sizeof answer.version)};
}

std::string AskPlace(const std::string& path) {
  PlaceAnswer answer{};
  if (!AskIoctl(path, kPlaceIoctl, &answer).ok()) return {};
  return TextOf(answer.directory, sizeof answer.directory);
}

Result<SnapshotId> CommitThroughMount(const std::string& path) {
  BKFS_TRY(AskMount(path).status());
  CommitAnswer answer{};
  BKFS_TRY(AskIoctl(path, kCommitIoctl, &answer));
  if (answer.code != 0) {
    return Status(static_cast<Code>(answer.code),
                  path + ": " + TextOf(answer.message, sizeof answer.message));
  }
  SnapshotId id;
  std::copy(std::begin(answer.snapshot), std::end(answer.snapshot), id.bytes.begin());
  return id;
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/backup_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <utility>

namespace bkfs {

namespace {
constexpr int64_t kClockTick = 20'000'000;      // ns; more than a ctime lags behind the clock
constexpr uint64_t kReadAgainBelow = 16 << 20;  // size of a file that changed while it was read
constexpr size_t kMaxAttributes = 4 << 20;

Status Replaced() { return {Code::kIo, "it was replaced while being backed up"}; }
}  // namespace

UniqueFd OpenSource(int dir, const std::string& name, int flags) {
  flags |= O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  int fd = ::openat(dir, name.c_str(), flags | O_NOATIME);
  if (fd < 0 && errno == EPERM) fd = ::openat(dir, name.c_str(), flags);  // another's file
  return UniqueFd(fd);
}

bool LooksUnchanged(const Entry& before, const Entry& now) {
  return before.kind == now.kind && before.size == now.size && before.mtime == now.mtime &&
         before.ctime == now.ctime && before.rdev == now.rdev;
}

Status CheckAttributes(const Entry& entry) {
  size_t bytes = 0;
  for (const auto& xattr : entry.xattrs) bytes += xattr.name.size() + xattr.value.size();
  if (bytes <= kMaxAttributes) return {};
  return {Code::kTooLarge, "its extended attributes are more than 4 MiB"};
}

Result<bool> BackupReader::TakeStored(BackupItem& item, Entry& before) {
  BKFS_ASSIGN(bool stored, contents_.IsStored(before, repo_.trees()));
  if (!stored) return false;
  item.entry.extents = std::move(before.extents);
  item.entry.lists = std::move(before.lists);
  item.entry.xattrs = std::move(before.xattrs);
  item.entry.target = std::move(before.target);
  if (item.entry.kind == EntryKind::kFile) {
    meter_.Count([&](BackupCounts& counts) { counts.done_bytes += item.entry.size; });
  }
  return true;
}

// A file that was changed just now may be changed again with the same ctime, which would go
// unnoticed for ever: waits until the clock has moved on before it is looked at.
Result<LocalFile> BackupReader::ReadSettled(int fd) {
  auto file = ReadLocal(fd, accounts_);
  if (!file.ok()) return file;
  const Timestamp& ctime = file->entry.ctime;
  const int64_t age =
      repo_.clock().WallNanos() - (ctime.seconds * 1'000'000'000 + int64_t{ctime.nanos});
  if (age < 0 || age >= kClockTick) return file;
  const timespec pause{0, kClockTick - age};
  ::nanosleep(&pause, nullptr);
  return ReadLocal(fd, accounts_);
}

Status BackupReader::StoreContents(BackupItem& item, int fd, bool& changed) {
  const Entry opened = item.entry;
  auto tick = [&](uint64_t bytes) {
    meter_.Count([&](BackupCounts& counts) {
      counts.read_bytes += bytes;
      counts.done_bytes += bytes;
    });
    return meter_.Stopped();
  };
  BKFS_TRY(contents_.Store(fd, opened.size, tick, item.entry, item.failure));
  if (!item.failure.ok()) return {};
  auto after = ReadLocal(fd, accounts_);
  changed = !after.ok() || item.entry.size != opened.size || !LooksUnchanged(opened, after->entry);
  return {};
}

Status BackupReader::ReadFile(BackupItem& item, bool& changed) {
  changed = false;
  UniqueFd fd = OpenSource(item.dir->get(), item.entry.name, 0);
  if (!fd.valid()) {
    item.failure = Status::FromErrno(errno, "open");
    return {};
  }
  auto file = ReadSettled(fd.get());
  item.failure = file.ok() ? CheckAttributes(file->entry) : file.status();
  if (item.failure.ok() && file->entry.kind != EntryKind::kFile) item.failure = Replaced();
  if (!item.failure.ok()) return {};
  // From here on it is the open file that counts, whatever its name leads to by now.
  item.replaced = file->identity != item.identity;
  file->entry.name = std::move(item.entry.name);
  file->entry.link_group = item.replaced ? 0 : item.entry.link_group;
  item.entry = std::move(file->entry);
  return StoreContents(item, fd.get(), changed);
}

void BackupReader::ReadSpecial(BackupItem& item) {
  auto fd = OpenForAttributes(item.dir->get(), item.entry.name);
  auto file = fd.ok() ? ReadLocal(fd->get(), accounts_) : Result<LocalFile>(fd.status());
  item.failure = file.ok() ? CheckAttributes(file->entry) : file.status();
  if (item.failure.ok() && file->entry.kind != item.entry.kind) item.failure = Replaced();
  if (!item.failure.ok()) return;
  item.replaced = file->identity != item.identity;
  file->entry.name = std::move(item.entry.name);
  file->entry.link_group = item.replaced ? 0 : item.entry.link_group;
  item.entry = std::move(file->entry);
}

Status BackupReader::Complete(BackupItem& item) {
  item.failure = {};
  if (item.before) {
    Entry before = *std::exchange(item.before, std::nullopt);
    BKFS_ASSIGN(bool taken, TakeStored(item, before));
    if (taken) return {};
  }
  if (item.entry.kind == EntryKind::kFile) {
    bool changed = false;
    BKFS_TRY(ReadFile(item, changed));
    if (item.failure.ok() && changed && item.entry.size < kReadAgainBelow) {
      BKFS_TRY(ReadFile(item, changed));
    }
    if (item.failure.ok() && changed) {
      meter_.Failed(item.path, {Code::kIo, "it changed while it was read; what was read is kept"});
    }
    if (item.failure.ok()) meter_.Count([](BackupCounts& counts) { ++counts.read_files; });
  } else {
    ReadSpecial(item);
  }
  // What was removed since it was listed is simply not there any more.
  if (!item.failure.ok() && !item.failure.Is(Code::kNotFound)) {
    meter_.Failed(item.path, item.failure);
  }
  return {};
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <compare>
#include <string>
#include <unordered_map>

#include "engine/base/fd.h"
#include "engine/base/mutex.h"
#include "engine/format/tree.h"

namespace bkfs {

// Names of users and groups, asked from the system once each. Thread-safe.
class AccountNames {
 public:
  std::string User(uint32_t uid) BKFS_EXCLUDES(mutex_);
  std::string Group(uint32_t gid) BKFS_EXCLUDES(mutex_);

 private:
  Mutex mutex_;
  std::unordered_map<uint32_t, std::string> users_ BKFS_GUARDED_BY(mutex_);
  std::unordered_map<uint32_t, std::string> groups_ BKFS_GUARDED_BY(mutex_);
};

// Which file of this machine it is.
struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  auto operator<=>(const FileIdentity&) const = default;
};

// A file of this machine as an Entry: without name, contents, link group and totals.
struct LocalFile {
  Entry entry;
  FileIdentity identity;
};

// What stat tells of `name` in the open directory `dir` (AT_FDCWD: of a path), without following a
// symlink: no xattrs, and no target. kUnsupported for a kind of file that bkfs does not know.
Result<LocalFile> StatLocal(int dir, const std::string& name, AccountNames& accounts);
// The same of an open file. The descriptor may be an O_PATH one, of a symlink too.
Result<LocalFile> StatOpen(int fd, AccountNames& accounts);
// Everything about an open file. The descriptor may be an O_PATH one, of a symlink too.
Result<LocalFile> ReadLocal(int fd, AccountNames& accounts);
// Puts the xattrs, ACLs among them, and the target of a symlink into the entry. What the system
// does not let this user see is left out.
Status ReadAttributes(int fd, Entry& entry);

// Opens `name` for looking at and changing its attributes: any kind of file, no symlink followed,
// nothing set off in a device or FIFO (O_PATH).
Result<UniqueFd> OpenForAttributes(int dir, const std::string& name);

// Gives an open file (O_PATH will do) the entry's owner, mode, attributes and times. Goes on after
// a failure and returns the first one. To other users than root the system forgives: owners and
// attributes that only root may set are passed over, and so are set-user-id bits for another owner.
Status ApplyEntry(int fd, const Entry& entry);
// Whether ApplyEntry would change nothing, as far as this user may change it.
bool HasMetadata(int fd, const Entry& entry, AccountNames& accounts);

mode_t ModeOfKind(EntryKind kind);  // S_IFREG ...

}  // namespace bkfs

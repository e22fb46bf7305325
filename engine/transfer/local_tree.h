// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <string>
#include <unordered_map>

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

// Everything about the file `name` in the open directory `dir` but its contents and its hard links.
// Does not follow symlinks. `st` gets what stat said. A kind of file that bkfs does not know is
// kUnsupported.
Result<Entry> ReadEntry(int dir, const std::string& name, AccountNames& accounts, struct stat& st);
// The same for a path.
Result<Entry> ReadEntryAt(const std::string& path, AccountNames& accounts, struct stat& st);

// Gives the file `name` in `dir` the entry's owner, mode, attributes and times (no contents). As
// another user than root, owners and attributes that only root may set are passed over.
Status ApplyEntry(int dir, const std::string& name, const Entry& entry);
// Whether ApplyEntry would change something; what cannot be read counts as different.
bool HasMetadata(int dir, const std::string& name, const Entry& entry, AccountNames& accounts);

EntryKind KindOfMode(mode_t mode);  // of a known kind of file only
mode_t ModeOfKind(EntryKind kind);  // S_IFREG ...

}  // namespace bkfs

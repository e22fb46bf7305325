// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dirent.h>

#include <memory>
#include <span>
#include <string>

#include "engine/base/bytes.h"
#include "engine/base/fd.h"

namespace bkfs {

// System calls of the local store, each with the retries and fallbacks it needs. `path` is what the
// errors name. ENOENT and ENOTDIR become kNotFound; EPERM (as in an append-only folder) kDenied.

Status LocalError(int system_errno, const std::string& path);

// Opens `relative` below `root`. A symbolic link anywhere on the way is kDenied: a store that can
// be led elsewhere by a link would also write there.
Result<UniqueFd> OpenBelow(int root, const std::string& relative, int flags,
                           const std::string& path);

// Opens the folder `relative` below `root` ("" is `root` itself), making what is missing, private
// to the user. Each folder on the way that might be new is made durable in its parent.
Result<UniqueFd> MakeFolderBelow(int root, const std::string& relative, const std::string& path);

// Writes all parts one after the other from the file's beginning.
Status WriteParts(int fd, std::span<const ByteView> parts, const std::string& path);

// Renames a file unless the new name is taken: kExists.
Status RenameIfAbsent(int from_folder, const std::string& from, int to_folder,
                      const std::string& to, const std::string& path);

// Makes what was made, renamed or removed in a folder durable.
Status SyncFolder(int folder, const std::string& path);

struct DirCloser {
  void operator()(DIR* dir) const { ::closedir(dir); }
};
using UniqueDir = std::unique_ptr<DIR, DirCloser>;
Result<UniqueDir> OpenDir(UniqueFd fd, const std::string& path);
// The next name except "." and ".."; nullptr at the end. Valid until the next call.
Result<const char*> NextName(DIR* dir, const std::string& path);

}  // namespace bkfs

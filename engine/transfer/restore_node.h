// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <set>
#include <string>

#include "engine/base/fd.h"
#include "engine/format/tree.h"
#include "engine/repo/file_reader.h"
#include "engine/transfer/local_tree.h"

namespace bkfs {

// The parts of a restore that concern one name in an open directory. No symlink is ever followed.

// Opens the directory at `relative` below `root`, one name after the other, whatever its length.
Result<UniqueFd> OpenBelow(int root, const std::string& relative);
// Removes the file or tree `name`. OK if it is not there. kNotPermitted when it is or holds one of
// `keep`, or another filesystem: those stay, what else lies beside them goes.
Status RemoveBelow(int dir, const std::string& name, const std::set<FileIdentity>& keep);
// Whether the open directory, or one above it, is one of `places`.
bool LiesWithin(int dir, const std::set<FileIdentity>& places);

using Tick = std::function<Status(uint64_t bytes)>;  // told of progress; an error ends the work
// Writes a regular file's contents to `fd` (empty), holes as holes.
Status WriteContents(FileReader& reader, int fd, const Tick& tick);
// Whether the regular file open at `fd` has exactly the reader's contents.
Result<bool> SameContents(FileReader& reader, int fd, const Tick& tick);
// Makes anything but a regular file or directory, under `name`, which must be free.
Status MakeSpecial(int dir, const std::string& name, const Entry& entry);
// A name for what is not in its place yet.
std::string TemporaryName();

}  // namespace bkfs

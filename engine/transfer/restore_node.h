// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "engine/base/fd.h"
#include "engine/format/tree.h"
#include "engine/repo/file_reader.h"

namespace bkfs {

// The parts of a restore that concern one name in an open directory. No symlink is ever followed.

// Opens the directory at `relative` below `root`, going through no symlink. kIo if somebody put one
// there.
Result<UniqueFd> OpenBelow(int root, const std::string& relative);
// Removes the file or tree `name`. OK if it is not there.
Status RemoveBelow(int dir, const std::string& name);
// Writes a regular file's contents to `fd` (empty, at offset 0), holes as holes.
Status WriteContents(FileReader& reader, int fd, const std::string& what);
// Whether the file `name` has exactly the reader's contents.
Result<bool> SameContents(FileReader& reader, int dir, const std::string& name);
// Makes anything but a regular file or directory, under `name`, which must be free.
Status MakeSpecial(int dir, const std::string& name, const Entry& entry);
// A name beside `name` that nobody else uses.
std::string TemporaryName();

}  // namespace bkfs

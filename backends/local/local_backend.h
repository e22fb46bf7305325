// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "engine/repo/backend.h"

namespace bkfs {

// A store in a folder: an object is the file of its name below it. New files are private to the
// user (0600, folders 0700, less the umask).
//
// Put writes a file in "_tmp/" (which no object can be named), syncs it, renames it without ever
// replacing another, and syncs the folder, so that an object is there whole or not at all, also
// after a power cut, and also when several processes and machines put at once. What a killed
// process left in "_tmp/" is removed by an open a day later. Symbolic links below the folder are
// not followed: List passes over them, everything else is kDenied.
//
// `create`: makes the folder, if need be. Otherwise kNoRepository when it is not there.
// kNotDirectory when `path` is something else.
Result<std::unique_ptr<Backend>> OpenLocalBackend(const std::string& path, bool create);

}  // namespace bkfs

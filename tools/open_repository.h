// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "engine/format/keyfile.h"
#include "engine/repo/repository.h"
#include "tools/config.h"

namespace bkfs {

// Reads a keyfile. A passphrase comes from `passphrase_file` (its first line) or, when that is
// empty, from the terminal. kInvalid when the file cannot be read, kWrongKey when it is damaged or
// the passphrase is wrong. Warns in the log when others may read the file.
Result<KeyMaterial> LoadKeyfile(const std::string& key_file, const std::string& passphrase_file,
                                Logger& log);

// Where caches go unless told otherwise: /var/cache/bkfs for root, else $XDG_CACHE_HOME/bkfs or
// ~/.cache/bkfs.
Result<std::string> DefaultCacheDirectory(const Environment& env);
// config.cache_directory or the default, as an absolute path.
Result<std::string> CacheDirectoryOf(const Config& config, const Environment& env);

// Sizes of the repository's caches such that they use `total` bytes together.
void ShareCacheMemory(uint64_t total, Repository::Options& options);

// Store, keyfile, checks, caches: the repository that a configuration names. `options` says more
// than the configuration does; its cache_directory is filled in. Log and clock outlive the result.
Result<std::unique_ptr<Repository>> OpenRepository(const Config& config, const Environment& env,
                                                   Repository::Options options, Logger& log,
                                                   Clock& clock);
// The same with a store that has been opened and a key that has been loaded already.
Result<std::unique_ptr<Repository>> OpenRepositoryIn(std::unique_ptr<Backend> store,
                                                     KeyMaterial key, const Config& config,
                                                     const Environment& env,
                                                     Repository::Options options, Logger& log,
                                                     Clock& clock);

}  // namespace bkfs

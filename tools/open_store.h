// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "backends/decorators/mirror_backend.h"
#include "engine/base/log.h"
#include "engine/repo/backend.h"
#include "tools/config.h"
#include "tools/store_url.h"

namespace bkfs {

// The store at config.url, with what the configuration puts around it: tries again, gives up what
// stalls, keeps to a bandwidth, has a mirror. `log` outlives it. kNoRepository when the place does
// not exist and `create` is false; kInvalid, naming what there is, for a URL of no known kind, and
// for a mirror that is none. Asks on the terminal for a password or a secret that is missing.
//
// A mirror that cannot be reached is a warning, but with `create`. A primary that cannot is an
// error, which says what can be done with the mirror.
Result<std::unique_ptr<Backend>> OpenStore(const Config& config, const Environment& env,
                                           bool create, Logger& log);

// The same to be checked: reads come from the primary alone, nothing is kept on disk.
struct StoreToCheck {
  std::unique_ptr<Backend> store;
  MirrorBackend* mirrored = nullptr;  // in `store`; null without a mirror
};
Result<StoreToCheck> OpenStoreToCheck(const Config& config, const Environment& env, Logger& log);

// The same store with what is read from it kept in `directory`, if it is far and the configuration
// does not say otherwise. Without where another process has that directory.
std::unique_ptr<Backend> KeepWhatIsRead(std::unique_ptr<Backend> store, const Config& config,
                                        const std::string& directory, Logger& log);

}  // namespace bkfs

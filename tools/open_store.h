// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "engine/base/log.h"
#include "engine/repo/backend.h"
#include "tools/config.h"
#include "tools/store_url.h"

namespace bkfs {

// The store at config.url, with what the configuration puts around it: tries again, gives up what
// stalls, keeps to a bandwidth. `log` outlives it. kNoRepository when the place does not exist and
// `create` is false; kInvalid, naming what there is, for a URL of no known kind. Asks on the
// terminal for a password or a secret that is missing.
Result<std::unique_ptr<Backend>> OpenStore(const Config& config, bool create, Logger& log);

// The same store with what is read from it kept in `directory`, if it is far and the configuration
// does not say otherwise. Without where another process has that directory.
std::unique_ptr<Backend> KeepWhatIsRead(std::unique_ptr<Backend> store, const Config& config,
                                        const std::string& directory, Logger& log);

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "engine/crypto/secret.h"

namespace bkfs {

// Asks on the terminal, without echo. kInvalid when there is none, kInterrupted at end of input.
Result<Secret> PromptSecret(const std::string& prompt);
// The first line of a file, without its line feed. kInvalid when it cannot be read or is empty.
Result<Secret> ReadPassphraseFile(const std::string& path);

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "engine/base/status.h"
#include "engine/crypto/secret.h"

namespace bkfs {

// A private key as ssh-keygen or OpenSSL write it.
struct KeyFile {
  Secret text;  // all of the file, and a zero byte
  bool encrypted = false;
  std::string type;  // "ssh-rsa"; empty where the file tells only who can decrypt it
};
// kNotFound; kInvalid, saying why, for a file that is no private key.
Result<KeyFile> ReadKeyFile(const std::string& path);

}  // namespace bkfs

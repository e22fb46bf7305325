// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace bkfs {

// What a repository's URL is of.
enum class StoreKind {
  kLocal,    // a path, file:///path
  kSftp,     // user@host:/path, sftp://, ssh://
  kS3,       // https://, http://, s3://
  kUnknown,  // another scheme
};
StoreKind StoreKindOf(std::string_view url);

// The folder that a URL of the kind kLocal names; nullopt for the others.
std::optional<std::string> LocalPathOf(std::string_view url);

}  // namespace bkfs

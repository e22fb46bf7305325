// SPDX-License-Identifier: Apache-2.0
#include "tools/store_url.h"

namespace bkfs {

namespace {
constexpr std::string_view kFile = "file://";
}  // namespace

StoreKind StoreKindOf(std::string_view url) {
  const size_t colon = url.find(':');
  // As rsync and scp have it: a colon before the first slash is not of a path; "./a:b" is one.
  if (colon == 0 || colon == std::string_view::npos || url.find('/') < colon) {
    return StoreKind::kLocal;
  }
  if (!url.substr(colon).starts_with("://")) return StoreKind::kSftp;
  const std::string_view scheme = url.substr(0, colon);
  if (scheme == "file") return StoreKind::kLocal;
  if (scheme == "sftp" || scheme == "ssh") return StoreKind::kSftp;
  if (scheme == "https" || scheme == "http" || scheme == "s3") return StoreKind::kS3;
  return StoreKind::kUnknown;
}

std::optional<std::string> LocalPathOf(std::string_view url) {
  if (StoreKindOf(url) != StoreKind::kLocal) return std::nullopt;
  return std::string(url.starts_with(kFile) ? url.substr(kFile.size()) : url);
}

}  // namespace bkfs

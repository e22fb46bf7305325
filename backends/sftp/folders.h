// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "backends/sftp/sftp_client.h"

namespace bkfs {

struct FolderContents {
  Status status;  // kNotFound: there is no such folder
  std::vector<SftpEntry> entries;
};
// Reads several folders at once: as many round trips as for the one with the most names. Fails as
// a whole only with the connection.
Result<std::vector<FolderContents>> ReadFolders(SftpClient& client,
                                                std::span<const std::string> paths,
                                                const std::string& what);

// Makes the folder and what is missing above it, but not above `root`, which is there already. The
// parents of those made, the nearest to the root first.
Result<std::vector<std::string>> MakeFolders(SftpClient& client, const std::string& root,
                                             const std::string& relative, const std::string& what);

}  // namespace bkfs

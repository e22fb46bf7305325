// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "backends/sftp/sftp_client.h"

namespace bkfs {

// How a server gives a file its name without ever replacing another one.
enum class NamingWay : uint8_t {
  kLink,    // a hard link, and the old name removed
  kRename,  // a plain rename, which this server refuses where the name is taken
  kNone,    // it does neither
};

struct ServerWays {
  NamingWay naming = NamingWay::kNone;
  uint32_t now = 0;  // of the server's clock, in seconds since 1970
};

// Tries it out with throw-away files in `folder`, which is made if need be. `what`: the store, for
// errors.
Result<ServerWays> ProbeServer(SftpClient& client, const std::string& folder,
                               const std::string& what);

// Asks for the file `from` to have the name `to`. Any failure may mean that the name is taken. In
// the way of kLink the old name is still there afterwards.
uint32_t AskForName(SftpClient& client, NamingWay way, const std::string& from,
                    const std::string& to);

// Makes what was named, made, or removed in the folder durable. Fails where the server has no way
// to.
Status SyncFolder(SftpClient& client, const std::string& folder, const std::string& what);

// A name nobody else uses.
std::string RandomFileName();

}  // namespace bkfs

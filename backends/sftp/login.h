// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "backends/sftp/sftp_backend.h"
#include "backends/sftp/ssh_session.h"

namespace bkfs {

// What a person has answered, for the connections made later, which ask nobody. Changed only while
// `ask` is there, which is while one thread has the store.
struct Credentials {
  SecretPrompt ask;
  Secret password;
  std::map<std::string, Secret> passphrases;  // by key file
};

// Logs in, trying what sftp_backend.h says in its order. kDenied, with all that was tried.
// `until_ns`: for the agent to answer.
Status LogIn(SshSession& session, const SftpOptions& options, Credentials& credentials,
             int64_t until_ns);

// The home folder of who runs this program; empty if unknown.
std::string LocalHome();

}  // namespace bkfs

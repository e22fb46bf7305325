// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/bytes.h"
#include "engine/base/fd.h"

namespace bkfs {

// The SSH agent behind SSH_AUTH_SOCK (draft-miller-ssh-agent). Not libssh2's own client, which
// blocks for as long as the agent does not answer: one that asks its user, or is at the far end of
// a connection that is gone. Waiting is watched. One thread at a time.
class SshAgent {
 public:
  // kNotFound when there is none. It must answer before `until_ns` on the monotonic clock.
  static Result<std::unique_ptr<SshAgent>> Connect(int64_t until_ns);

  // Public keys of the kinds libssh2 can log in with.
  Result<std::vector<Bytes>> Keys();
  // The signature alone, without the name of its algorithm. `data` is what SSH wants signed to log
  // in, and says itself which algorithm that is.
  Result<Bytes> Sign(ByteView key, ByteView data);

 private:
  SshAgent(UniqueFd fd, int64_t until_ns) : fd_(std::move(fd)), until_ns_(until_ns) {}
  Result<Bytes> Ask(const Bytes& body);

  const UniqueFd fd_;
  const int64_t until_ns_;
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "engine/base/log.h"
#include "engine/crypto/secret.h"
#include "engine/repo/backend.h"

namespace bkfs {

// Asks a person for a secret; `prompt` is one line such as "password of bob@host". An error means
// that nobody can be asked, or would not answer.
using SecretPrompt = std::function<Result<Secret>(const std::string& prompt)>;

struct SftpOptions {
  std::string user;  // empty: who runs this program
  std::string host;  // name or address, without brackets
  uint16_t port = 22;
  std::string path;  // absolute, or relative to the home folder of `user` there ("~/x" as well)

  std::string key_file;          // empty: ~/.ssh/id_ed25519, id_ecdsa, id_rsa, those that are there
  std::string fingerprint;       // of the host's key, "SHA256:<base64>" as ssh-keygen prints it
  std::string known_hosts_file;  // empty: ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts
  Secret password;
  SecretPrompt ask;  // may be empty; called by OpenSftpBackend alone, never later

  unsigned connections = 4;  // at most this many at a time, made when needed
  // To resolve, connect, and log in; without the time a person takes to answer.
  int64_t connect_limit_ns = 30'000'000'000;
  // For how long the server may let nothing be heard while something is asked of it.
  int64_t silence_limit_ns = 90'000'000'000;
};

// From "user@host:path" (user optional), "ssh://user@host:port/path" and
// "sftp://user@host:port/path". In the forms with a scheme the path is absolute, "/~/x" is below
// the home folder, and %XX stands for a byte. An address of IPv6 stands in brackets. kInvalid,
// saying why, for everything else, and for a password in the place: it would be seen by others on
// this machine.
Result<SftpOptions> ParseSftpUrl(std::string_view url);
// Whether `text` is of the form "host:path": a ':' before the first '/', and no "://". The same
// rule as that of rsync and scp; a local name with a ':' is given as "./name".
bool IsScpForm(std::string_view text);

// A store in a folder on a machine that is reached over SSH: an object is the file of its name
// below it, private to the user (0600, folders 0700). The layout is that of the local store, so a
// folder may be used through both.
//
// What the server must offer: SFTP version 3, and a way to give a file its name without replacing
// another one: hard links (hardlink@openssh.com) or a rename that refuses. That is tried with
// throw-away files by the first Put, which is kUnsupported, like all that follow, on a server with
// neither. (A rename that refuses may be two steps inside the server, on filesystems without hard
// links; a warning in the log says when a store depends on one.) posix-rename@openssh.com is never
// used.
//
// Put writes a file in "_tmp/", has it synced (fsync@openssh.com), compares its size, names it, and
// has the folder synced: SFTP has no request for that, but servers that open folders like files
// (OpenSSH does) take one. Where a server syncs nothing, a warning in the log says so once, and a
// power cut of the server may lose what was put. What interrupted uploads left in "_tmp/" is
// removed by a later Put of this object, or, a day later by the server's clock, by the first Put of
// another process or an open with `create`. Symbolic links are never objects: List passes over
// them, and they cannot be read. (Those on the way, in folders, are followed by the server.)
//
// Host keys: if `fingerprint` is given the host's key must have it, and nothing else counts; else
// the key must stand in a known_hosts file (plain, hashed, patterns, [host]:port; a key marked
// @revoked is refused, certificate authorities are not looked at). An unknown host and a changed
// key are errors, kDenied, that show the fingerprint seen. Nothing is accepted silently or written.
//
// Logging in is tried with, in this order: the agent of SSH_AUTH_SOCK (its first three keys only
// where a key file or a password is given, because servers count), the key files, the password,
// and `ask`: for the passphrase of a key file, or for what the server asks for. kDenied, with what
// was tried, when none was good.
//
// Threads: any number may call; each operation has a connection for itself and waits for one when
// all are busy. A connection that fails is dropped with all idle ones; the operation is
// kUnavailable and not tried again in here, the next one connects anew. When a watch of the calling
// thread refuses (engine/base/transfer.h) the operation ends with what it says and its connection
// is dropped. The destructor does not wait for the network.
//
// `create`: makes the folder and what is missing above it. Otherwise kNoRepository when it is not
// there. kNotDirectory when it is something else.
Result<std::unique_ptr<Backend>> OpenSftpBackend(SftpOptions options, Logger& log, bool create);

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "backends/sftp/folders.h"
#include "backends/sftp/pool.h"
#include "backends/sftp/publish.h"
#include "engine/base/log.h"
#include "engine/base/mutex.h"

namespace bkfs {

// What the operations of one store have in common: where it is, what its server can do, and what
// uploads have left there. Thread-safe.
class SftpStore {
 public:
  // `root`: the folder, as the server is told of it.
  SftpStore(std::string root, std::string description, Logger& log)
      : root_(std::move(root)), description_(std::move(description)), log_(log) {}

  const std::string& root() const { return root_; }
  const std::string& description() const { return description_; }
  // On the server, and for messages.
  std::string PathOf(const std::string& name) const;
  std::string NameOf(const std::string& name) const { return description_ + "/" + name; }
  std::string TemporaryFolder() const { return PathOf("_tmp"); }

  // Before the first change: finds out how to change things safely, tells the log what the server
  // cannot do, and removes what was left over a day ago.
  Result<NamingWay> Prepare(SftpClient& client) BKFS_EXCLUDES(mutex_);

  // Stores the parts under a name as Backend::Put says.
  Status Store(SftpClient& client, const std::string& name, std::span<const ByteView> parts);

  // Makes changes in the folder (a path) durable if the server can; one that is gone has none.
  Status Settle(SftpClient& client, const std::string& folder, const std::string& what);
  // Servers say "failure" to most of what goes wrong: finds out whether the disk is full or must
  // not be written to. `bytes`: how many there were to be.
  Status Explain(SftpClient& client, Status failure, uint64_t bytes);

 private:
  friend class Upload;
  void RemoveLeftovers(SftpClient& client, uint32_t now);
  bool SyncsFolders(SftpClient& client);
  void RemoveLitter(SftpClient& client) BKFS_EXCLUDES(mutex_);
  void AddLitter(std::string path) BKFS_EXCLUDES(mutex_);

  const std::string root_;
  const std::string description_;
  Logger& log_;
  enum class Answer : uint8_t { kUnknown, kYes, kNo };
  std::atomic<Answer> syncs_folders_{Answer::kUnknown};
  Mutex mutex_;  // a leaf
  std::optional<NamingWay> way_ BKFS_GUARDED_BY(mutex_);
  // Temporary files of this process whose connection was lost.
  std::vector<std::string> litter_ BKFS_GUARDED_BY(mutex_);
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/base/fd.h"
#include "engine/repo/repository.h"
#include "engine/staging/journal.h"

namespace bkfs {

// What the last backup of a series looked like, so that unchanged files need not be read. A key
// that reads directories takes it from the repository; a WriteOnly key from a sealed copy of the
// tree blobs it wrote itself, kept beside its caches.
class PreviousState {
 public:
  // References must outlive it. Sets itself up as the repository's local trees where it keeps any.
  // A local copy that is damaged, or in use by another backup, is done without: everything is read.
  static Result<std::unique_ptr<PreviousState>> Open(Repository& repo, const std::string& series,
                                                     const std::string& host);
  ~PreviousState();

  // The root of this key's last snapshot of the series; nullopt: none known.
  const std::optional<Entry>& root() const { return root_; }
  const SnapshotId& snapshot() const { return snapshot_; }
  // Where new tree blobs must be kept too; may be null.
  LocalTrees* trees();
  // Remembers a new last state. What goes wrong with that costs the next backup time, and nothing
  // else: it is a word in the log.
  void Remember(const Entry& root, const SnapshotId& snapshot);

 private:
  explicit PreviousState(Repository& repo) : repo_(repo) {}
  Bytes Key() const;
  Status LoadFromStore();
  Status OpenLocal();
  Status LoadLocal();
  Status Save(const Entry& root, const SnapshotId& snapshot);

  Repository& repo_;
  std::string series_;
  std::string host_;
  UniqueFd lock_;  // on the local directory: one backup at a time uses it
  std::unique_ptr<Journal> journal_;
  std::optional<Entry> root_;
  SnapshotId snapshot_;
};

}  // namespace bkfs

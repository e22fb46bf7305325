// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/base/fd.h"
#include "engine/base/mutex.h"

namespace bkfs {

// What this machine must not forget about a mirror, in a directory of the pair's own. Each process
// that changes something has a file there, locked while it lives: made and synced before its first
// change, removed when all its changes are on both stores. So a process that is killed anywhere
// leaves a file that nobody locks, and who opens the pair next knows that the mirror may lack
// something. The file says
//
//   behind            the mirror is known to lack something
//   removed NAME      this object is about to be removed (one a line)
//
// Only an object whose removal stands here is ever removed from the mirror by catching up: what is
// on the mirror alone may be what the primary has lost.
//
// Thread-safe. Its lock is held while the file is written and synced: a leaf otherwise.
class MirrorState {
 public:
  // Makes the directory, and takes over the files of processes that are no more.
  static Result<std::unique_ptr<MirrorState>> Open(const std::string& directory);

  // From construction to end, a change is under way. `status`: whether the file could be written;
  // the change may be made without, when it is said that a crash would forget it.
  class Change {
   public:
    explicit Change(MirrorState& state) : state_(state), status_(state.Begin()) {}
    ~Change() { state_.End(); }
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;
    const Status& status() const { return status_; }

   private:
    MirrorState& state_;
    const Status status_;
  };

  // Durable when they return. Within a Change.
  Status NoteBehind() BKFS_EXCLUDES(mutex_);
  Status NoteRemovals(const std::vector<std::string>& names) BKFS_EXCLUDES(mutex_);

  // Whether this process took over files, or another that lives says that the mirror is behind.
  Result<bool> IsBehind() const BKFS_EXCLUDES(mutex_);
  // What all files together say was to be removed.
  Result<std::vector<std::string>> Removals() const BKFS_EXCLUDES(mutex_);
  // Both stores have all that this process did, or took over, but for changes that are under way:
  // its files go, the own one only when there are none.
  void Finish() BKFS_EXCLUDES(mutex_);

 private:
  struct Held {
    std::string path;
    UniqueFd fd;  // has the lock
  };

  explicit MirrorState(std::string directory) : directory_(std::move(directory)) {}
  Status TakeOver() BKFS_EXCLUDES(mutex_);
  Result<std::vector<std::string>> Paths() const;
  Status Begin() BKFS_EXCLUDES(mutex_);
  void End() BKFS_EXCLUDES(mutex_);
  Status MakeOwn() BKFS_REQUIRES(mutex_);
  Status AppendLines(const std::string& lines) BKFS_REQUIRES(mutex_);

  const std::string directory_;
  mutable Mutex mutex_;
  Held own_ BKFS_GUARDED_BY(mutex_);
  bool own_is_behind_ BKFS_GUARDED_BY(mutex_) = false;
  std::vector<Held> taken_ BKFS_GUARDED_BY(mutex_);
  uint64_t under_way_ BKFS_GUARDED_BY(mutex_) = 0;
};

}  // namespace bkfs

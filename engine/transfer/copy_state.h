// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/base/fd.h"
#include "engine/repo/repository.h"
#include "engine/repo/tree_writer.h"
#include "engine/staging/journal.h"

namespace bkfs {

// A snapshot that was copied, as the destination has it.
struct CopiedRecord {
  using Tag = std::array<uint8_t, 16>;
  SnapshotId source;
  SnapshotId copy;
  BlobId root;    // its root directory in the destination
  LeaseId lease;  // it was made under
  Tag tag{};      // of the directories that were copied with it
};

// What is remembered, sealed, beside the destination's caches of what was copied from one
// repository to another: ids differ between them, so without it everything would have to be read to
// be known again. Losing it costs that, and nothing else. Not thread-safe.
//
// A directory is remembered with the tag of the snapshot it was copied for, and is told only while
// that tag is trusted: that its own blob is stored says nothing about what is below it.
class CopyState {
 public:
  using Tag = CopiedRecord::Tag;

  // kBusy: another copy between these two runs here. What is damaged is begun anew, with a warning
  // in the destination's log. `to` outlives it.
  static Result<std::unique_ptr<CopyState>> Open(Repository& to, const RepoId& from);
  // Writes what is not written yet.
  ~CopyState();

  Result<std::vector<CopiedRecord>> Snapshots();
  Status PutSnapshot(const CopiedRecord& record);

  void Trust(const Tag& tag) { trusted_.insert(tag); }
  // Directories that are put from now on have this tag, which is trusted.
  void Use(const Tag& tag);
  const Tag& current() const { return current_; }
  struct Directory {
    DirectoryRef ref;  // without the count
    Tag tag{};
  };
  Result<std::optional<Directory>> FindDirectory(const BlobId& source);
  Status PutDirectory(const BlobId& source, const DirectoryRef& copy);

  // The destination's id of a blob; whether the destination still has it, its writer knows.
  Result<std::optional<BlobId>> FindContents(const BlobId& source);
  Status PutContents(const BlobId& source, const BlobId& copy);
  Status Flush();

 private:
  explicit CopyState(Repository& to) : to_(to) {}
  Result<std::optional<Bytes>> Get(const Bytes& key);
  Status Put(Bytes key, Bytes value);

  Repository& to_;
  UniqueFd lock_;
  std::unique_ptr<Journal> journal_;
  std::set<Tag> trusted_;
  Tag current_{};
  struct KeyHash {
    size_t operator()(const Bytes& key) const { return Load<size_t>(key.data() + 1); }
  };
  std::unordered_map<Bytes, Bytes, KeyHash> unwritten_;
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "engine/base/fd.h"
#include "engine/repo/tree_writer.h"
#include "engine/transfer/local_tree.h"
#include "engine/transfer/name_list.h"
#include "engine/transfer/source_paths.h"

// What a backup holds of the directories and files it has in hand.
namespace bkfs {

using SharedFd = std::shared_ptr<UniqueFd>;  // a directory, until the last file in it has been read
struct BackupDirectory;

// One directory entry on its way: its contents may still be being read. After it was given to the
// pool everything in it belongs to that thread until `done`, which is under the run's mutex.
struct BackupItem {
  Entry entry;
  FileIdentity identity;
  std::string path;
  SharedFd dir;
  std::optional<Entry> before;             // looks unchanged, and its many pieces must be looked up
  std::shared_ptr<BackupItem> first;       // an earlier name of the same file
  std::shared_ptr<BackupDirectory> below;  // of a directory
  bool done = true;
  bool replaced = false;  // by another file since it was found
  Status failure;         // why it is not in the snapshot
};
using ItemPtr = std::shared_ptr<BackupItem>;

// A directory whose entries are being gathered. Used by the walking thread only.
struct BackupDirectory {
  BackupDirectory(BlobWriter& blobs, ByteView chunker_key, LocalTrees* local)
      : out(blobs, chunker_key, local) {}

  BackupDirectory* parent = nullptr;  // outlives this one
  std::string path;
  std::string relative;             // from the snapshot's root
  SharedFd fd;                      // null once all names have been looked at
  BlobId previous;                  // its state in the last snapshot
  dev_t device = 0;                 // not to be left, if asked so
  const SourceNode* way = nullptr;  // not null: only what leads to sources is taken
  NameList names;
  size_t next = 0;
  std::deque<ItemPtr> waiting;  // in name order, not in `out` yet
  DirectoryWriter out;
  bool closed = false;    // nothing more comes
  bool finished = false;  // `ref` is there
  DirectoryRef ref;
};
using DirPtr = std::shared_ptr<BackupDirectory>;

}  // namespace bkfs

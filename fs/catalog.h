// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "engine/repo/snapshot_store.h"
#include "fs/types.h"

namespace bkfs {

// Numbers given to snapshots and series when they are first seen, ascending and never given again:
// the cursors of directory listings, so that a listing goes on at its place while others come and
// go.
class CatalogNumbers {
 public:
  uint64_t OfSnapshot(const SnapshotId& id);
  uint64_t OfSeries(const std::string& name);

 private:
  uint64_t next_ = 1;
  std::unordered_map<SnapshotId, uint64_t, IdHash> snapshots_;
  std::map<std::string, uint64_t> series_;
};

// What the top directories show: the snapshots and series there are at one moment. Immutable.
class Catalog {
 public:
  using SnapshotPtr = std::shared_ptr<const Snapshot>;  // shared with SnapshotStore
  struct Series {
    std::string name;
    Ino directory = 0;  // /by-name/<name>
    Ino latest_link = 0;
    SnapshotPtr latest;
    struct Item {
      std::string
          name;  // of the link: the snapshot's UTC time, with "-2" and so on where it is taken
      Ino link = 0;
      SnapshotPtr snapshot;
    };
    std::map<uint64_t, Item> items;                        // by number
    std::map<std::string, uint64_t, std::less<>> by_name;  // link name -> number
  };
  // What an inode of the links' view is.
  struct Link {
    const Series* series = nullptr;
    SnapshotPtr snapshot;  // null: the directory /by-name/<series>
    bool latest = false;   // /latest/<series>
  };

  Catalog() = default;
  Catalog(const SnapshotList& list, CatalogNumbers& numbers);
  Catalog(const Catalog&) = delete;
  Catalog& operator=(const Catalog&) = delete;

  const std::map<uint64_t, SnapshotPtr>& snapshots() const { return snapshots_; }  // by number
  SnapshotPtr FindSnapshot(const SnapshotId& id) const;                 // null if it is not there
  const std::map<uint64_t, Series>& series() const { return series_; }  // by number
  const Series* FindSeries(std::string_view name) const;
  const Link* FindLink(Ino ino) const;
  int64_t newest_ns() const { return newest_ns_; }  // time of the newest snapshot; 0: there is none
  bool SameSnapshots(const SnapshotList& list) const;

 private:
  void AddToSeries(uint64_t number, const SnapshotPtr& snapshot, CatalogNumbers& numbers);
  Ino AddLink(std::string_view what, std::string_view series, std::string_view item, Link link);

  std::map<uint64_t, SnapshotPtr> snapshots_;
  std::unordered_map<SnapshotId, SnapshotPtr, IdHash> by_id_;
  std::map<uint64_t, Series> series_;
  std::map<std::string, Series*, std::less<>> series_by_name_;
  std::unordered_map<Ino, Link> links_;
  int64_t newest_ns_ = 0;
};

using CatalogPtr = std::shared_ptr<const Catalog>;  // shared by the keeper and readers at work

}  // namespace bkfs

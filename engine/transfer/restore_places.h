// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/base/fd.h"
#include "engine/base/mutex.h"
#include "engine/format/tree.h"
#include "engine/transfer/local_tree.h"

// What a restore holds of the directories and linked files it has in hand.
namespace bkfs {

// A directory of the destination while anything in it or below it is still to be done. When the
// last PlaceRef goes, `finish` gets it, after all that lie below it: that is when its mode and
// times can be set.
struct Place {
  Place* parent = nullptr;  // holds a reference
  std::string path;         // below the destination; empty: the destination itself
  UniqueFd fd;              // invalid in a dry run that would make it
  Entry entry;              // what it becomes
  const std::function<void(Place&)>* finish = nullptr;
  std::atomic<size_t> references{0};

  std::string PathOf(std::string_view name) const {
    return path.empty() ? std::string(name) : path + "/" + std::string(name);
  }
};

// Counts references by hand, so that the end of a deep tree takes no deep stack. Thread-safe as a
// shared_ptr is.
class PlaceRef {
 public:
  PlaceRef() = default;
  explicit PlaceRef(Place* place) : place_(place) { ++place_->references; }
  PlaceRef(const PlaceRef& other) : place_(other.place_) {
    if (place_) ++place_->references;
  }
  PlaceRef(PlaceRef&& other) noexcept : place_(std::exchange(other.place_, nullptr)) {}
  PlaceRef& operator=(PlaceRef other) noexcept {
    std::swap(place_, other.place_);
    return *this;
  }
  ~PlaceRef();

  // A directory in this one, or without it the first.
  static PlaceRef Make(const PlaceRef& parent, std::string path, UniqueFd fd, Entry entry,
                       const std::function<void(Place&)>& finish);
  Place* operator->() const { return place_; }
  Place& operator*() const { return *place_; }

 private:
  Place* place_ = nullptr;
};

// Which file of the destination the names of a link group stand for. The first name that comes is
// restored; the others are linked to it when that is done. Thread-safe.
class LinkTable {
 public:
  struct Target {
    Status made;            // why there is nothing to link to
    FileIdentity identity;  // zero in a dry run
    std::string path;       // below the destination
  };
  struct Later {
    PlaceRef place;
    Entry entry;
  };
  enum class Turn {
    kFirst,  // restore it, then tell Done
    kLater,  // whoever restores the first will see to it
    kNow,    // link it to `target`
  };
  Turn Ask(const PlaceRef& place, const Entry& entry, Target& target) BKFS_EXCLUDES(mutex_);
  // The first name has been restored, or not. Returns those that wait for it.
  std::vector<Later> Done(uint64_t group, Target target) BKFS_EXCLUDES(mutex_);
  // Whether this file of the destination may stand for the group: false if it does for another.
  bool Claim(const FileIdentity& identity, uint64_t group) BKFS_EXCLUDES(mutex_);

 private:
  struct Group {
    bool done = false;
    Target target;
    std::vector<Later> later;
  };
  struct Hash {
    size_t operator()(const FileIdentity& id) const {
      return (id.inode ^ id.device << 32) * 0x9E3779B97F4A7C15ULL >> 7;
    }
  };
  Mutex mutex_;  // a leaf
  std::unordered_map<uint64_t, Group> groups_ BKFS_GUARDED_BY(mutex_);
  std::unordered_map<FileIdentity, uint64_t, Hash> claims_ BKFS_GUARDED_BY(mutex_);
};

}  // namespace bkfs

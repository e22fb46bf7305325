// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <string>

#include "engine/base/mutex.h"
#include "engine/format/pack.h"
#include "engine/repo/backend.h"

namespace bkfs {

// Reads ranges of packs such that a store far away is asked seldom: of a pack that is read at
// several places, or in order, it fetches more than it was asked for, up to 4 MiB a request, and
// keeps that, sealed as it is, in memory for a while. What is near (Backend::IsNear) is read as
// it is asked for and not kept. Thread-safe; no lock is held during a request.
//
// What it expects: the directories of a snapshot are one after the other in packs of their own,
// written bottom up, so each further miss in such a pack fetches twice as much around it; contents
// are read in the order they were written or not at all, so only a miss right behind the last one
// fetches more, from there on.
class PackWindows {
 public:
  PackWindows(Backend& store, uint64_t memory_bytes) : store_(store), limit_(memory_bytes) {}

  struct Pack {
    uint32_t number = 0;  // this machine's, unique
    PackKind kind = PackKind::kContents;
    uint64_t size = 0;
    std::string name;
  };
  // As Backend::ReadAt. Ends when the thread's watches say so, also while it waits for another
  // thread that fetches the same.
  Status Read(const Pack& pack, uint64_t offset, MutableByteView out) BKFS_EXCLUDES(mutex_);
  // Fetches what is not here yet of that range, up to what is, in one request, if it is far. Errors
  // are met by Read.
  void Fetch(const Pack& pack, uint64_t offset, uint64_t length) BKFS_EXCLUDES(mutex_);
  // What a reader in order, who has just read at `offset`, will want that is not being fetched yet:
  // for the caller to Fetch on another thread. Each range is told once. Length 0: nothing.
  struct Range {
    uint64_t offset = 0;
    uint64_t length = 0;
  };
  Range Ahead(const Pack& pack, uint64_t offset) BKFS_EXCLUDES(mutex_);
  uint64_t bytes() BKFS_EXCLUDES(mutex_);  // kept at the moment

 private:
  struct Window {
    uint32_t pack = 0;
    uint64_t begin = 0;
    uint64_t end = 0;
    bool ready = false;
    Bytes bytes;
  };
  using WindowPtr = std::shared_ptr<Window>;
  using Order = std::list<WindowPtr>;
  using Key = std::pair<uint32_t, uint64_t>;  // pack, begin
  // What was read of a pack last.
  struct Habit {
    uint64_t next = 0;  // where a reader in order comes next
    uint64_t step = 0;  // bytes of the last request beyond need
  };

  WindowPtr At(uint32_t pack, uint64_t offset) BKFS_REQUIRES(mutex_);  // null: none holds it
  // The same once it is here. A failure is the watches'.
  Result<WindowPtr> Await(uint32_t pack, uint64_t offset) BKFS_EXCLUDES(mutex_);
  // A window with the byte at `begin`, for the caller to load; null when there is one already.
  WindowPtr Begin(const Pack& pack, uint64_t begin, uint64_t end) BKFS_EXCLUDES(mutex_);
  // One as wide as the pack's habit says.
  WindowPtr Plan(const Pack& pack, uint64_t begin, uint64_t end) BKFS_REQUIRES(mutex_);
  // Windows do not overlap: to what no other has, around the byte at `wanted`.
  void Narrow(Window& window, uint64_t wanted) BKFS_REQUIRES(mutex_);
  void Insert(const WindowPtr& window) BKFS_REQUIRES(mutex_);
  void Erase(const WindowPtr& window) BKFS_REQUIRES(mutex_);
  Status Load(const Pack& pack, const WindowPtr& window) BKFS_EXCLUDES(mutex_);
  void Evict() BKFS_REQUIRES(mutex_);

  Backend& store_;
  const uint64_t limit_;
  Mutex mutex_;
  CondVar loaded_;
  uint64_t bytes_ BKFS_GUARDED_BY(mutex_) = 0;
  Order order_ BKFS_GUARDED_BY(mutex_);  // most recent first
  std::map<Key, Order::iterator> windows_ BKFS_GUARDED_BY(mutex_);
  std::map<uint32_t, Habit> habits_ BKFS_GUARDED_BY(mutex_);
};

}  // namespace bkfs

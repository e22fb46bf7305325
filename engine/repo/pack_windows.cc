// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/pack_windows.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "engine/base/transfer.h"

namespace bkfs {

namespace {
constexpr uint64_t kFirstTrees = 256 << 10;
constexpr uint64_t kFirstContents = 1 << 20;
constexpr uint64_t kMostBytes = 4 << 20;
constexpr uint64_t kBehind = 128 << 10;  // a gap that a reader in order may leave
constexpr size_t kHabits = 4096;
constexpr int64_t kLookNs = 100'000'000;
}  // namespace

PackWindows::WindowPtr PackWindows::At(uint32_t pack, uint64_t offset) {
  auto after = windows_.upper_bound({pack, offset});
  if (after == windows_.begin()) return nullptr;
  Order::iterator at = std::prev(after)->second;
  const WindowPtr window = *at;
  if (window->pack != pack || offset >= window->end) return nullptr;
  order_.splice(order_.begin(), order_, at);
  return window;
}

void PackWindows::Narrow(Window& window, uint64_t wanted) {
  auto next = windows_.upper_bound({window.pack, wanted});
  if (next != windows_.end() && next->first.first == window.pack) {
    window.end = std::min(window.end, next->first.second);
  }
  if (next == windows_.begin()) return;
  const Window& before = **std::prev(next)->second;
  if (before.pack == window.pack) window.begin = std::max(window.begin, before.end);
}

PackWindows::WindowPtr PackWindows::Plan(const Pack& pack, uint64_t begin, uint64_t end) {
  if (habits_.size() > kHabits) habits_.clear();
  auto [at, is_new] = habits_.try_emplace(pack.number);
  Habit& habit = at->second;
  auto window = std::make_shared<Window>();
  window->pack = pack.number;
  window->begin = begin;
  window->end = end;
  if (pack.kind == PackKind::kTrees) {
    habit.step = habit.step == 0 ? kFirstTrees : std::min(habit.step * 2, kMostBytes);
    window->begin = begin / habit.step * habit.step;
    window->end = std::max(end, window->begin + habit.step);
  } else if (!is_new && begin >= habit.next && begin <= habit.next + kBehind) {
    habit.step = habit.step == 0 ? kFirstContents : std::min(habit.step * 2, kMostBytes);
    window->end = std::max(end, begin + habit.step);
  } else {
    habit.step = 0;
  }
  window->end = std::min(window->end, std::max(pack.size, end));
  Narrow(*window, begin);
  habit.next = window->end;
  return window;
}

void PackWindows::Insert(const WindowPtr& window) {
  order_.push_front(window);
  windows_[{window->pack, window->begin}] = order_.begin();
}

void PackWindows::Erase(const WindowPtr& window) {
  auto found = windows_.find({window->pack, window->begin});
  if (found == windows_.end() || *found->second != window) return;
  if (window->ready) bytes_ -= window->bytes.size();
  order_.erase(found->second);
  windows_.erase(found);
}

Status PackWindows::Load(const Pack& pack, const WindowPtr& window) {
  Bytes bytes(window->end - window->begin);
  Status read = store_.ReadAt(pack.name, window->begin, bytes);
  MutexLock lock(mutex_);
  auto found = windows_.find({window->pack, window->begin});
  const bool kept = found != windows_.end() && *found->second == window;
  if (read.ok()) {
    window->bytes = std::move(bytes);
    window->ready = true;
    if (kept) bytes_ += window->bytes.size();
  } else {
    Erase(window);
  }
  Evict();
  loaded_.NotifyAll();
  return read;
}

Result<PackWindows::WindowPtr> PackWindows::Await(uint32_t pack, uint64_t offset) {
  for (;;) {
    {
      MutexLock lock(mutex_);
      WindowPtr window = At(pack, offset);
      if (!window || window->ready) return window;
      loaded_.WaitFor(mutex_, kLookNs);
      if (window->ready) return window;
    }
    BKFS_TRY(TellWaiting());
  }
}

PackWindows::WindowPtr PackWindows::Begin(const Pack& pack, uint64_t begin, uint64_t end) {
  MutexLock lock(mutex_);
  if (At(pack.number, begin)) return nullptr;
  WindowPtr window = Plan(pack, begin, end);
  Insert(window);
  return window;
}

// Piece by piece, as windows end in the middle of what is wanted.
Status PackWindows::Read(const Pack& pack, uint64_t offset, MutableByteView out) {
  while (!out.empty()) {
    BKFS_ASSIGN(WindowPtr window, Await(pack.number, offset));
    if (!window) {
      if (store_.IsNear(pack.name, offset, out.size())) {
        return store_.ReadAt(pack.name, offset, out);
      }
      window = Begin(pack, offset, offset + out.size());
      if (!window) continue;  // another thread was quicker
      Status loaded = Load(pack, window);
      // What is fetched beyond need may be damaged or cut off where the need is not.
      if (loaded.Is(Code::kCorrupt)) return store_.ReadAt(pack.name, offset, out);
      BKFS_TRY(loaded);
    }
    const size_t length = std::min<uint64_t>(out.size(), window->end - offset);
    std::memcpy(out.data(), window->bytes.data() + (offset - window->begin), length);
    offset += length;
    out = out.subspan(length);
  }
  return {};
}

void PackWindows::Fetch(const Pack& pack, uint64_t offset, uint64_t length) {
  const uint64_t end = offset + length;
  if (store_.IsNear(pack.name, offset, length)) return;
  auto window = std::make_shared<Window>();
  {
    MutexLock lock(mutex_);
    while (const WindowPtr there = At(pack.number, offset)) {
      offset = there->end;
      if (offset >= end) return;
    }
    window->pack = pack.number;
    window->begin = offset;
    window->end = end;
    Narrow(*window, offset);
    Insert(window);
  }
  (void)Load(pack, window);
}

PackWindows::Range PackWindows::Ahead(const Pack& pack, uint64_t offset) {
  if (pack.kind != PackKind::kContents) return {};
  MutexLock lock(mutex_);
  auto found = habits_.find(pack.number);
  if (found == habits_.end()) return {};
  Habit& habit = found->second;
  if (habit.step == 0 || habit.next >= pack.size || offset > habit.next) return {};
  if (offset + habit.step / 2 < habit.next) return {};  // not yet
  const Range range{habit.next, std::min(habit.step, pack.size - habit.next)};
  habit.step = std::min(habit.step * 2, kMostBytes);
  habit.next += range.length;
  return range;
}

void PackWindows::Evict() {
  auto it = order_.end();
  while (bytes_ > limit_ && it != order_.begin()) {
    --it;
    const WindowPtr window = *it;
    if (!window->ready) continue;  // being loaded: its loader finds it by its place
    bytes_ -= window->bytes.size();
    windows_.erase({window->pack, window->begin});
    it = order_.erase(it);
  }
}

uint64_t PackWindows::bytes() {
  MutexLock lock(mutex_);
  return bytes_;
}

}  // namespace bkfs

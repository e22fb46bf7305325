// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "engine/base/ids.h"
#include "engine/crypto/secret.h"
#include "engine/format/pack.h"

namespace bkfs {

// A pack between its first frame and its being stored. One writer at a time.
class SpooledPack {
 public:
  virtual ~SpooledPack() = default;
  // Appends bytes; `frame` (offset, length, plain, slot 0) and its blobs are remembered with them,
  // so that a spool on disk can complete the pack after a crash.
  virtual Status AppendFrame(ByteView sealed, const PackFrame& frame,
                             std::span<const PackBlob> blobs) = 0;
  // The pack's end. After this the pack is complete.
  virtual Status AppendEnd(ByteView pack_end, const SignedFooter& footer) = 0;
  // Another end of the same footer, and so of the same size, takes the place of the pack's own.
  virtual Status ReplaceEnd(ByteView pack_end) = 0;
  virtual Status ReadAt(uint64_t offset, MutableByteView out) = 0;
  // All bytes in parts, for storing. Valid until Discard.
  virtual Result<std::vector<ByteView>> Contents() = 0;
  // The pack is in the store (or given up): forgets bytes and key.
  virtual void Discard() = 0;
};

// Keeps blobs that were accepted but whose frame is not in a SpooledPack yet, for one frame.
class FrameGuard {
 public:
  virtual ~FrameGuard() = default;  // keeps what it protects for the next process
  // Survives kill -9 when it returns.
  virtual Status Protect(PackKind kind, const BlobId& id, ByteView data) = 0;
  // The frame is in a pack: forgets.
  virtual void Release() = 0;
};

// Where a writer keeps what is not in the store yet. Thread-safe.
class PackSpool {
 public:
  virtual ~PackSpool() = default;
  // `header` is the pack's first kPackHeader bytes, `slot` and `key` its data key (kept sealed
  // until Discard).
  virtual Result<std::unique_ptr<SpooledPack>> Create(PackKind kind, ByteView header,
                                                      const PackSlot& slot, ByteView key) = 0;
  // May wait for a guard to become free.
  virtual Result<std::unique_ptr<FrameGuard>> NewGuard() = 0;
  // Packs stored but in no index segment yet: remembered until ForgetStored.
  virtual Status RememberStored(const IndexedPack& pack) = 0;
  virtual Status ForgetStored(const std::vector<PackId>& packs) = 0;
  // Makes everything so far survive a power cut.
  virtual Status Sync() = 0;
};

// In memory: nothing survives, for commands that can simply be run again.
std::unique_ptr<PackSpool> NewMemorySpool();

}  // namespace bkfs

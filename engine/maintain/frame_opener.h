// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/codec/frame_codec.h"
#include "engine/repo/pack_keys.h"
#include "engine/repo/repository.h"

namespace bkfs {

// Opens frames of packs as maintenance has them at hand, and tells whether blobs are what they are
// said to be. Not thread-safe.
class FrameOpener {
 public:
  // `repo` outlives it. What its key cannot open is kDenied.
  explicit FrameOpener(Repository& repo);

  // What was sealed. `number` tells packs apart that are opened here; kCorrupt: it was changed.
  Result<Bytes> Unseal(const CachedPack& pack, uint32_t number, const PackFrame& frame,
                       ByteView sealed);
  // The plaintext of what was sealed. kCorrupt, kUnsupported: its writer sealed something else.
  Result<Bytes> Decode(const PackFrame& frame, ByteView inner);
  // OK when the bytes hash to the blob's id; kCorrupt otherwise: a writer that stored other bytes
  // than it said is not vouched for. `plain` is its frame's plaintext.
  Status CheckBlob(PackKind kind, const PackBlob& blob, ByteView plain) const;

 private:
  Repository& repo_;
  const Secret tree_id_key_;
  PackKeys keys_;
  FrameCodec codec_;
};

}  // namespace bkfs

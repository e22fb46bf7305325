// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "engine/codec/frame_codec.h"
#include "engine/crypto/hash.h"
#include "engine/repo/repository.h"

namespace bkfs {

// Makes one pack after the other out of frames that exist already and of blobs, and puts them into
// the store. In memory: maintenance can be run again. Not thread-safe.
class PackBuilder {
 public:
  struct Options {
    uint64_t pack_target = 32ULL << 20;
    uint32_t frame_plain = 512 << 10;  // plaintext bytes of a frame that is made here, about
    int level = 3;
  };
  // `kind` of all its packs. `repo` outlives it; its key is a Master or Maintain key.
  PackBuilder(Repository& repo, PackKind kind, Options options);

  // A frame with its blobs (whose `frame` field does not matter) and the slot it is sealed under.
  Status MoveFrame(ByteView sealed, uint32_t plain, const PackSlot& slot,
                   const std::vector<PackBlob>& blobs);
  // A blob whose plaintext has been verified; goes into a frame of this key's own.
  Status AddBlob(const BlobId& id, ByteView data);
  // Puts what is not in the store yet.
  Status Finish();

  // Packs put so far, for the index.
  std::vector<IndexedPack>& stored() { return stored_; }

 private:
  Status PutFrame(ByteView sealed, uint32_t plain, uint32_t slot,
                  const std::vector<PackBlob>& blobs);
  Status SealOpenFrame();
  Status PutPack();
  uint32_t SlotNumber(const PackSlot& slot);

  Repository& repo_;
  const PackKind kind_;
  const Options options_;
  FrameCodec codec_;
  Bytes object_;
  PackFooter footer_;
  std::map<Bytes, uint32_t> slots_;      // by box
  std::unique_ptr<FrameSealer> sealer_;  // of this pack's own key, if it has frames of it
  uint32_t own_slot_ = 0;
  Bytes plain_;  // the frame being filled
  std::vector<PackBlob> plain_blobs_;
  std::vector<IndexedPack> stored_;
};

}  // namespace bkfs

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
// the store, which copies frames itself where it can (Backend::Repack). In memory: maintenance can
// be run again. Not thread-safe.
class PackBuilder {
 public:
  struct Options {
    uint64_t pack_target = 32ULL << 20;
    uint32_t frame_plain = 512 << 10;  // plaintext bytes of a frame that is made here, about
    int level = 3;
    bool store_copies = true;  // until it turns out that the store cannot
  };
  // What went between this machine and the store, and what the store copied by itself, in bytes.
  struct Traffic {
    uint64_t read = 0;
    uint64_t sent = 0;
    uint64_t copied = 0;
  };
  // `kind` of all its packs. `repo` outlives it; its key is a Master or Maintain key.
  PackBuilder(Repository& repo, PackKind kind, Options options);

  // A frame with its blobs (whose `frame` field does not matter) and the slot it is sealed under.
  Status MoveFrame(ByteView sealed, uint32_t plain, const PackSlot& slot,
                   const std::vector<PackBlob>& blobs);
  // A frame as it lies in a pack of the store. It is copied with the pack it comes into; if the
  // source turns out to be damaged or gone then, without it, and see `lost`. kCorrupt for a source
  // that is known to be.
  Status MoveFrameOf(const PackId& source, const PackFrame& frame, const PackSlot& slot,
                     const std::vector<PackBlob>& blobs);
  // A blob whose plaintext has been verified; goes into a frame of this key's own.
  Status AddBlob(const BlobId& id, ByteView data);
  // Puts what is not in the store yet.
  Status Finish();

  // Packs put so far, for the index.
  std::vector<IndexedPack>& stored() { return stored_; }
  // Whether MoveFrameOf is worth while.
  bool store_copies() const { return store_copies_; }
  // Sources of which not all frames have been moved, and why. To be asked after Finish.
  const std::map<PackId, Status>& lost() const { return lost_; }
  uint64_t frames_lost() const { return frames_lost_; }  // of them, that MoveFrameOf had taken
  const Traffic& traffic() const { return traffic_; }

 private:
  // Where a frame of the pack that is being made is: in `source`, or here.
  struct Part {
    PackId source;  // zero: `bytes`
    uint64_t offset = 0;
    Bytes bytes;
  };

  Status PutFrame(Part part, PackFrame frame, const std::vector<PackBlob>& blobs);
  Status SealOpenFrame();
  Status PutPack();
  bool HasReferences() const;
  Result<bool> LetStoreCopy();
  Status CheckCopied(const RepackedObject& made, ByteView end);
  Status FetchSources();
  void DropFramesOf(const PackId& source);
  Status PutOwn();
  // Signs the footer and returns the end of the pack.
  Bytes MakeEnd(IndexedPack& indexed);
  Status Remember(IndexedPack indexed);
  void BeginPack();
  uint32_t SlotNumber(const PackSlot& slot);

  Repository& repo_;
  const PackKind kind_;
  const Options options_;
  FrameCodec codec_;
  const Bytes header_;
  PackFooter footer_;
  std::vector<Part> parts_;  // as footer_.frames
  uint64_t size_ = 0;        // of the pack, without its end
  bool store_copies_;
  std::map<PackId, Status> lost_;
  uint64_t frames_lost_ = 0;
  Traffic traffic_;
  std::map<Bytes, uint32_t> slots_;      // by box
  std::unique_ptr<FrameSealer> sealer_;  // of this pack's own key, if it has frames of it
  uint32_t own_slot_ = 0;
  Bytes plain_;  // the frame being filled
  std::vector<PackBlob> plain_blobs_;
  std::vector<IndexedPack> stored_;
};

}  // namespace bkfs

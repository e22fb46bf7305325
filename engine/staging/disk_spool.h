// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "engine/base/log.h"
#include "engine/repo/blob_writer.h"
#include "engine/repo/pack_spool.h"

namespace bkfs {

// A spool that survives kill -9: packs in files beside a log of their frames, guarded blobs in a
// small ring of files. Everything in it is sealed.
//
//   <dir>/<n>.pack   the pack's bytes so far (frames are sealed under the pack's own key)
//   <dir>/<n>.log    pack key, then a record per frame, then the footer; sealed under the local key
//   <dir>/ring.<k>   blobs whose frame is not in a pack yet, under a key of this use of the file
//   <dir>/stored.<pack id>   footer of a pack that no index segment lists yet
//
// When a pack is stored, its key is overwritten and the files are removed; when a frame has reached
// its pack, the ring file's key is overwritten. From then on nothing here opens what they held.
class DiskSpool final : public PackSpool {
 public:
  // `key`: local sealing key, 32 bytes. Makes the directory. Call Recover before the first write.
  static Result<std::unique_ptr<DiskSpool>> Open(const std::string& directory, Secret key,
                                                 const RepoId& repo, Logger& log);
  ~DiskSpool() override;

  // Hands what an earlier process left to `writer`, which must use this spool.
  Status Recover(BlobWriter& writer);

  Result<std::unique_ptr<SpooledPack>> Create(PackKind kind, ByteView header, const PackSlot& slot,
                                              ByteView key) override;
  Result<std::unique_ptr<FrameGuard>> NewGuard() override;
  Status RememberStored(const IndexedPack& pack) override;
  Status ForgetStored(const std::vector<PackId>& packs) override;
  Status Sync() override;

 private:
  struct Shared;
  class Pack;
  class Guard;
  explicit DiskSpool(std::shared_ptr<Shared> shared);
  Status RecoverStored(BlobWriter& writer);
  Status RecoverPack(uint64_t number, BlobWriter& writer);
  Status RecoverRing(BlobWriter& writer);

  std::shared_ptr<Shared> shared_;  // packs and guards may outlive the spool by a moment
};

}  // namespace bkfs

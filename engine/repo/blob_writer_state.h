// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "engine/crypto/hash.h"
#include "engine/repo/blob_writer.h"

// What blob_writer.cc and blob_writer_packs.cc share, and nobody else sees.
namespace bkfs {

// Blobs that will be compressed together. Its fields change under the writer's mutex_ until it is
// taken for sealing; from then on only guard and protected_count do.
struct BlobWriter::OpenFrame {
  PackKind kind = PackKind::kContents;
  Bytes plain;
  std::vector<PackBlob> blobs;
  std::unique_ptr<FrameGuard> guard;
  size_t protected_count = 0;
};

// A pack from its first frame until it is in the store.
struct BlobWriter::TravellingPack {
  PackKind kind = PackKind::kContents;
  PackSlot slot;
  Secret key;                           // for reading back
  std::unique_ptr<FrameSealer> sealer;  // null when adopted
  Hasher hasher;
  uint64_t size = 0;  // without the footer until that is there
  PackFooter footer;
  SignedFooter signed_footer;
  PackId id;
  Mutex mutex;
  std::unique_ptr<SpooledPack> spooled BKFS_GUARDED_BY(mutex);  // null once it is in the store
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "engine/base/bytes.h"
#include "engine/crypto/secret.h"
#include "engine/format/pack.h"

namespace bkfs {

// The plaintext of records in a spooled pack's log. Local only; their version is the staging
// directory's. Decoders return false for anything that is not exactly such a record.
struct SpoolStart {
  PackKind kind = PackKind::kContents;
  PackSlot slot;
};
struct SpoolEnd {
  uint64_t pack_size = 0;
  SignedFooter footer;
};

Bytes EncodeSpoolStart(const SpoolStart& start, ByteView key);
bool DecodeSpoolStart(ByteView record, SpoolStart& start, Secret& key);
Bytes EncodeSpoolFrame(const PackFrame& frame, std::span<const PackBlob> blobs);
// Appends to both.
bool DecodeSpoolFrame(ByteView record, std::vector<PackFrame>& frames,
                      std::vector<PackBlob>& blobs);
Bytes EncodeSpoolEnd(uint64_t pack_size, const SignedFooter& footer);
bool DecodeSpoolEnd(ByteView record, SpoolEnd& end);

// Binds a record to its place in the file, so that records cannot be moved.
Bytes SpoolAad(uint64_t offset);

}  // namespace bkfs

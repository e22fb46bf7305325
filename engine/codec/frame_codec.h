// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "engine/base/bytes.h"

namespace bkfs {

constexpr uint32_t kMaxFramePlain = 16 << 20;

// Turns a frame's plaintext into the `inner` of doc/format.md section 6 and back. Holds zstd
// contexts for reuse; not thread-safe, one per thread.
class FrameCodec {
 public:
  // level: zstd's; 0 stores without compressing.
  explicit FrameCodec(int level = 3);
  ~FrameCodec();
  FrameCodec(FrameCodec&&) noexcept;
  FrameCodec& operator=(FrameCodec&&) noexcept;

  // codec ‖ zeros ‖ n ‖ payload ‖ padding. Incompressible input is recognised from samples and
  // stored. `pad`: to a Padmé length.
  Bytes Encode(ByteView plain, bool pad);
  // kCorrupt unless the result is exactly `plain_size` bytes (at most kMaxFramePlain); nothing
  // larger is allocated.
  Result<Bytes> Decode(ByteView inner, uint32_t plain_size);

 private:
  struct Contexts;
  std::unique_ptr<Contexts> contexts_;
  int level_;
};

// The next Padmé length at or above n (Nikitin et al., PETS 2019).
uint64_t PadmeLength(uint64_t n);

// One zstd frame, for metadata. Decompress refuses results above `limit`.
Bytes CompressMetadata(ByteView plain);
Result<Bytes> DecompressMetadata(ByteView compressed, uint64_t limit);

}  // namespace bkfs

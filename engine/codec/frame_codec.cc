// SPDX-License-Identifier: Apache-2.0
#include "engine/codec/frame_codec.h"

#include <zstd.h>

#include <algorithm>
#include <bit>

namespace bkfs {

namespace {
enum Codec : uint8_t { kStored = 0, kZstd = 1 };

constexpr size_t kInnerHeader = 8;
constexpr int kMetadataLevel = 3;

// Input from this size on is tried on samples first.
constexpr size_t kSampleFrom = 32 << 10;
constexpr size_t kSamples = 8;
constexpr size_t kSampleSize = 2 << 10;

// A zstd block of at most 128 KiB takes at least 4 bytes: what claims to hold more than that is
// damaged, and nothing is allocated for it.
constexpr uint64_t kMaxBlock = 128 << 10;
bool IsPlausible(uint64_t plain_size, size_t compressed_size) {
  return plain_size <= (compressed_size / 4 + 1) * kMaxBlock;
}

Status Damaged(std::string_view why) {
  return {Code::kCorrupt, "compressed data is damaged: " + std::string(why)};
}

// The plaintext size that a single zstd frame states (`unstated` if it does not).
Result<uint64_t> ContentSize(ByteView payload, uint64_t unstated) {
  if (payload.size() < 4 || Load<uint32_t>(payload.data()) != ZSTD_MAGICNUMBER) {
    return Damaged("not a zstd frame");
  }
  size_t whole = ZSTD_findFrameCompressedSize(payload.data(), payload.size());
  if (ZSTD_isError(whole)) return Damaged(ZSTD_getErrorName(whole));
  if (whole != payload.size()) return Damaged("bytes follow the zstd frame");
  uint64_t size = ZSTD_getFrameContentSize(payload.data(), payload.size());
  if (size == ZSTD_CONTENTSIZE_ERROR) return Damaged("bad zstd header");
  return size == ZSTD_CONTENTSIZE_UNKNOWN ? unstated : size;
}
}  // namespace

struct FrameCodec::Contexts {
  ~Contexts() {
    ZSTD_freeCCtx(compress);
    ZSTD_freeCCtx(sample);
    ZSTD_freeDCtx(decompress);
  }
  uint8_t* Scratch(size_t size) {
    if (size > scratch_size) {
      scratch = std::make_unique_for_overwrite<uint8_t[]>(size);
      scratch_size = size;
    }
    return scratch.get();
  }
  // Whether samples from all over `plain` shrink by 2 % or more. Frames hold several blobs, so the
  // samples are spread evenly: a compressible eighth is enough to be seen.
  bool LooksCompressible(ByteView plain);

  ZSTD_CCtx* compress = nullptr;
  ZSTD_CCtx* sample = nullptr;
  ZSTD_DCtx* decompress = nullptr;
  // Compression writes here first: a vector would be zeroed for nothing.
  std::unique_ptr<uint8_t[]> scratch;
  size_t scratch_size = 0;
};

bool FrameCodec::Contexts::LooksCompressible(ByteView plain) {
  uint8_t samples[kSamples * kSampleSize];
  size_t stride = (plain.size() - kSampleSize) / (kSamples - 1);
  for (size_t i = 0; i < kSamples; ++i) {
    std::memcpy(samples + i * kSampleSize, plain.data() + i * stride, kSampleSize);
  }
  if (sample == nullptr) sample = ZSTD_createCCtx();
  BKFS_CHECK(sample != nullptr);
  size_t bound = ZSTD_compressBound(sizeof samples);
  size_t size = ZSTD_compressCCtx(sample, Scratch(bound), bound, samples, sizeof samples, 1);
  return ZSTD_isError(size) || size < sizeof samples - sizeof samples / 50;
}

FrameCodec::FrameCodec(int level) : contexts_(std::make_unique<Contexts>()), level_(level) {
  contexts_->decompress = ZSTD_createDCtx();
  contexts_->compress = ZSTD_createCCtx();
  BKFS_CHECK(contexts_->decompress != nullptr && contexts_->compress != nullptr);
}

FrameCodec::~FrameCodec() = default;
FrameCodec::FrameCodec(FrameCodec&&) noexcept = default;
FrameCodec& FrameCodec::operator=(FrameCodec&&) noexcept = default;

Bytes FrameCodec::Encode(ByteView plain, bool pad) {
  BKFS_CHECK(plain.size() <= kMaxFramePlain);
  ByteView payload = plain;
  Codec codec = kStored;
  if (level_ != 0 && (plain.size() < kSampleFrom || contexts_->LooksCompressible(plain))) {
    size_t bound = ZSTD_compressBound(plain.size());
    uint8_t* scratch = contexts_->Scratch(bound);
    size_t size =
        ZSTD_compressCCtx(contexts_->compress, scratch, bound, plain.data(), plain.size(), level_);
    // A saving below 1/64 is not worth decompressing at each read.
    if (!ZSTD_isError(size) && size + plain.size() / 64 < plain.size()) {
      payload = {scratch, size};
      codec = kZstd;
    }
  }
  uint64_t used = kInnerHeader + payload.size();
  uint64_t total = pad ? PadmeLength(used) : used;
  uint8_t header[kInnerHeader] = {codec};
  Store(header + 4, static_cast<uint32_t>(payload.size()));
  Bytes out;
  out.reserve(total);
  Append(out, header);
  Append(out, payload);
  out.resize(total);
  return out;
}

Result<Bytes> FrameCodec::Decode(ByteView inner, uint32_t plain_size) {
  if (plain_size > kMaxFramePlain) return Damaged("plaintext above 16 MiB");
  ByteReader reader(inner);
  uint8_t codec = reader.Take<uint8_t>();
  ByteView zeros = reader.TakeBytes(3);
  uint32_t size = reader.Take<uint32_t>();
  ByteView payload = reader.TakeBytes(size);
  ByteView padding = reader.TakeBytes(reader.remaining());
  if (!reader.ok()) return Damaged("the frame has been cut");
  auto is_zero = [](uint8_t b) { return b == 0; };
  if (!std::all_of(zeros.begin(), zeros.end(), is_zero) ||
      !std::all_of(padding.begin(), padding.end(), is_zero)) {
    return Damaged("padding is not zero");
  }
  if (codec == kStored) {
    if (size != plain_size) return Damaged("plaintext has another length than its footer says");
    return Bytes(payload.begin(), payload.end());
  }
  if (codec != kZstd) return Damaged("unknown codec " + std::to_string(codec));
  BKFS_ASSIGN(uint64_t stated, ContentSize(payload, plain_size));
  if (stated != plain_size) return Damaged("plaintext has another length than its footer says");
  if (!IsPlausible(stated, payload.size())) return Damaged("impossible plaintext length");
  Bytes out(plain_size);
  size_t got = ZSTD_decompressDCtx(contexts_->decompress, out.data(), out.size(), payload.data(),
                                   payload.size());
  if (ZSTD_isError(got)) return Damaged(ZSTD_getErrorName(got));
  if (got != plain_size) return Damaged("plaintext has another length than its footer says");
  return out;
}

uint64_t PadmeLength(uint64_t n) {
  if (n < 2) return n;
  int exponent = std::bit_width(n) - 1;                        // floor(log2 n)
  int kept = std::bit_width(static_cast<uint64_t>(exponent));  // floor(log2 E) + 1
  if (exponent <= kept) return n;
  uint64_t mask = (uint64_t{1} << (exponent - kept)) - 1;
  return (n + mask) & ~mask;
}

Bytes CompressMetadata(ByteView plain) {
  Bytes out(ZSTD_compressBound(plain.size()));
  size_t size = ZSTD_compress(out.data(), out.size(), plain.data(), plain.size(), kMetadataLevel);
  BKFS_CHECK(!ZSTD_isError(size));
  out.resize(size);
  return out;
}

Result<Bytes> DecompressMetadata(ByteView compressed, uint64_t limit) {
  BKFS_ASSIGN(uint64_t size, ContentSize(compressed, UINT64_MAX));
  if (size > limit || !IsPlausible(size, compressed.size())) {
    return Damaged("impossible plaintext length");
  }
  Bytes out(size);
  size_t got = ZSTD_decompress(out.data(), out.size(), compressed.data(), compressed.size());
  if (ZSTD_isError(got)) return Damaged(ZSTD_getErrorName(got));
  if (got != size) return Damaged("plaintext is shorter than it says");
  return out;
}

}  // namespace bkfs

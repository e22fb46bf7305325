// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "engine/repo/pack_spool.h"

namespace bkfs {

namespace {

class MemoryPack final : public SpooledPack {
 public:
  explicit MemoryPack(ByteView header) : data_(header.begin(), header.end()) {}

  Status AppendFrame(ByteView sealed, const PackFrame&, std::span<const PackBlob>) override {
    Append(data_, sealed);
    return {};
  }
  Status AppendEnd(ByteView pack_end, const SignedFooter&) override {
    Append(data_, pack_end);
    return {};
  }
  Status ReplaceEnd(ByteView pack_end) override {
    BKFS_CHECK(pack_end.size() <= data_.size());
    std::copy(pack_end.begin(), pack_end.end(),
              data_.end() - static_cast<ptrdiff_t>(pack_end.size()));
    return {};
  }
  Status ReadAt(uint64_t offset, MutableByteView out) override {
    if (offset + out.size() > data_.size()) {
      return {Code::kCorrupt, "read beyond the end of an unfinished pack"};
    }
    std::copy_n(data_.begin() + static_cast<ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  }
  Result<std::vector<ByteView>> Contents() override { return std::vector<ByteView>{data_}; }
  void Discard() override { Bytes().swap(data_); }

 private:
  Bytes data_;
};

class MemoryGuard final : public FrameGuard {
 public:
  Status Protect(PackKind, const BlobId&, ByteView) override { return {}; }
  void Release() override {}
};

class MemorySpool final : public PackSpool {
 public:
  Result<std::unique_ptr<SpooledPack>> Create(PackKind, ByteView header, const PackSlot&,
                                              ByteView) override {
    return std::unique_ptr<SpooledPack>(new MemoryPack(header));
  }
  Result<std::unique_ptr<FrameGuard>> NewGuard() override {
    return std::unique_ptr<FrameGuard>(new MemoryGuard);
  }
  Status RememberStored(const IndexedPack&) override { return {}; }
  Status ForgetStored(const std::vector<PackId>&) override { return {}; }
  Status Sync() override { return {}; }
};

}  // namespace

std::unique_ptr<PackSpool> NewMemorySpool() { return std::make_unique<MemorySpool>(); }

}  // namespace bkfs

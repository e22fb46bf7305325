// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <typeinfo>
#include <utility>

#include "engine/base/mutex.h"
#include "engine/cache/index_cache.h"
#include "engine/crypto/hash.h"
#include "tests/support/scratch.h"
#include "tests/support/test_logger.h"

namespace bkfs {

// An id that follows from a number and looks like the hash it stands for; of another type, another.
template <typename IdType>
IdType IdFrom(uint64_t number) {
  const Hash256 hash = HashParts(
      {AsBytes(typeid(IdType).name()), {reinterpret_cast<const uint8_t*>(&number), sizeof number}});
  IdType id;
  std::copy_n(hash.begin(), IdType::kSize, id.bytes.begin());
  return id;
}

inline Secret KeyFrom(uint8_t byte) {
  Secret key(32);
  std::fill(key.mutable_view().begin(), key.mutable_view().end(), byte);
  return key;
}

// A footer of `count` blobs with the ids of numbers from `first` on, ten to a frame.
inline PackFooter FooterOf(uint64_t first, uint32_t count) {
  PackFooter footer;
  footer.signer = IdFrom<KeyId>(1);
  footer.slots.push_back({.epoch = 3, .writer = IdFrom<KeyId>(1), .box = Bytes(80, 0xb0)});
  for (uint32_t i = 0; i < count; ++i) {
    if (i % 10 == 0) {
      footer.frames.push_back({.offset = 16 + i * 3000, .length = 29'000, .plain = 40'000});
    }
    footer.blobs.push_back({.id = IdFrom<BlobId>(first + i),
                            .frame = i / 10,
                            .offset = i % 10 * 4000,
                            .length = 4000 - i % 7});
  }
  return footer;
}

class CacheTest : public testing::Test {
 protected:
  CacheTest() { EXPECT_TRUE(InitCrypto().ok()); }

  std::string directory() const { return scratch_.path() + "/cache"; }
  Result<std::unique_ptr<IndexCache>> TryOpen(uint8_t key = 7, uint64_t repo = 1) {
    IndexCache::Options options;
    options.directory = directory();
    options.memory_bytes = memory_;
    options.repo = IdFrom<RepoId>(repo);
    options.local_key = KeyFrom(key);
    return IndexCache::Open(std::move(options), log_);
  }
  // Closes the cache and opens it again.
  void Open(uint8_t key = 7, uint64_t repo = 1) {
    cache_.reset();
    auto opened = TryOpen(key, repo);
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    cache_ = std::move(*opened);
  }
  uint32_t MustAdd(uint64_t pack, uint64_t first_blob, uint32_t blobs) {
    auto number = cache_->AddPack(IdFrom<PackId>(pack), 1 << 20, FooterOf(first_blob, blobs));
    EXPECT_TRUE(number.ok()) << number.status().ToString();
    return number.ok() ? *number : 0;
  }
  bool Knows(uint64_t blob) {
    auto found = cache_->Find(IdFrom<BlobId>(blob));
    EXPECT_TRUE(found.ok()) << found.status().ToString();
    return found.ok() && found->has_value();
  }

  ScratchFolder scratch_;
  TestLogger log_;
  uint64_t memory_ = 8 << 20;
  std::unique_ptr<IndexCache> cache_;
};

}  // namespace bkfs

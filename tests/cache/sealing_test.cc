// SPDX-License-Identifier: Apache-2.0
// What lies on the disk tells nothing but blob and segment ids, and is of use to one key only.
#include <algorithm>
#include <filesystem>

#include "engine/cache/records.h"
#include "engine/cache/row_store.h"
#include "tests/cache/cache_fixture.h"

namespace bkfs {
namespace {

using Sealing = CacheTest;

TEST_F(Sealing, AnotherKeyOrRepositoryEmptiesIt) {
  Open();
  MustAdd(1, 0, 100);
  Open();
  EXPECT_TRUE(Knows(50));
  EXPECT_EQ(log_.Take(), "");
  Open(8);
  EXPECT_FALSE(Knows(50));
  EXPECT_NE(log_.Take().find("another repository, key"), std::string::npos);
  MustAdd(1, 0, 100);
  Open(8, 2);
  EXPECT_FALSE(Knows(50));
  EXPECT_NE(log_.Take(), "");
  Open(8, 2);
  EXPECT_EQ(log_.Take(), "");
}

// Whether any file of the cache holds these bytes.
bool OnDisk(const std::string& directory, ByteView bytes) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    if (!entry.is_regular_file()) continue;
    auto data = ReadWholeFile(entry.path().string());
    EXPECT_TRUE(data.ok());
    if (std::search(data->begin(), data->end(), bytes.begin(), bytes.end()) != data->end()) {
      return true;
    }
  }
  return false;
}

TEST_F(Sealing, NothingReadableReachesTheDisk) {
  for (const bool in_tables : {false, true}) {
    Open();
    PackFooter footer = FooterOf(0, 1000);
    footer.slots[0].box = Bytes(80, 0x5a);
    ASSERT_TRUE(cache_->AddPack(IdFrom<PackId>(1), 0x1122334455667788, footer).ok());
    ASSERT_TRUE(cache_->MarkSegment(IdFrom<IndexId>(1), {IdFrom<PackId>(1)}).ok());
    ASSERT_TRUE(cache_->PutNote("a note's name", AsBytes("a note's value")).ok());
    if (in_tables) Open();  // moves the log's rows into tables
    const uint64_t size = 0x1122334455667788;
    // So that a search that finds nothing means something. (In tables most keys are cut short: they
    // state what differs from the one before.)
    bool any = false;
    for (uint64_t i = 0; i < 100; ++i) any = any || OnDisk(directory(), IdFrom<BlobId>(i).view());
    EXPECT_TRUE(any);
    EXPECT_FALSE(OnDisk(directory(), IdFrom<PackId>(1).view()));
    EXPECT_FALSE(OnDisk(directory(), IdFrom<KeyId>(1).view()));
    EXPECT_FALSE(OnDisk(directory(), IdFrom<RepoId>(2).view()));
    EXPECT_FALSE(OnDisk(directory(), Bytes(16, 0x5a)));
    EXPECT_FALSE(OnDisk(directory(), KeyFrom(7).view()));
    EXPECT_FALSE(OnDisk(directory(), AsBytes("note's")));
    EXPECT_FALSE(OnDisk(directory(), {reinterpret_cast<const uint8_t*>(&size), sizeof size}));
  }
}

// Exchanges the values of two rows behind the cache's back.
void SwapRows(const std::string& directory, const Bytes& one, const Bytes& two) {
  auto rows = RowStore::Open(directory + "/db", 8 << 20, [](ByteView) { return false; });
  ASSERT_TRUE(rows.ok()) << rows.status().ToString();
  auto first = *(*rows)->Get(one);
  auto second = *(*rows)->Get(two);
  ASSERT_TRUE(first && second);
  RowStore::Batch batch;
  batch.Put(one, *second);
  batch.Put(two, *first);
  ASSERT_TRUE((*rows)->Write(batch).ok());
}

TEST_F(Sealing, ARowInAnotherPlaceIsRefusedAndTheNextOpenBeginsAnew) {
  Open();
  const uint32_t number = MustAdd(1, 0, 100);
  cache_.reset();
  SwapRows(directory(), Records::BlobKey(IdFrom<BlobId>(3), number),
           Records::BlobKey(IdFrom<BlobId>(4), number));
  Open();
  EXPECT_EQ(cache_->Find(IdFrom<BlobId>(3)).code(), Code::kCorrupt);
  EXPECT_EQ(cache_->FindAll(IdFrom<BlobId>(4)).code(), Code::kCorrupt);
  EXPECT_TRUE(Knows(5));
  EXPECT_NE(log_.Take(), "");
  Open();
  EXPECT_NE(log_.Take().find("damaged"), std::string::npos);
  EXPECT_FALSE(Knows(5));
  Open();
  EXPECT_EQ(log_.Take(), "");
}

TEST_F(Sealing, ClearingBindsItsRowsToANewSalt) {
  Open();
  const uint32_t number = MustAdd(1, 0, 1);
  const Bytes key = Records::BlobKey(IdFrom<BlobId>(0), number);
  Bytes old;
  cache_.reset();
  {
    auto rows = RowStore::Open(directory() + "/db", 8 << 20, [](ByteView) { return false; });
    ASSERT_TRUE(rows.ok());
    old = **(*rows)->Get(key);
  }
  Open();
  ASSERT_TRUE(cache_->Clear().ok());
  ASSERT_EQ(MustAdd(1, 0, 1), number);
  cache_.reset();
  {
    auto rows = RowStore::Open(directory() + "/db", 8 << 20, [](ByteView) { return false; });
    RowStore::Batch batch;
    batch.Put(key, old);
    ASSERT_TRUE((*rows)->Write(batch).ok());
  }
  Open();
  EXPECT_EQ(cache_->Find(IdFrom<BlobId>(0)).code(), Code::kCorrupt);
}

TEST_F(Sealing, DecodersRefuseWhatMakesNoSense) {
  const Secret key = KeyFrom(1);
  const Records records(key, Bytes(32, 2));
  const Bytes row = Records::PackKey(5);
  for (size_t length = 0; length < 80; ++length) {
    const Bytes junk = records.SealBytes(row, Bytes(length, 0xff));
    EXPECT_EQ(records.OpenPack(row, junk).code(), Code::kCorrupt) << length;
    EXPECT_EQ(records.OpenNumber(row, junk).ok(), length == 4) << length;
    EXPECT_EQ(records.OpenPackIds(row, junk).ok(), length % 32 == 0) << length;
    EXPECT_EQ(records.OpenBlob(Records::BlobKey({}, 1), junk).code(), Code::kCorrupt) << length;
  }
  const Bytes blob_row = Records::BlobKey({}, 1);
  for (size_t length = 0; length < 40; ++length) {
    const Bytes junk = records.SealBytes(blob_row, Bytes(length, 1));
    EXPECT_EQ(records.OpenBlob(blob_row, junk).ok(), length == 7) << length;
    const Bytes endless = records.SealBytes(blob_row, Bytes(length, 0x80));
    EXPECT_FALSE(records.OpenBlob(blob_row, endless).ok() && length < 35) << length;
  }
  const Bytes good = EncodeIdentity({}, key, Bytes(kCacheSalt));
  EXPECT_TRUE(CheckIdentity(good, {}, key).has_value());
  for (size_t i = 0; i < good.size(); ++i) {
    Bytes bad = good;
    bad[i] ^= 1;
    EXPECT_FALSE(CheckIdentity(bad, {}, key).has_value()) << i;
    EXPECT_FALSE(CheckIdentity(ByteView(good).first(i), {}, key).has_value()) << i;
  }
}

}  // namespace
}  // namespace bkfs

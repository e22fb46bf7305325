// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "engine/crypto/hash.h"
#include "engine/repo/file_reader.h"
#include "engine/repo/tree_writer.h"
#include "tests/support/test_repository.h"

namespace bkfs {
namespace {

class TreeTest : public ::testing::Test {
 protected:
  TreeTest() : test_(store_), repo_(std::move(test_.OpenMaster()).value()) {
    writer_ = std::move(repo_->NewWriter(NewMemorySpool(), {})).value();
  }
  DirectoryRef WriteDirectory(uint64_t entries, uint64_t changed = ~0ULL) {
    DirectoryWriter out(*writer_, repo_->key().chunker_key.view(), nullptr);
    for (uint64_t i = 0; i < entries; ++i) {
      Entry entry;
      char name[32];
      std::snprintf(name, sizeof name, "file-%08llu", static_cast<unsigned long long>(i));
      entry.name = name;
      entry.mtime.seconds = static_cast<int64_t>(i == changed ? i + 1 : i);
      EXPECT_TRUE(IsOk(out.Add(entry)));
    }
    auto ref = out.Finish();
    EXPECT_TRUE(IsOk(ref));
    EXPECT_TRUE(IsOk(writer_->Flush()));
    return *ref;
  }

  MemoryBackend store_;
  TestRepository test_;
  std::unique_ptr<Repository> repo_;
  std::unique_ptr<BlobWriter> writer_;
};

TEST_F(TreeTest, DirectoriesOfEverySizeAreReadBack) {
  for (uint64_t count : {0U, 1U, 2U, 100U, 1000U, 60000U}) {
    const DirectoryRef ref = WriteDirectory(count);
    EXPECT_EQ(ref.count, count);
    EXPECT_EQ(ref.totals.files, count);
    EXPECT_EQ(ref.blob.is_zero(), count == 0);
    EXPECT_EQ(*repo_->trees().Count(ref.blob), count);
    uint64_t seen = 0;
    std::string last;
    ASSERT_TRUE(IsOk(repo_->trees().ForEach(
        ref.blob, 0, [&](uint64_t ordinal, const DirectoryPtr& leaf, size_t i) -> Result<bool> {
          EXPECT_EQ(ordinal, seen);
          EXPECT_GT(leaf->name(i), last);
          last = leaf->name(i);
          ++seen;
          return true;
        })));
    EXPECT_EQ(seen, count);
    if (count == 0) continue;
    for (uint64_t i : {uint64_t{0}, count / 2, count - 1}) {
      char name[32];
      std::snprintf(name, sizeof name, "file-%08llu", static_cast<unsigned long long>(i));
      auto entry = repo_->trees().Lookup(ref.blob, name);
      ASSERT_TRUE(IsOk(entry));
      EXPECT_EQ(entry->mtime.seconds, static_cast<int64_t>(i));
      auto place = repo_->trees().Locate(ref.blob, i);
      ASSERT_TRUE(IsOk(place));
      EXPECT_EQ(place->leaf->name(place->index), name);
    }
    EXPECT_EQ(repo_->trees().Lookup(ref.blob, "absent").code(), Code::kNotFound);
    EXPECT_EQ(repo_->trees().Locate(ref.blob, count).code(), Code::kNotFound);
  }
}

TEST_F(TreeTest, OneChangeInALargeDirectoryWritesAFewPieces) {
  WriteDirectory(60000);
  const uint64_t before = writer_->stats().blobs_new;
  WriteDirectory(60000, 30000);
  EXPECT_LE(writer_->stats().blobs_new - before, 4U);
  EXPECT_GE(writer_->stats().blobs_new - before, 2U);
}

TEST_F(TreeTest, EntriesOutOfOrderAreRefused) {
  DirectoryWriter out(*writer_, repo_->key().chunker_key.view(), nullptr);
  Entry entry;
  entry.name = "b";
  ASSERT_TRUE(IsOk(out.Add(entry)));
  entry.name = "a";
  EXPECT_EQ(out.Add(entry).code(), Code::kInvalid);
  entry.name = "b";
  EXPECT_EQ(out.Add(entry).code(), Code::kInvalid);
}

TEST_F(TreeTest, LongFilesGoThroughExtentLists) {
  for (size_t count : {size_t{1}, size_t{64}, size_t{65}, size_t{5000}, size_t{50000}}) {
    std::vector<Extent> extents;
    Entry entry;
    for (size_t i = 0; i < count; ++i) {
      Extent extent;
      extent.length = 1 + i % 7;
      if (i % 10 != 3) extent.blob.bytes = HashBytes(AsBytes(std::to_string(i)));
      extents.push_back(extent);
      entry.size += extent.length;
    }
    ASSERT_TRUE(IsOk(SetExtents(entry, extents, *writer_, nullptr)));
    ASSERT_TRUE(IsOk(writer_->Flush()));
    EXPECT_EQ(entry.lists.empty(), count <= 64);
    auto loaded = repo_->trees().LoadExtents(entry);
    ASSERT_TRUE(IsOk(loaded));
    EXPECT_EQ(*loaded, extents);
    auto map = FileMap::Open(repo_->trees(), entry);
    ASSERT_TRUE(IsOk(map));
    uint64_t at = 0;
    for (size_t i = 0; i < count; ++i) {
      if (i % 97 == 0) {
        auto piece = (*map)->Find(at);
        ASSERT_TRUE(IsOk(piece));
        EXPECT_EQ(piece->start, at);
        EXPECT_EQ(piece->extent, extents[i]);
      }
      at += extents[i].length;
    }
  }
}

TEST_F(TreeTest, FilesAreReadAtAnyOffsetAndHolesAreZeros) {
  Entry entry;
  Bytes expected;
  std::vector<Extent> extents;
  for (size_t i = 0; i < 40; ++i) {
    Bytes data = PseudoRandom(1000 + 37 * i, i);
    Extent extent;
    if (i % 4 == 1) {
      extent.length = 5000;
      expected.resize(expected.size() + 5000);
    } else {
      extent.blob = *writer_->Add(PackKind::kContents, data);
      extent.offset = 100;
      extent.length = data.size() - 200;
      Append(expected, ByteView(data).subspan(100, extent.length));
    }
    extents.push_back(extent);
  }
  entry.size = expected.size();
  ASSERT_TRUE(IsOk(SetExtents(entry, extents, *writer_, nullptr)));
  ASSERT_TRUE(IsOk(writer_->Flush()));
  FileReader reader(repo_->blobs(), std::move(FileMap::Open(repo_->trees(), entry)).value());
  for (size_t offset = 0; offset < expected.size(); offset += 4999) {
    Bytes out(10000);
    auto n = reader.Read(offset, out);
    ASSERT_TRUE(IsOk(n));
    ASSERT_EQ(*n, std::min(out.size(), expected.size() - offset));
    EXPECT_TRUE(std::equal(out.begin(), out.begin() + static_cast<ptrdiff_t>(*n),
                           expected.begin() + static_cast<ptrdiff_t>(offset)));
  }
  Bytes out(10);
  EXPECT_EQ(*reader.Read(expected.size(), out), 0U);
  EXPECT_EQ(*reader.SeekHole(0), extents[0].length);
  EXPECT_EQ(*reader.SeekData(extents[0].length), extents[0].length + 5000);
  EXPECT_EQ(reader.SeekData(expected.size()).code(), Code::kNotFound);
}

}  // namespace
}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "backends/fault/fault_backend.h"
#include "engine/base/transfer.h"
#include "tests/support/test_repository.h"

namespace bkfs {
namespace {

using Op = FaultBackend::Op;
constexpr int64_t kPatience = 300'000'000;

std::unique_ptr<BlobWriter> Writer(Repository& repo, WriterOptions options = {}) {
  auto writer = repo.NewWriter(NewMemorySpool(), options);
  EXPECT_TRUE(IsOk(writer));
  return std::move(writer).value();
}

TEST(BlobWriter, WhatIsFlushedIsReadByAnotherProcess) {
  MemoryBackend store;
  TestRepository test(store);
  std::vector<std::pair<BlobId, Bytes>> blobs;
  {
    auto repo = test.OpenMaster();
    ASSERT_TRUE(IsOk(repo));
    auto writer = Writer(**repo);
    for (size_t i = 0; i < 200; ++i) {
      Bytes data = PseudoRandom(1 + i * 997, i);
      auto id = writer->Add(PackKind::kContents, data);
      ASSERT_TRUE(IsOk(id));
      blobs.emplace_back(*id, std::move(data));
    }
    ASSERT_TRUE(IsOk(writer->Flush()));
  }
  auto repo = test.Open(test.CloneMaster(), test.folder() + "/other");
  ASSERT_TRUE(IsOk(repo));
  for (const auto& [id, data] : blobs) {
    auto read = (*repo)->blobs().Read(PackKind::kContents, id);
    ASSERT_TRUE(IsOk(read));
    EXPECT_EQ(Bytes(read->bytes.begin(), read->bytes.end()), data);
  }
}

// Tiny blobs make footers larger than what they hold: packs are closed, and index segments put,
// before those become too large for anybody.
TEST(BlobWriter, TinyBlobsMakeNoHugeFooters) {
  MemoryBackend store;
  TestRepository test(store);
  constexpr uint64_t kBlobs = 100'000;
  WriterOptions options;
  options.contents_frame = 64 << 10;
  options.pack_target = 512 << 10;
  options.segment_target = 1 << 20;
  {
    auto repo = test.OpenMaster();
    ASSERT_TRUE(IsOk(repo));
    auto writer = Writer(**repo, options);
    Bytes data(8);
    for (uint64_t i = 0; i < kBlobs; ++i) {
      std::memcpy(data.data(), &i, sizeof i);
      ASSERT_TRUE(IsOk(writer->Add(PackKind::kContents, data)));
    }
    ASSERT_TRUE(IsOk(writer->Flush()));
  }
  uint64_t segments = 0;
  auto count = [&](const std::string&, uint64_t size) {
    EXPECT_LT(size, 2U << 20);
    ++segments;
    return Status();
  };
  ASSERT_TRUE(IsOk(store.List("index/", count)));
  EXPECT_GE(segments, 3U);
  ASSERT_TRUE(IsOk(store.List("packs/", [](const std::string&, uint64_t size) {
    EXPECT_LT(size, 600U << 10);
    return Status();
  })));
  auto repo = test.Open(test.CloneMaster(), test.folder() + "/other");
  ASSERT_TRUE(IsOk(repo));
  const auto stats = (*repo)->index().GetStats();
  ASSERT_TRUE(IsOk(stats));
  EXPECT_GE(stats->blobs, kBlobs * 99 / 100);
}

TEST(BlobWriter, PendingBlobsAreReadAtEveryStage) {
  MemoryBackend store;
  TestRepository test(store);
  auto repo = test.OpenMaster();
  ASSERT_TRUE(IsOk(repo));
  WriterOptions options;
  options.contents_frame = 64 << 10;
  auto writer = Writer(**repo, options);
  (*repo)->blobs().SetPending(writer.get());
  std::vector<std::pair<BlobId, Bytes>> blobs;
  for (size_t i = 0; i < 50; ++i) {
    Bytes data = PseudoRandom(10000, i);
    auto id = writer->Add(PackKind::kContents, data);
    ASSERT_TRUE(IsOk(id));
    blobs.emplace_back(*id, data);
    for (const auto& [known, bytes] : blobs) {
      auto read = (*repo)->blobs().Read(PackKind::kContents, known);
      ASSERT_TRUE(IsOk(read));
      ASSERT_TRUE(std::equal(read->bytes.begin(), read->bytes.end(), bytes.begin(), bytes.end()));
    }
  }
  (*repo)->blobs().SetPending(nullptr);
}

TEST(BlobWriter, TheSameBlobIsStoredOnce) {
  MemoryBackend store;
  TestRepository test(store);
  auto repo = test.OpenMaster();
  ASSERT_TRUE(IsOk(repo));
  auto writer = Writer(**repo);
  const Bytes data = PseudoRandom(100000, 1);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(IsOk(writer->Add(PackKind::kContents, data)));
  ASSERT_TRUE(IsOk(writer->Flush()));
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(IsOk(writer->Add(PackKind::kContents, data)));
  ASSERT_TRUE(IsOk(writer->Flush()));
  EXPECT_EQ(writer->stats().blobs_new, 1U);
  EXPECT_EQ(writer->stats().blobs_known, 19U);
}

TEST(BlobWriter, ContentsAndTreesDoNotMix) {
  MemoryBackend store;
  TestRepository test(store);
  auto repo = test.OpenMaster();
  ASSERT_TRUE(IsOk(repo));
  auto writer = Writer(**repo);
  const Bytes data = PseudoRandom(1000, 1);
  auto contents = writer->Add(PackKind::kContents, data);
  auto tree = writer->Add(PackKind::kTrees, data);
  ASSERT_TRUE(IsOk(writer->Flush()));
  EXPECT_NE(*contents, *tree);
  EXPECT_TRUE(IsOk((*repo)->blobs().Read(PackKind::kContents, *contents)));
  EXPECT_EQ((*repo)->blobs().Read(PackKind::kTrees, *contents).code(), Code::kCorrupt);
}

TEST(BlobWriter, ManyThreads) {
  MemoryBackend store;
  TestRepository test(store);
  auto repo = test.OpenMaster();
  ASSERT_TRUE(IsOk(repo));
  WriterOptions options;
  options.contents_frame = 32 << 10;
  options.pack_target = 256 << 10;
  auto writer = Writer(**repo, options);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 300; ++i) {
        auto added = writer->Add(i % 5 == 0 ? PackKind::kTrees : PackKind::kContents,
                                 PseudoRandom(3000, t % 2 * 1000 + i));
        EXPECT_TRUE(IsOk(added));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  ASSERT_TRUE(IsOk(writer->Flush()));
  EXPECT_EQ(writer->stats().blobs_new, 600U);
  EXPECT_EQ(writer->stats().bytes_pending, 0U);
  for (uint64_t i = 1; i < 300; i += 7) {
    if (i % 5 == 0) continue;
    const Bytes data = PseudoRandom(3000, 1000 + i);
    auto id = writer->Add(PackKind::kContents, data);
    ASSERT_TRUE(IsOk(id));
    EXPECT_TRUE(IsOk((*repo)->blobs().Read(PackKind::kContents, *id)));
  }
}

TEST(BlobWriter, AFailingStoreFailsTheWriterForGood) {
  MemoryBackend store;
  TestRepository test(store);
  FaultBackend faulty(store);
  Repository::Options options;
  options.cache_directory = test.cache();
  auto repo = Repository::Open(std::make_unique<BorrowedBackend>(faulty), test.CloneMaster(),
                               options, test.log(), test.clock());
  ASSERT_TRUE(IsOk(repo));
  auto writer = Writer(**repo);
  faulty.Add({.op = Op::kPut, .prefix = "packs/", .error = {Code::kNoSpace, "full"}});
  ASSERT_TRUE(IsOk(writer->Add(PackKind::kContents, PseudoRandom(1000, 1))));
  EXPECT_EQ(writer->Flush().code(), Code::kNoSpace);
  faulty.Heal();
  EXPECT_EQ(writer->Add(PackKind::kContents, PseudoRandom(1000, 2)).code(), Code::kNoSpace);
  EXPECT_EQ(writer->Flush().code(), Code::kNoSpace);
}

TEST(BlobWriter, KeepTryingStoresOnceTheStoreIsBack) {
  MemoryBackend store;
  TestRepository test(store);
  FaultBackend faulty(store);
  Repository::Options options;
  options.cache_directory = test.cache();
  auto repo = Repository::Open(std::make_unique<BorrowedBackend>(faulty), test.CloneMaster(),
                               options, test.log(), test.clock());
  ASSERT_TRUE(IsOk(repo));
  WriterOptions writing;
  writing.keep_trying = true;
  auto writer = Writer(**repo, writing);
  faulty.Add({.op = Op::kPut, .prefix = "packs/", .error = {Code::kNoSpace, "full"}});
  const Bytes data = PseudoRandom(1000, 1);
  auto id = writer->Add(PackKind::kContents, data);
  ASSERT_TRUE(IsOk(id));
  EXPECT_EQ(writer->Flush().code(), Code::kNoSpace);
  EXPECT_EQ(writer->health().code(), Code::kNoSpace);
  faulty.Heal();
  ASSERT_TRUE(IsOk(writer->Flush()));
  EXPECT_TRUE(IsOk(writer->health()));
  EXPECT_TRUE(IsOk((*repo)->blobs().Read(PackKind::kContents, *id)));
}

// A store that is away, or lets us in no more, will do so again: until then there is the spool.
TEST(BlobWriter, WhatAStoreRefusesForAWhileIsTakenUpToALimit) {
  for (const Code code : {Code::kUnavailable, Code::kDenied, Code::kNoSpace}) {
    MemoryBackend store;
    TestRepository test(store);
    FaultBackend faulty(store);
    Repository::Options options;
    options.cache_directory = test.cache();
    auto repo = Repository::Open(std::make_unique<BorrowedBackend>(faulty), test.CloneMaster(),
                                 options, test.log(), test.clock());
    ASSERT_TRUE(IsOk(repo));
    WriterOptions writing;
    writing.keep_trying = true;
    writing.pack_target = 64 << 10;
    writing.contents_frame = 16 << 10;
    writing.packs_in_flight = 4;
    auto writer = Writer(**repo, writing);
    faulty.Add({.op = Op::kPut, .prefix = "packs/", .error = {code, "not now"}});
    uint64_t seed = 0;
    const auto add = [&] {
      WaitLimit patience(kPatience, nullptr);
      const WatchScope scope(patience);
      return writer->Add(PackKind::kContents, PseudoRandom(10'000, ++seed)).status();
    };
    while (seed < 10) ASSERT_TRUE(IsOk(add()));  // a pack, and some more
    while (writer->health().ok()) std::this_thread::yield();
    EXPECT_EQ(writer->health().code(), code);
    const uint64_t before = seed;
    Status added = add();
    while (added.ok() && seed < 1000) added = add();
    if (code == Code::kNoSpace) {
      EXPECT_EQ(seed, before + 1);
    } else {
      EXPECT_GT(seed, before + 4);
    }
    EXPECT_LT(seed, 1000U);
    EXPECT_EQ(added.code(), code);
    // The one is waited for, the others are told.
    EXPECT_EQ(added.message().find("has not answered") != std::string::npos,
              code == Code::kUnavailable);
    faulty.Heal();
    EXPECT_TRUE(IsOk(writer->Flush()));
    EXPECT_TRUE(IsOk(add()));
  }
}

TEST(BlobWriter, APutWhoseReplyWasLostIsNoError) {
  MemoryBackend store;
  TestRepository test(store);
  FaultBackend faulty(store);
  Repository::Options options;
  options.cache_directory = test.cache();
  auto repo = Repository::Open(std::make_unique<BorrowedBackend>(faulty), test.CloneMaster(),
                               options, test.log(), test.clock());
  ASSERT_TRUE(IsOk(repo));
  WriterOptions writing;
  writing.keep_trying = true;
  auto writer = Writer(**repo, writing);
  faulty.Add({.op = Op::kPut,
              .prefix = "packs/",
              .count = 1,
              .action = FaultBackend::Action::kLose,
              .error = {Code::kUnavailable, "reset"}});
  ASSERT_TRUE(IsOk(writer->Add(PackKind::kContents, PseudoRandom(1000, 1))));
  Status flushed = writer->Flush();
  if (!flushed.ok()) flushed = writer->Flush();
  EXPECT_TRUE(IsOk(flushed));
}

// The reply to a put is lost, and maintenance gives the pack up before it is tried again.
TEST(BlobWriter, APackThatWasGivenUpIsStoredUnderAnotherName) {
  for (bool doomed : {false, true}) {
    MemoryBackend store;
    TestRepository test(store);
    FaultBackend faulty(store);
    Repository::Options options;
    options.cache_directory = test.cache();
    auto repo = Repository::Open(std::make_unique<BorrowedBackend>(faulty), test.CloneMaster(),
                                 options, test.log(), test.clock());
    ASSERT_TRUE(IsOk(repo));
    WriterOptions writing;
    writing.keep_trying = true;
    auto writer = Writer(**repo, writing);
    faulty.Add({.op = Op::kPut,
                .prefix = "packs/",
                .count = 1,
                .action = FaultBackend::Action::kLose,
                .error = {Code::kUnavailable, "reset"}});
    faulty.Add({.op = Op::kPut, .prefix = "packs/", .error = {Code::kUnavailable, "reset"}});
    auto id = writer->Add(PackKind::kContents, PseudoRandom(1000, 1));
    ASSERT_TRUE(IsOk(id));
    EXPECT_FALSE(writer->Flush().ok());
    std::vector<PackId> there;
    auto list = [&](const std::string& name, uint64_t) {
      there.push_back(ParsePackName(name).value());
      return Status();
    };
    ASSERT_TRUE(IsOk(store.List("packs/", list)));
    ASSERT_EQ(there.size(), 1U);
    auto given_up = std::make_shared<CondemnedPacks>();
    given_up->last = doomed ? 2 : 1;
    (doomed ? given_up->doomed : given_up->condemned)[there[0]] = given_up->last;
    (void)writer->Heed(given_up);
    faulty.Heal();
    ASSERT_TRUE(IsOk(writer->Flush()));
    ASSERT_TRUE(IsOk(store.Remove(PackName(there[0]))));
    // A reader that knows nothing of this finds it, and so does one without an index.
    auto other = test.Open(test.CloneMaster(), test.folder() + "/other");
    ASSERT_TRUE(IsOk(other));
    EXPECT_TRUE(IsOk((*other)->blobs().Read(PackKind::kContents, *id)));
    ASSERT_TRUE(IsOk((*other)->RebuildIndex()));
    EXPECT_TRUE(IsOk((*other)->blobs().Read(PackKind::kContents, *id)));
  }
}

TEST(BlobWriter, KeysThatMayNotWriteAreRefused) {
  MemoryBackend store;
  TestRepository test(store);
  for (KeyType type : {KeyType::kReadOnly, KeyType::kMaintain}) {
    auto repo = test.Open(test.Derive(type), test.cache());
    ASSERT_TRUE(IsOk(repo));
    EXPECT_EQ((*repo)->NewWriter(NewMemorySpool(), {}).code(), Code::kDenied);
  }
}

TEST(BlobWriter, BlobsOfOthersAreReusedAsThePolicySays) {
  MemoryBackend store;
  TestRepository test(store);
  const Bytes by_write_only = PseudoRandom(5000, 1);
  const Bytes by_read_write = PseudoRandom(5000, 2);
  const Bytes by_master = PseudoRandom(5000, 3);
  auto store_with = [&](KeyMaterial key, const Bytes& data) {
    auto repo = test.Open(std::move(key), test.cache());
    ASSERT_TRUE(IsOk(repo));
    auto writer = Writer(**repo);
    ASSERT_TRUE(IsOk(writer->Add(PackKind::kContents, data)));
    ASSERT_TRUE(IsOk(writer->Flush()));
  };
  store_with(test.Derive(KeyType::kWriteOnly), by_write_only);
  store_with(test.Derive(KeyType::kReadWrite), by_read_write);
  store_with(test.CloneMaster(), by_master);
  const KeyMaterial mine = test.Derive(KeyType::kReadWrite);
  auto known = [&](DedupPolicy policy, const Bytes& data) {
    auto repo = test.Open(TestRepository::Reload(mine), test.cache());
    EXPECT_TRUE(IsOk(repo));
    WriterOptions options;
    options.dedup = policy;
    auto writer = Writer(**repo, options);
    EXPECT_TRUE(IsOk(writer->Add(PackKind::kContents, data)));
    return writer->stats().blobs_known == 1;
  };
  EXPECT_FALSE(known(DedupPolicy::kOwn, by_write_only));
  EXPECT_FALSE(known(DedupPolicy::kOwn, by_read_write));
  EXPECT_TRUE(known(DedupPolicy::kOwn, by_master));
  EXPECT_FALSE(known(DedupPolicy::kTrusted, by_write_only));
  EXPECT_TRUE(known(DedupPolicy::kTrusted, by_read_write));
  EXPECT_TRUE(known(DedupPolicy::kAll, by_write_only));
}

TEST(BlobWriter, ALostIndexIsRebuiltFromFooters) {
  MemoryBackend store;
  TestRepository test(store);
  const Bytes data = PseudoRandom(5000, 1);
  BlobId id;
  {
    auto repo = test.OpenMaster();
    ASSERT_TRUE(IsOk(repo));
    auto writer = Writer(**repo);
    id = *writer->Add(PackKind::kContents, data);
    ASSERT_TRUE(IsOk(writer->Flush()));
  }
  std::vector<std::string> segments;
  ASSERT_TRUE(IsOk(store.List("index/", [&](const std::string& name, uint64_t) {
    segments.push_back(name);
    return Status();
  })));
  for (const auto& name : segments) ASSERT_TRUE(IsOk(store.Remove(name)));
  auto repo = test.Open(test.CloneMaster(), test.folder() + "/other");
  ASSERT_TRUE(IsOk(repo));
  EXPECT_FALSE((*repo)->blobs().Read(PackKind::kContents, id).ok());
  ASSERT_TRUE(IsOk((*repo)->RebuildIndex()));
  EXPECT_TRUE(IsOk((*repo)->blobs().Read(PackKind::kContents, id)));
}

}  // namespace
}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
// How compact lists its new packs: piece by piece, before the old ones are condemned.
#include "engine/maintain/compact.h"

#include "engine/maintain/forget.h"
#include "engine/repo/tree_writer.h"
#include "tests/maintain/schedule_world.h"

namespace bkfs {
namespace {

constexpr int64_t kLongTime = 8 * 24 * 3600 * kSecond;  // no lease lives so long

// Six snapshots in small packs, of which the older half is forgotten.
class CompactTest : public ::testing::Test {
 protected:
  CompactTest() : store_(0, &clock_), test_(store_) {
    auto repo = Open(store_, "maker");
    WriterOptions small;
    // One blob in each pack, in a frame that is moved as it is.
    small.pack_target = 1;
    small.contents_frame = 1;
    auto writer = repo->NewWriter(NewMemorySpool(), small);
    EXPECT_TRUE(IsOk(writer));
    std::vector<SnapshotId> made;
    for (uint64_t round = 0; round < 6; ++round) {
      for (uint64_t i = 0; i < kContents * 2 / 3; ++i) {
        if (round > 0 && i % 3 != round % 3) continue;
        files_["f" + std::to_string(i)] = (i + round * 5) % kContents;
      }
      made.push_back(Commit(*repo, **writer));
      expected_[made.back()] = files_;
    }
    made.resize(3);
    for (const auto& id : made) expected_.erase(id);
    EXPECT_TRUE(IsOk(ForgetSnapshots(*repo, made)));
  }

  SnapshotId Commit(Repository& repo, BlobWriter& writer) {
    DirectoryWriter directory(writer, repo.key().chunker_key.view(), nullptr);
    for (const auto& [name, seed] : files_) {
      auto blob = writer.Add(PackKind::kContents, ContentsOf(seed));
      EXPECT_TRUE(IsOk(blob));
      Entry entry;
      entry.name = name;
      entry.size = SizeOf(seed);
      entry.extents = {Extent{entry.size, 0, *blob}};
      EXPECT_TRUE(IsOk(directory.Add(entry)));
    }
    auto ref = directory.Finish();
    EXPECT_TRUE(IsOk(ref));
    EXPECT_TRUE(IsOk(writer.Flush()));
    Entry root;
    root.kind = EntryKind::kDirectory;
    root.directory = ref->blob;
    root.totals = ref->totals;
    SnapshotBody body;
    body.name = "series";
    body.host = "host";
    auto snapshot = repo.snapshots().Commit(std::move(body), root);
    EXPECT_TRUE(IsOk(snapshot));
    return (*snapshot)->id;
  }

  std::unique_ptr<Repository> Open(Backend& store, const std::string& cache) {
    Repository::Options options;
    options.cache_directory = test_.folder() + "/" + cache;
    options.index_memory = 4 << 20;
    auto repo = Repository::Open(std::make_unique<BorrowedBackend>(store), test_.CloneMaster(),
                                 options, log_, clock_);
    EXPECT_TRUE(IsOk(repo));
    return std::move(*repo);
  }
  std::unique_ptr<Repository> OpenAnew(Backend& store) {
    return Open(store, "anew-" + std::to_string(++opened_));
  }

  static CompactOptions Small() {
    CompactOptions options;
    options.threshold = 0;
    options.small = 4;
    options.pack_target = 8 << 10;
    options.segments.packs = 2;
    return options;
  }
  static std::map<std::string, IndexSegment> Segments(Repository& repo) {
    std::map<std::string, IndexSegment> out;
    Status listed = repo.store().List("index/", [&](const std::string& name, uint64_t) -> Status {
      BKFS_ASSIGN(Bytes object, repo.store().Get(name));
      BKFS_ASSIGN(IndexSegment segment,
                  DecodeIndexSegment(object, repo.key().index_key.view(), repo.header().repo));
      out.emplace(name, std::move(segment));
      return {};
    });
    EXPECT_TRUE(IsOk(listed));
    return out;
  }
  static std::set<PackId> Listed(Repository& repo) {
    std::set<PackId> out;
    for (const auto& [name, segment] : Segments(repo)) {
      for (const auto& pack : segment.packs) out.insert(pack.id);
    }
    return out;
  }
  // Packs in each segment that was not there `before`.
  static std::vector<size_t> NewSegments(Repository& repo,
                                         const std::map<std::string, IndexSegment>& before) {
    std::vector<size_t> out;
    for (const auto& [name, segment] : Segments(repo)) {
      if (!before.contains(name)) out.push_back(segment.packs.size());
    }
    return out;
  }
  // With an index that is read from the store, as another machine would.
  void ExpectAllThere(Backend& store) {
    auto repo = OpenAnew(store);
    auto list = repo->snapshots().List();
    ASSERT_TRUE(IsOk(list));
    ASSERT_EQ(list->snapshots.size(), expected_.size());
    for (const auto& snapshot : list->snapshots) {
      EXPECT_TRUE(IsOk(ReadSnapshot(*repo, *snapshot, expected_.at(snapshot->id))));
    }
  }
  // What maintenance leaves that is run again after `store` was left in any state.
  void ExpectNoGarbageStays(Backend& store) {
    clock_.Jump(kLongTime);
    auto repo = OpenAnew(store);
    PruneOptions now;
    now.now = true;
    ASSERT_TRUE(IsOk(Prune(*repo, now)));
    ASSERT_TRUE(IsOk(Compact(*repo, Small())));
    ASSERT_TRUE(IsOk(Prune(*repo, now)));
    auto left = Prune(*repo, now);
    ASSERT_TRUE(IsOk(left));
    EXPECT_EQ(left->condemned_packs + left->deleted_packs + left->waiting_packs, 0U);
    EXPECT_EQ(left->unused_bytes, 0U);
    EXPECT_EQ(left->missing_blobs, 0U);
    EXPECT_EQ(Listed(*repo).size(), left->packs);
    repo.reset();
    ExpectAllThere(store);
  }

  JumpingClock clock_;
  MemoryBackend store_;
  TestRepository test_;
  NullLogger log_;
  Files files_;
  std::map<SnapshotId, Files> expected_;
  int opened_ = 0;
};

TEST_F(CompactTest, ListsNewPacksInSegmentsOfTheSizeAskedFor) {
  auto repo = OpenAnew(store_);
  const auto before = Segments(*repo);
  auto report = Compact(*repo, Small());
  ASSERT_TRUE(IsOk(report));
  ASSERT_GT(report->packs_written, 6U);
  const auto segments = NewSegments(*repo, before);
  EXPECT_EQ(segments.size(), (report->packs_written + 1) / 2);
  for (size_t packs : segments) EXPECT_LE(packs, 2U);
  repo.reset();
  ExpectAllThere(store_);
  ExpectNoGarbageStays(store_);
}

TEST_F(CompactTest, ASegmentHoldsNoMoreFootersThanAskedForButOnePack) {
  auto repo = OpenAnew(store_);
  const auto before = Segments(*repo);
  CompactOptions options = Small();
  options.segments = {};
  options.segments.footers = 1;
  auto report = Compact(*repo, options);
  ASSERT_TRUE(IsOk(report));
  EXPECT_EQ(NewSegments(*repo, before), std::vector<size_t>(report->packs_written, 1));
}

TEST_F(CompactTest, SegmentsThatAreHalfFullAreLeftAloneAndOthersMerged) {
  auto repo = OpenAnew(store_);
  ASSERT_TRUE(IsOk(Compact(*repo, Small())));
  CompactOptions nothing;
  nothing.threshold = 100;
  nothing.small = 0;
  nothing.segments.packs = 2;
  auto alone = Compact(*repo, nothing);
  ASSERT_TRUE(IsOk(alone));
  EXPECT_GT(alone->segments_before, 4U);
  EXPECT_EQ(alone->segments_after, alone->segments_before);
  nothing.segments = {};
  auto merged = Compact(*repo, nothing);
  ASSERT_TRUE(IsOk(merged));
  EXPECT_EQ(merged->segments_after, 1U);
  EXPECT_EQ(Segments(*repo).size(), 1U);
  repo.reset();
  ExpectAllThere(store_);
}

// Until the segments that say the same are in the store.
TEST_F(CompactTest, ASegmentIsNotRemovedBeforeOthersListItsPacks) {
  FaultBackend faulty(store_);
  auto repo = OpenAnew(faulty);
  auto segments = repo->index().Segments();
  ASSERT_TRUE(IsOk(segments));
  const IndexId old = segments->front();
  auto object = store_.Get(IndexName(old));
  ASSERT_TRUE(IsOk(object));
  auto segment = DecodeIndexSegment(*object, repo->key().index_key.view(), repo->header().repo);
  ASSERT_TRUE(IsOk(segment));
  SegmentWriter index(*repo, 0);
  for (const auto& pack : segment->packs) ASSERT_TRUE(IsOk(index.Add(pack)));
  index.Replace(old);
  EXPECT_TRUE(store_.Size(IndexName(old)).ok());
  faulty.Add({.op = FaultBackend::Op::kPut, .prefix = "index/"});
  EXPECT_EQ(index.Finish().code(), Code::kUnavailable);
  EXPECT_TRUE(store_.Size(IndexName(old)).ok());
  faulty.Heal();
  EXPECT_TRUE(IsOk(index.Finish()));
  EXPECT_EQ(store_.Size(IndexName(old)).code(), Code::kNotFound);
  repo.reset();
  ExpectAllThere(store_);
}

TEST_F(CompactTest, NewPacksAreListedBeforeOldOnesAreCondemned) {
  FaultBackend faulty(store_);
  auto repo = OpenAnew(faulty);
  const auto before = Segments(*repo);
  faulty.Add({.op = FaultBackend::Op::kPut, .prefix = "condemned/"});
  EXPECT_EQ(Compact(*repo, Small()).code(), Code::kUnavailable);
  EXPECT_GT(NewSegments(*repo, before).size(), 2U);
  const std::set<PackId> listed = Listed(*repo);
  size_t packs = 0;
  ASSERT_TRUE(IsOk(store_.List("packs/", [&](const std::string& name, uint64_t) {
    ++packs;
    EXPECT_TRUE(listed.contains(*ParsePackName(name))) << name;
    return Status();
  })));
  EXPECT_EQ(packs, listed.size());
}

TEST_F(CompactTest, KilledAnywhereItLosesNothingAndLeavesNothing) {
  auto whole = store_.Clone();
  FaultBackend counting(*whole);
  ASSERT_TRUE(IsOk(Compact(*OpenAnew(counting), Small())));
  const uint64_t operations = counting.Count();
  constexpr uint64_t kPoints = 16;
  const auto before = Segments(*OpenAnew(store_));
  std::set<size_t> segments;  // how many new ones there were when it was killed
  for (uint64_t point = 0; point < kPoints && !HasFailure(); ++point) {
    auto store = store_.Clone();
    FaultBackend faulty(*store);
    auto repo = OpenAnew(faulty);
    const uint64_t left = operations - faulty.Count();
    faulty.StopAfter(left * point / kPoints, point % 2 == 0);
    Status killed = Compact(*repo, Small()).status();
    EXPECT_TRUE(killed.ok() || killed.Is(Code::kUnavailable)) << killed.message();
    repo.reset();
    ExpectAllThere(*store);
    if (!killed.ok()) segments.insert(NewSegments(*OpenAnew(*store), before).size());
    ExpectNoGarbageStays(*store);
  }
  // It has been killed between two segments of new packs.
  EXPECT_GT(segments.size(), 3U);
}

}  // namespace
}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "tests/maintain/schedule_world.h"

#include "engine/maintain/compact.h"

namespace bkfs {

Status ReadSnapshot(Repository& repo, const Snapshot& snapshot,
                    const std::optional<Files>& expected) {
  BKFS_ASSIGN(Entry root, repo.snapshots().Root(snapshot));
  Files found;
  BKFS_TRY(repo.trees().ForEach(
      root.directory, 0, [&](uint64_t, const DirectoryPtr& leaf, size_t i) -> Result<bool> {
        const Entry entry = leaf->entry(i);
        BKFS_ASSIGN(auto extents, repo.trees().LoadExtents(entry));
        Bytes data;
        for (const auto& extent : extents) {
          BKFS_ASSIGN(BlobData blob, repo.blobs().Read(PackKind::kContents, extent.blob));
          Append(data, blob.bytes.subspan(extent.offset, extent.length));
        }
        const uint64_t seed = SeedOf(entry.size);
        if (data != ContentsOf(seed)) return Status(Code::kCorrupt, entry.name + " differs");
        found[entry.name] = seed;
        return true;
      }));
  if (expected && found != *expected) return {Code::kCorrupt, "other files than were backed up"};
  return {};
}

bool Actor::IsOpen(uint64_t cached) {
  if (repo_) return true;
  fault_ = std::make_unique<FaultBackend>(std::make_unique<MeddledBackend>(
      world_.store_, [this] { world_.Meddle(*this); },
      [this](const std::string& what, const std::string& name) { world_.Note(name_, what, name); },
      world_.repacks_));
  Repository::Options options;
  options.cache_directory = world_.test_.folder() + "/" + name_;
  options.index_memory = 4 << 20;
  options.frame_cache = cached;
  options.tree_cache = cached;
  auto repo = Repository::Open(std::make_unique<BorrowedBackend>(*fault_),
                               TestRepository::Reload(key_), options, world_.log_, world_.clock_);
  if (repo.ok()) repo_ = *std::move(repo);
  Excuse(repo.status(), "open");
  return repo_ != nullptr;
}

Result<std::unique_ptr<Repository>> World::OpenForJudge() {
  Repository::Options options;
  options.cache_directory = test_.folder() + "/judge";
  options.index_memory = 4 << 20;
  return Repository::Open(std::make_unique<BorrowedBackend>(store_), test_.CloneMaster(), options,
                          log_, clock_);
}

void World::CheckAll() {
  auto repo = OpenForJudge();
  ASSERT_TRUE(IsOk(repo));
  // In this order: between their steps actors' threads go on, and may have others act.
  const std::vector<SnapshotId> alive = expected_.Alive();
  auto list = (*repo)->snapshots().List();
  ASSERT_TRUE(IsOk(list));
  std::set<SnapshotId> listed;
  for (const auto& snapshot : list->snapshots) {
    listed.insert(snapshot->id);
    Status read = ReadSnapshot(**repo, *snapshot, expected_.Of(snapshot->id));
    if (expected_.IsForgotten(snapshot->id)) continue;
    ASSERT_TRUE(IsOk(read)) << snapshot->id.hex() << " by " << snapshot->body.host
                            << " under lease " << snapshot->body.lease.hex();
  }
  for (const auto& problem : list->problems) {
    // Records that came too late may be there; others have no business to.
    EXPECT_TRUE(problem.why.Is(Code::kStale)) << problem.object << ": " << problem.why.message();
  }
  for (const auto& id : alive) {
    EXPECT_TRUE(listed.contains(id) || expected_.IsForgotten(id)) << id.hex();
  }
}

void World::CheckNoGarbage() {
  auto repo = OpenForJudge();
  ASSERT_TRUE(IsOk(repo));
  clock_.Jump(8 * 24 * 3600 * kSecond);  // whoever crashed has been waited for
  PruneOptions prune;
  prune.now = true;
  CompactOptions compact;
  compact.threshold = 0;
  compact.pack_target = 64 << 10;
  ASSERT_TRUE(IsOk(Prune(**repo, prune)));
  ASSERT_TRUE(IsOk(Compact(**repo, compact)));
  ASSERT_TRUE(IsOk(Prune(**repo, prune)));
  auto left = Prune(**repo, prune);
  ASSERT_TRUE(IsOk(left));
  EXPECT_EQ(left->condemned_packs + left->deleted_packs + left->waiting_packs, 0U);
  EXPECT_EQ(left->unused_bytes, 0U);
  EXPECT_EQ(left->missing_blobs, 0U);
  size_t leases = 0;
  size_t entries = 0;
  ASSERT_TRUE(IsOk(store_.List("leases/", [&](const std::string&, uint64_t) {
    ++leases;
    return Status();
  })));
  ASSERT_TRUE(IsOk(store_.List("condemned/", [&](const std::string&, uint64_t) {
    ++entries;
    return Status();
  })));
  EXPECT_EQ(leases, 0U);
  EXPECT_LE(entries, 2U);
  CheckAll();
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
// What repair brings back, what it leaves, and that a check afterwards says just that.
#include "engine/maintain/repair.h"

#include <random>

#include "engine/format/lease.h"
#include "engine/format/maintenance.h"
#include "engine/maintain/prune.h"
#include "tests/maintain/check_fixture.h"

namespace bkfs {
namespace {

class RepairTest : public CheckFixture {
 protected:
  // After a repair a check with a cache of its own finds nothing but files that cannot be read, and
  // all of those.
  void ExpectOnlyLost(const RepairReport& repaired, const FileCounts& lost) {
    EXPECT_EQ(Files(repaired.check), lost);
    EXPECT_EQ(Damaged(repaired.check), Names());
    const CheckReport after = Check(true);
    EXPECT_EQ(Damaged(after), Names())
        << (after.objects.empty() ? "" : after.objects[0].why.message());
    EXPECT_EQ(Files(after), lost);
    EXPECT_EQ(Unreadable(), lost);
  }
};

TEST_F(RepairTest, NothingToDo) {
  const Store before = Save();
  const RepairReport report = Repair(true);
  EXPECT_TRUE(report.repaired.empty());
  EXPECT_FALSE(report.check.damaged());
  EXPECT_EQ(Save(), before);
}

TEST_F(RepairTest, NeedsTheRight) {
  for (KeyType type : {KeyType::kReadWrite, KeyType::kReadOnly, KeyType::kWriteOnly}) {
    Reopen(test_.Derive(type), "denied-" + std::to_string(++round_));
    EXPECT_EQ(RepairRepository(*repo_, {}, {}).code(), Code::kDenied);
  }
  Reopen(test_.Derive(KeyType::kMaintain), "maintain");
  RepairOptions with_sources;
  with_sources.sources = {source()};
  EXPECT_EQ(RepairRepository(*repo_, with_sources, {}).code(), Code::kDenied);
}

TEST_F(RepairTest, EachIndexSegment) {
  const Store sound = Save();
  for (const auto& name : Objects("index/")) {
    for (bool missing : {true, false}) {
      if (missing) {
        ASSERT_TRUE(IsOk(store_.Remove(name)));
      } else {
        Flip(name, 100);
      }
      const KeyMaterial key = test_.Derive(KeyType::kMaintain);
      EXPECT_FALSE(Unreadable().empty());
      const RepairReport report = Repair(false, TestRepository::Reload(key));
      EXPECT_FALSE(report.repaired.empty());
      ExpectOnlyLost(report, {});
      PutBack(sound);
    }
  }
}

TEST_F(RepairTest, EachPackThatIsGone) {
  const Store sound = Save();
  for (const auto& name : Objects("packs/")) {
    ASSERT_TRUE(IsOk(store_.Remove(name)));
    const FileCounts lost = Unreadable();
    EXPECT_FALSE(lost.empty());
    ExpectOnlyLost(Repair(false), lost);
    PutBack(sound);
  }
}

TEST_F(RepairTest, EachPackWithoutItsFooter) {
  const Store sound = Save();
  for (const auto& name : Objects("packs/")) {
    Flip(name, *store_.Size(name) - 60);
    const RepairReport report = Repair(false);
    EXPECT_FALSE(report.repaired.empty());
    ExpectOnlyLost(report, {});
    PutBack(sound);
  }
}

TEST_F(RepairTest, AFlippedByteCostsItsFrame) {
  // The larger pack has two frames; what is in the other one is saved.
  Flip(contents_[1], 30'000);
  const FileCounts lost = Unreadable();
  const RepairReport report = Repair(true);
  ASSERT_EQ(report.repaired.size(), 1U);
  unsigned moved = 0;
  unsigned of = 0;
  const std::string& line = report.repaired[0];
  ASSERT_EQ(std::sscanf(line.c_str() + line.find(';'), "; %u of its %u", &moved, &of), 2) << line;
  EXPECT_GT(moved, 0U);
  EXPECT_LT(moved, of);
  ExpectOnlyLost(report, lost);
  // What is condemned is not relied upon, so a backup stores it again.
  Reopen(test_.CloneMaster(), "again");
  Write(At("dir/b"), PseudoRandom(400'000, 2));
  Write(At("dir/a"), PseudoRandom(400'000, 1));
  SetTime(At("dir/a"), 5, 0);
  ASSERT_TRUE(IsOk(Backup()));
  EXPECT_FALSE(Check(true).damaged());
  EXPECT_TRUE(Unreadable().empty());
}

TEST_F(RepairTest, ACutPack) {
  Cut(contents_[1], *store_.Size(contents_[1]) / 3);
  const FileCounts lost = Unreadable();
  EXPECT_EQ(Files(Check(false)), lost);
  ExpectOnlyLost(Repair(false), lost);
}

// A damaged pack goes like any other once nothing is missing that might be in it.
TEST_F(RepairTest, PruneTakesAwayWhatWasGivenUp) {
  Write(dest() + "/old b", PseudoRandom(400'000, 2));
  const Store sound = Save();
  for (bool cut : {true, false}) {
    if (cut) {
      Cut(contents_[1], *store_.Size(contents_[1]) / 3);
    } else {
      Flip(contents_[1], 30'000);
    }
    EXPECT_TRUE(Repair(true).check.damaged());
    PruneOptions options;
    options.grace_ns = 0;
    ASSERT_TRUE(IsOk(Prune(*repo_, options)));
    EXPECT_TRUE(store_.Get(contents_[1]).ok());
    EXPECT_FALSE(Repair(true, test_.CloneMaster(), {source(), dest()}).check.damaged());
    ASSERT_TRUE(IsOk(Prune(*repo_, options)));
    EXPECT_FALSE(store_.Get(contents_[1]).ok());
    EXPECT_FALSE(Check(true).damaged());
    EXPECT_TRUE(Unreadable().empty());
    PutBack(sound);
  }
}

TEST_F(RepairTest, SwappedPacksLoseNothing) {
  const Bytes first = *store_.Get(contents_[0]);
  store_.Replace(contents_[0], *store_.Get(contents_[1]));
  store_.Replace(contents_[1], first);
  EXPECT_FALSE(Unreadable().empty());
  ExpectOnlyLost(Repair(false), {});
}

TEST_F(RepairTest, AMaintainKeyLeavesContentsItCannotJudge) {
  Flip(contents_[1], 30'000);
  const Store before = Save();
  const KeyMaterial key = test_.Derive(KeyType::kMaintain);
  const RepairReport report = Repair(true, TestRepository::Reload(key));
  EXPECT_EQ(report.left.size(), 1U);
  EXPECT_EQ(Damaged(report.check), Names{contents_[1]});
  for (const auto& [name, data] : before) EXPECT_EQ(*store_.Get(name), data);
  // Directories it can.
  Flip(trees_[0], *store_.Size(trees_[0]) - 60);
  EXPECT_EQ(Damaged(Repair(true, TestRepository::Reload(key)).check), Names{contents_[1]});
  ExpectOnlyLost(Repair(true), Unreadable());
}

TEST_F(RepairTest, SourcesGiveBackWhatTheyHave) {
  for (const auto& name : contents_) ASSERT_TRUE(IsOk(store_.Remove(name)));
  // dir/b of the first snapshot is nowhere any more.
  const RepairReport report = Repair(false, test_.CloneMaster(), {source()});
  ExpectOnlyLost(report, {{"/dir/b", 1}});
  Write(dest() + "/elsewhere/under/another name", PseudoRandom(400'000, 2));
  ExpectOnlyLost(Repair(false, test_.CloneMaster(), {source(), dest()}), {});
}

TEST_F(RepairTest, ForgedObjectsAreReportedAndRemoved) {
  const KeyMaterial thief = test_.Derive(KeyType::kReadWrite);
  const RepoId repo = test_.master().repo;
  auto list = repo_->snapshots().List();
  ASSERT_TRUE(IsOk(list));
  Removal removal{thief.id(), 1, {list->snapshots[0]->id}};
  const Bytes forged = EncodeRemoval(removal, repo, thief.signing);
  const std::string name = RemovalName(RemovalIdOf(forged));
  store_.Replace(name, forged);
  LogEntry entry;
  entry.signer = thief.id();
  entry.doomed = {*ParsePackName(contents_[0])};
  store_.Replace(LogEntryName(1), EncodeLogEntry(entry, repo, thief.signing));
  entry.number = 77;
  store_.Replace(LogEntryName(77), EncodeLogEntry(entry, repo, thief.signing));
  const CheckReport report = Check(false);
  EXPECT_EQ(Damaged(report), (Names{name, LogEntryName(1), LogEntryName(77)}));
  for (const auto& problem : report.objects) {
    EXPECT_TRUE(problem.why.message().starts_with("ignored: signed by ReadWrite key"));
  }
  EXPECT_EQ(report.snapshots, 2U);
  ExpectOnlyLost(Repair(false), {});
  EXPECT_FALSE(store_.Get(name).ok());
  EXPECT_TRUE(store_.Get(LogEntryName(1)).ok());  // which says nothing
}

TEST_F(RepairTest, AGapInTheLogIsClosed) {
  for (uint64_t number = 1; number <= 3; ++number) {
    LogEntry entry;
    entry.signer = test_.master().id();
    entry.number = number;
    store_.Replace(LogEntryName(number),
                   EncodeLogEntry(entry, test_.master().repo, test_.master().signing));
  }
  ASSERT_TRUE(IsOk(store_.Remove(LogEntryName(2))));
  EXPECT_EQ(Damaged(Check(false)), Names{LogEntryName(2)});
  ExpectOnlyLost(Repair(false), {});
  Flip(LogEntryName(2), 70);
  EXPECT_EQ(Damaged(Check(false)), Names{LogEntryName(2)});
  ExpectOnlyLost(Repair(false), {});
}

TEST_F(RepairTest, ForgedLeases) {
  LeaseId id;
  id.bytes.fill(7);
  store_.Replace(LeaseName(id), Bytes(200, 1));
  store_.Replace(FenceName(id), Bytes(200, 1));
  EXPECT_EQ(Damaged(Check(false)), (Names{LeaseName(id), FenceName(id)}));
  ExpectOnlyLost(Repair(false), {});
}

// What was signed by a key whose badge is lost is not given up: the badge may come back.
TEST_F(RepairTest, ALostBadgeCostsNothingForGood) {
  const KeyMaterial writer = test_.Derive(KeyType::kReadWrite);
  const KeyMaterial maintain = test_.Derive(KeyType::kMaintain);
  Reopen(TestRepository::Reload(writer), "writer");
  Write(At("theirs"), PseudoRandom(300'000, 77));
  ASSERT_TRUE(IsOk(Backup()));
  for (uint64_t number = 1; number <= 2; ++number) {
    const KeyMaterial& by = number == 1 ? maintain : test_.master();
    LogEntry entry;
    entry.signer = by.id();
    entry.number = number;
    store_.Replace(LogEntryName(number), EncodeLogEntry(entry, by.repo, by.signing));
  }
  ASSERT_FALSE(Check(true).damaged());
  const Store sound = Save();
  for (const KeyMaterial* key : {&writer, &maintain}) {
    for (bool missing : {true, false}) {
      const std::string badge = KeyDirectory::BadgeName(key->id());
      if (missing) {
        ASSERT_TRUE(IsOk(store_.Remove(badge)));
      } else {
        Flip(badge, 90);
      }
      EXPECT_TRUE(Check(true).damaged());
      EXPECT_TRUE(Repair(true).check.damaged());
      for (const auto& [name, data] : sound) {
        if (name == badge) continue;
        auto there = store_.Get(name);
        ASSERT_TRUE(IsOk(there)) << name;
        EXPECT_EQ(*there, data) << name;
      }
      store_.Replace(badge, sound.at(badge));
      EXPECT_EQ(Damaged(Check(true)), Names());
      EXPECT_EQ(Files(Check(true)), FileCounts());
      ASSERT_TRUE(IsOk(repo_->maintenance().Refresh()));
      EXPECT_TRUE(repo_->maintenance().Current()->condemned.empty());
      PutBack(sound);
    }
  }
}

// Killed anywhere, a repair has made nothing worse, and the next one finishes.
TEST_F(RepairTest, KilledAnywhere) {
  Flip(contents_[1], *store_.Size(contents_[1]) - 60);
  ASSERT_TRUE(IsOk(store_.Remove(Objects("index/")[0])));
  ASSERT_TRUE(IsOk(store_.Remove(contents_[0])));
  const Store damaged = Save();
  const RepairReport whole = Repair(true);
  const FileCounts lost = Unreadable();
  ExpectOnlyLost(whole, lost);
  PutBack(damaged);
  for (uint64_t n = 0;; n += 3) {
    SCOPED_TRACE("after " + std::to_string(n));
    Reopen(test_.CloneMaster(), "killed-" + std::to_string(++round_));
    faulty_.StopAfter(n, n % 2 == 1);
    RepairOptions options;
    options.check.read.what = ReadSelection::What::kAll;
    const bool finished = RepairRepository(*repo_, options, {}).ok();
    faulty_.Heal();
    EXPECT_EQ(Files(Repair(true).check), lost);
    EXPECT_EQ(Unreadable(), lost);
    PutBack(damaged);
    if (finished || HasFailure()) break;
  }
}

// Whatever happens to packs and index: check foretells what a reader meets, and repair makes it no
// worse, and leaves nothing to say but what is lost.
TEST_F(RepairTest, AnyDamage) {
  const Store sound = Save();
  std::mt19937 random(17);
  for (int round = 0; round < 25; ++round) {
    std::vector<std::string> victims = Objects("packs/");
    for (const auto& name : Objects("index/")) victims.push_back(name);
    std::shuffle(victims.begin(), victims.end(), random);
    victims.resize(1 + random() % 3);
    for (const auto& name : victims) {
      switch (random() % 4) {
        case 0: ASSERT_TRUE(IsOk(store_.Remove(name))); break;
        case 1: Cut(name, random() % *store_.Size(name)); break;
        case 2: Flip(name, *store_.Size(name) - 1 - random() % 100); break;
        default: Flip(name, random()); break;
      }
    }
    SCOPED_TRACE("round " + std::to_string(round));
    const FileCounts before = Unreadable();
    EXPECT_EQ(Files(Check(true)), before);
    const RepairReport report = Repair(true);
    const FileCounts after = Unreadable();
    // Files below a directory that was lost for a while may come to light damaged.
    EXPECT_TRUE(!before.empty() || after.empty());
    ExpectOnlyLost(report, after);
    PutBack(sound);
    if (HasFailure()) break;
  }
}

}  // namespace
}  // namespace bkfs

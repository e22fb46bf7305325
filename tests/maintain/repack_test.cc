// SPDX-License-Identifier: Apache-2.0
// compact over a store that puts moved frames together itself (Backend::Repack), truly or not.
#include <gtest/gtest.h>

#include "engine/crypto/hash.h"
#include "engine/maintain/check.h"
#include "engine/maintain/compact.h"
#include "engine/maintain/forget.h"
#include "engine/maintain/prune.h"
#include "tests/maintain/schedule_world.h"
#include "tests/staging/staging_fixture.h"

namespace bkfs {
namespace {

using Op = FaultBackend::Op;

// A store that repacks, and may say something else than the truth.
class RepackingStore final : public BorrowedBackend {
 public:
  using Lie = std::function<void(RepackedObject& made)>;
  explicit RepackingStore(Backend& inner) : BorrowedBackend(inner) {}
  Result<RepackedObject> Repack(std::span<const RepackPiece> pieces) override {
    ++asked;
    if (!can) return Backend::Repack(pieces);
    if (before) before();
    BKFS_ASSIGN(RepackedObject made, BorrowedBackend::Repack(pieces));
    if (lie) lie(made);
    return made;
  }
  Status Put(const std::string& name, std::span<const ByteView> parts) override {
    Status put = BorrowedBackend::Put(name, parts);
    return twice && name.starts_with("packs/") ? BorrowedBackend::Put(name, parts) : put;
  }
  bool can = true;
  bool twice = false;  // as when the answer to a first try was lost below
  int asked = 0;
  std::function<void()> before;
  Lie lie;
};

class RepackTest : public ::testing::Test {
 protected:
  RepackTest() : faulty_(store_), repacking_(faulty_), staged_(store_, World::Small()) {
    staged_.options.writer.pack_target = 48 << 10;
    staged_.options.writer.contents_frame = 8 << 10;
    staged_.OpenMaster();
    const NodeId root = staged_.Series("s");
    for (uint64_t i = 0; i < 60; ++i) {
      staged_.WriteFile(root, std::to_string(i), PseudoRandom(5000, i + 1));
    }
    auto first = staged_.staging().Commit("s");
    EXPECT_TRUE(IsOk(first));
    for (uint64_t i = 0; i < 60; ++i) {
      if (i % 3 != 0) {
        EXPECT_TRUE(IsOk(staged_.staging().Unlink(root, std::to_string(i))));
      }
    }
    auto second = staged_.staging().Commit("s");
    EXPECT_TRUE(IsOk(second));
    last_ = *second;
    EXPECT_TRUE(IsOk(ForgetSnapshots(staged_.repo(), {*first})));
    staged_.Close();
  }

  Result<CompactReport> Run(KeyMaterial key) {
    Repository::Options options;
    options.cache_directory = staged_.test().folder() + "/maintainer-" + std::to_string(++runs_);
    options.index_memory = 4 << 20;
    BKFS_ASSIGN(auto repo, Repository::Open(
                               std::make_unique<BorrowedBackend>(static_cast<Backend&>(repacking_)),
                               std::move(key), options, log_, clock_));
    CompactOptions compact;
    compact.threshold = 1;
    compact.pack_target = 256 << 10;
    return Compact(*repo, compact);
  }
  Result<CompactReport> RunMaintain() { return Run(staged_.test().Derive(KeyType::kMaintain)); }
  std::vector<std::string> Packs() {
    std::vector<std::string> out;
    EXPECT_TRUE(IsOk(store_.List("packs/", [&](const std::string& name, uint64_t) {
      out.push_back(name);
      return Status();
    })));
    return out;
  }
  // Everything that is to be there is, also when what was condemned has been deleted.
  // `damaged` packs and no files that are.
  void ExpectWhole(size_t damaged = 0, bool files_are = true) {
    PruneOptions now;
    now.now = true;
    auto repo = staged_.test().Open(staged_.test().CloneMaster(),
                                    staged_.test().folder() + "/pruner-" + std::to_string(++runs_));
    ASSERT_TRUE(IsOk(repo));
    ASSERT_TRUE(IsOk(Prune(**repo, now)));
    CheckOptions all;
    all.read = *ParseReadSelection("100%");
    auto checked = CheckRepository(**repo, all, {});
    ASSERT_TRUE(IsOk(checked));
    EXPECT_EQ(checked->objects.size(), damaged);
    if (!files_are) return;
    EXPECT_EQ(checked->files.size(), 0U);
    auto files = StagedRepository::ReadSnapshotOf(**repo, last_);
    EXPECT_EQ(files.size(), 20U);
    for (uint64_t i = 0; i < 60; i += 3) {
      EXPECT_EQ(files["/" + std::to_string(i)], PseudoRandom(5000, i + 1)) << i;
    }
  }

  MemoryBackend store_;
  FaultBackend faulty_;
  RepackingStore repacking_;
  SystemClock clock_;
  NullLogger log_;
  StagedRepository staged_;
  SnapshotId last_;
  int runs_ = 0;
};

TEST_F(RepackTest, FramesDoNotTravel) {
  faulty_.Add({.op = Op::kGet, .prefix = "packs/"});
  faulty_.Add({.op = Op::kPut, .prefix = "packs/"});
  auto report = RunMaintain();
  ASSERT_TRUE(IsOk(report));
  EXPECT_GT(report->frames_moved, 0U);
  EXPECT_GT(report->packs_emptied, 1U);
  EXPECT_GT(report->bytes_copied, 100'000U);
  EXPECT_LT(report->bytes_written, report->bytes_copied / 4);  // footers
  EXPECT_LT(report->bytes_read, report->bytes_copied / 4);
  faulty_.Heal();
  ExpectWhole();
}

TEST_F(RepackTest, WhatIsOpenedTravelsAndTheRestDoesNot) {
  auto report = Run(staged_.test().CloneMaster());
  ASSERT_TRUE(IsOk(report));
  EXPECT_GT(report->frames_rewritten, 0U);
  EXPECT_EQ(faulty_.Count(Op::kRepack), static_cast<uint64_t>(repacking_.asked));
  ExpectWhole();
}

TEST_F(RepackTest, AStoreThatCannotIsAskedOnce) {
  repacking_.can = false;
  auto report = RunMaintain();
  ASSERT_TRUE(IsOk(report));
  EXPECT_EQ(repacking_.asked, 1);
  EXPECT_GT(report->frames_moved, 0U);
  EXPECT_EQ(report->bytes_copied, 0U);
  EXPECT_GT(report->bytes_written, 100'000U);
  ExpectWhole();
}

TEST_F(RepackTest, APackThatIsThereAlreadyIsTheOneThatIsPut) {
  repacking_.can = false;
  repacking_.twice = true;
  auto report = RunMaintain();
  ASSERT_TRUE(IsOk(report));
  EXPECT_GT(report->packs_written, 0U);
  ExpectWhole();
}

TEST_F(RepackTest, ADamagedSourceStaysAsItIs) {
  std::string damaged;
  for (const auto& name : Packs()) {
    Bytes data = *store_.Get(name);
    if (data[12] != 1 || data.size() < 40'000) continue;  // a full one, of contents
    data[2000] ^= 1;
    store_.Replace(name, data);
    damaged = name;
    break;
  }
  ASSERT_FALSE(damaged.empty());
  auto report = RunMaintain();
  ASSERT_TRUE(IsOk(report));
  EXPECT_EQ(report->packs_skipped, 1U);
  EXPECT_GT(report->packs_emptied, 1U);
  ExpectWhole(1, false);
  EXPECT_TRUE(store_.Get(damaged).ok());
  // What else it holds is used from there: nothing of it was copied.
  size_t others = 0;
  for (const auto& name : Packs()) {
    PackId id;
    id.bytes = HashBytes(*store_.Get(name));
    others += PackName(id) == name ? 1 : 0;
  }
  EXPECT_EQ(others + 1, Packs().size());
}

TEST_F(RepackTest, ASourceThatVanishesKeepsTheOthersFromNothing) {
  std::string gone;
  Bytes data;
  repacking_.before = [&] {
    if (!gone.empty()) return;
    for (const auto& name : Packs()) {
      const Bytes pack = *store_.Get(name);
      if (pack[12] != 1 || pack.size() < 40'000) continue;
      gone = name;
      data = pack;
    }
    ASSERT_TRUE(IsOk(store_.Remove(gone)));
  };
  auto report = RunMaintain();
  ASSERT_TRUE(IsOk(report));
  EXPECT_GT(report->packs_emptied, 1U);
  ASSERT_TRUE(IsOk(store_.PutOne(gone, data)));
  ExpectWhole();
}

class RepackLieTest : public RepackTest, public ::testing::WithParamInterface<int> {
 protected:
  void Lie(RepackedObject& made) {
    switch (GetParam()) {
      case 0: made.size -= 1; break;
      case 1: made.name = made.name == Packs().front() ? Packs().back() : Packs().front(); break;
      case 2: made.name = "keys/no-pack"; break;
      case 3: ASSERT_TRUE(IsOk(store_.Remove(made.name))); break;
      default:
        Bytes data = *store_.Get(made.name);
        data[data.size() - 100] ^= 1;
        store_.Replace(made.name, data);
    }
  }
};

TEST_P(RepackLieTest, IsNotBelieved) {
  repacking_.lie = [this](RepackedObject& made) { Lie(made); };
  auto report = RunMaintain();
  ASSERT_TRUE(IsOk(report));
  EXPECT_EQ(repacking_.asked, 1);
  EXPECT_EQ(report->bytes_copied, 0U);
  EXPECT_GT(report->packs_emptied, 1U);
  EXPECT_EQ(report->packs_skipped, 0U);
  ExpectWhole(GetParam() == 4 ? 1 : 0);  // nobody refers to what was made instead
}

INSTANTIATE_TEST_SUITE_P(Lies, RepackLieTest, ::testing::Range(0, 5));

TEST_F(RepackTest, AnAnswerThatIsLostIsTriedAgainByTheNextRun) {
  faulty_.Add({.op = Op::kRepack, .count = 1, .action = FaultBackend::Action::kLose});
  EXPECT_EQ(RunMaintain().code(), Code::kUnavailable);
  faulty_.Heal();
  // It was made, and the next run finds it.
  ASSERT_TRUE(IsOk(RunMaintain()));
  ExpectWhole();
}

}  // namespace
}  // namespace bkfs

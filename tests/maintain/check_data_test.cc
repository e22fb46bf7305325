// SPDX-License-Identifier: Apache-2.0
// Which packs a check reads, what it remembers of them, and maintenance beside it.
#include "engine/maintain/forget.h"
#include "engine/maintain/prune.h"
#include "engine/maintain/read_selection.h"
#include "tests/maintain/check_fixture.h"

namespace bkfs {
namespace {

class CheckDataTest : public CheckFixture {
 protected:
  CheckDataTest() { Reopen(test_.CloneMaster(), "data"); }
  CheckReport Read(const std::string& what, CheckOptions options = {}) {
    auto read = ParseReadSelection(what);
    EXPECT_TRUE(IsOk(read));
    read->restart = options.read.restart;
    read->max_duration_ns = options.read.max_duration_ns;
    options.read = *read;
    auto report = CheckRepository(*repo_, options, {});
    EXPECT_TRUE(IsOk(report));
    return report.ok() ? *report : CheckReport();
  }
  // Ends after so many packs were read.
  void ReadAndStop(uint64_t packs) {
    uint64_t reading = 0;
    bool stop = false;
    CheckOptions options;
    options.read.what = ReadSelection::What::kAll;
    options.cancelled = [&] { return stop; };
    auto report =
        CheckRepository(*repo_, options, [&](std::string_view stage, uint64_t done, uint64_t) {
          if (stage != "packs (reading)") return;
          EXPECT_FALSE(Objects("leases/").empty());
          reading = done;
          stop = done >= packs;
        });
    EXPECT_EQ(report.code(), Code::kInterrupted);
    EXPECT_EQ(reading, packs);
  }
};

TEST(ReadSelectionTest, Words) {
  EXPECT_EQ(ParseReadSelection("")->what, ReadSelection::What::kAll);
  EXPECT_EQ(ParseReadSelection("2.5%")->percent, 2.5);
  EXPECT_EQ(ParseReadSelection("2/5")->part, 2U);
  EXPECT_EQ(ParseReadSelection("2/5")->parts, 5U);
  for (const char* bad : {"0%", "101%", "-1%", "x%", "%", "0/5", "6/5", "/", "1/", "/2", "1/0",
                          "half", "1/2/3", "nan%"}) {
    EXPECT_EQ(ParseReadSelection(bad).code(), Code::kInvalid) << bad;
  }
  EXPECT_EQ(*ParseDuration("90s"), 90'000'000'000);
  EXPECT_EQ(*ParseDuration("1h30m"), 5'400'000'000'000);
  for (const char* bad : {"", "0s", "5", "m", "30m1h", "1h1h", "-1s", "99999999999h", "9000h"}) {
    EXPECT_EQ(ParseDuration(bad).code(), Code::kInvalid) << bad;
  }
}

TEST_F(CheckDataTest, PartsAddUpToAll) {
  CheckReport report = Read("1/3");
  uint64_t read = report.verified_packs;
  EXPECT_EQ(report.never_verified, 4 - read);
  read += Read("2/3").verified_packs;
  report = Read("3/3");
  EXPECT_EQ(read + report.verified_packs, 4U);
  EXPECT_EQ(report.never_verified, 0U);
  EXPECT_TRUE(report.oldest_verified_ns.has_value());
}

TEST_F(CheckDataTest, AShare) {
  EXPECT_EQ(Read("50%").verified_packs, 2U);
  EXPECT_EQ(Read("1%").verified_packs, 1U);
  EXPECT_EQ(Read("100%").verified_packs, 4U);
}

TEST_F(CheckDataTest, AnInterruptedRunIsContinued) {
  ReadAndStop(3);
  Reopen(test_.CloneMaster(), "data");
  EXPECT_EQ(CheckRepository(*repo_, {}, {})->never_verified, 1U);
  ReadAndStop(0);  // another that comes to nothing
  EXPECT_EQ(Read("").verified_packs, 1U);
  EXPECT_EQ(Read("").verified_packs, 4U);  // the round was finished
  ReadAndStop(2);
  CheckOptions restart;
  restart.read.restart = true;
  EXPECT_EQ(Read("", restart).verified_packs, 4U);
  EXPECT_TRUE(Objects("leases/").empty());
}

TEST_F(CheckDataTest, WhenTheTimeIsUpTheNextRunGoesOn) {
  CheckOptions options;
  options.read.max_duration_ns = 1;
  CheckReport report = Read("", options);
  EXPECT_EQ(report.verified_packs, 0U);
  EXPECT_FALSE(report.read_all);
  ReadAndStop(1);
  options.read.max_duration_ns = 3600LL * 1'000'000'000;
  report = Read("", options);
  EXPECT_EQ(report.verified_packs, 3U);
  EXPECT_TRUE(report.read_all);
}

TEST_F(CheckDataTest, LongestNotVerifiedFirst) {
  std::vector<PackId> packs;
  for (const auto& name : Objects("packs/")) packs.push_back(*ParsePackName(name));
  auto verified = VerifiedPacks::Load(scratch_.path() + "/v", RandomSecret(32), test_.log());
  verified.Set(packs[0], 30);
  verified.Set(packs[1], 10);
  verified.Set(packs[3], 20);
  ReadSelection selection = *ParseReadSelection("");
  selection.max_duration_ns = 1;
  EXPECT_EQ(SelectPacks(selection, packs, verified, 100),
            (std::vector<PackId>{packs[2], packs[1], packs[3], packs[0]}));
}

TEST_F(CheckDataTest, ADamagedNoteCostsNothingButReading) {
  Read("");
  const std::string path = repo_->local_directory() + "/verified-packs";
  Bytes sealed = *ReadWholeFile(path);
  sealed[sealed.size() / 2] ^= 1;
  std::filesystem::remove(path);
  ASSERT_TRUE(IsOk(WriteNewFile(path, sealed, 0600)));
  EXPECT_EQ(CheckRepository(*repo_, {}, {})->never_verified, 4U);
  EXPECT_EQ(Read("").verified_packs, 4U);
}

TEST_F(CheckDataTest, DamagedPacksAreNotVerified) {
  Flip(contents_[0], 30'000);
  for (int i = 0; i < 2; ++i) {
    const CheckReport report = Read("");
    EXPECT_EQ(report.verified_packs, 3U);
    EXPECT_EQ(report.never_verified, 1U);
    EXPECT_EQ(Damaged(report), Names{contents_[0]});
  }
}

TEST_F(CheckDataTest, AStoreThatTakesNothingIsCheckedWithoutALease) {
  for (Code code : {Code::kReadOnly, Code::kDenied, Code::kNoSpace}) {
    faulty_.Add({.op = FaultBackend::Op::kPut, .error = Status(code, "no")});
    EXPECT_FALSE(Read("").damaged());
    faulty_.Heal();
  }
}

// The first snapshot is forgotten and its packs go while the check looks at them.
TEST_F(CheckDataTest, APruneBesideItIsNoDamage) {
  faulty_.Add({.op = FaultBackend::Op::kPut, .error = Status(Code::kReadOnly, "no lease")});
  for (const char* when : {"index", "packs", "packs (reading)", "directories"}) {
    const Store sound = Save();
    Reopen(test_.CloneMaster(), "beside-" + std::to_string(++round_));
    auto other =
        Repository::Open(std::make_unique<BorrowedBackend>(store_), test_.CloneMaster(),
                         {.cache_directory = scratch_.path() + "/other" + std::to_string(round_)},
                         test_.log(), test_.clock());
    ASSERT_TRUE(IsOk(other));
    bool done = false;
    CheckOptions options;
    options.read.what = ReadSelection::What::kAll;
    auto report = CheckRepository(*repo_, options, [&](std::string_view stage, uint64_t, uint64_t) {
      if (done || stage != when) return;
      done = true;
      auto list = (*other)->snapshots().List();
      ASSERT_TRUE(IsOk(ForgetSnapshots(**other, {list->snapshots[0]->id}, {})));
      PruneOptions prune;
      prune.now = true;
      auto pruned = Prune(**other, prune);
      ASSERT_TRUE(IsOk(pruned));
      EXPECT_GT(pruned->deleted_packs, 0U);
    });
    EXPECT_TRUE(done);
    ASSERT_TRUE(IsOk(report));
    EXPECT_EQ(Damaged(*report), Names()) << when;
    EXPECT_EQ(Files(*report), FileCounts()) << when;
    PutBack(sound);
  }
}

// A snapshot comes when the index has been read and the snapshots have not.
TEST_F(CheckDataTest, ABackupBesideItIsNoDamage) {
  auto other =
      Repository::Open(std::make_unique<BorrowedBackend>(store_), test_.CloneMaster(),
                       {.cache_directory = scratch_.path() + "/other"}, test_.log(), test_.clock());
  ASSERT_TRUE(IsOk(other));
  Write(At("late"), PseudoRandom(5000, 9));
  bool done = false;
  auto report = CheckRepository(*repo_, {}, [&](std::string_view stage, uint64_t, uint64_t) {
    if (done || stage != "snapshots") return;
    done = true;
    ASSERT_TRUE(IsOk(RunBackup(**other, Options(), watcher_)));
  });
  EXPECT_TRUE(done);
  ASSERT_TRUE(IsOk(report));
  EXPECT_EQ(report->snapshots, 3U);
  EXPECT_EQ(Damaged(*report), Names());
  EXPECT_EQ(Files(*report), FileCounts());
}

class ListHook final : public BorrowedBackend {
 public:
  ListHook(Backend& inner, std::function<void(const std::string&)> hook)
      : BorrowedBackend(inner), hook_(std::move(hook)) {}
  Status List(const std::string& prefix,
              const std::function<Status(const std::string&, uint64_t)>& visit) override {
    hook_(prefix);
    return BorrowedBackend::List(prefix, visit);
  }

 private:
  const std::function<void(const std::string&)> hook_;
};

// The same beside prune, whose marks are made over the index that it has read.
TEST_F(CheckDataTest, ABackupBesidePruneLacksNothing) {
  auto other =
      Repository::Open(std::make_unique<BorrowedBackend>(store_), test_.CloneMaster(),
                       {.cache_directory = scratch_.path() + "/other"}, test_.log(), test_.clock());
  ASSERT_TRUE(IsOk(other));
  Write(At("late"), PseudoRandom(5000, 9));
  bool done = false;
  auto backup = [&](const std::string& prefix) {
    if (done || prefix != "snapshots/") return;
    done = true;
    ASSERT_TRUE(IsOk(RunBackup(**other, Options(), watcher_)));
  };
  auto pruning = Repository::Open(std::make_unique<ListHook>(store_, backup), test_.CloneMaster(),
                                  {.cache_directory = scratch_.path() + "/pruning"}, test_.log(),
                                  test_.clock());
  ASSERT_TRUE(IsOk(pruning));
  auto pruned = Prune(**pruning, PruneOptions());
  ASSERT_TRUE(IsOk(pruned));
  EXPECT_TRUE(done);
  EXPECT_EQ(pruned->missing_blobs, 0U);
  // What is missing indeed is told.
  ASSERT_TRUE(IsOk(store_.Remove(contents_[0])));
  pruned = Prune(**pruning, PruneOptions());
  ASSERT_TRUE(IsOk(pruned));
  EXPECT_GT(pruned->missing_blobs, 0U);
}

// What the log has given up may be there or not, whole or not.
TEST_F(CheckDataTest, CondemnedPacksAreNoDamage) {
  auto list = repo_->snapshots().List();
  ASSERT_TRUE(IsOk(ForgetSnapshots(*repo_, {list->snapshots[0]->id}, {})));
  PruneOptions options;
  options.grace_ns = 3600LL * 1'000'000'000;
  auto pruned = Prune(*repo_, options);
  ASSERT_TRUE(IsOk(pruned));
  ASSERT_GT(pruned->condemned_packs, 0U);
  ASSERT_TRUE(IsOk(repo_->maintenance().Refresh()));
  const auto log = repo_->maintenance().Current();
  const Store sound = Save();
  for (const auto& [id, entry] : log->condemned) {
    Flip(PackName(id), 100);
    EXPECT_FALSE(Check(true).damaged());
    Cut(PackName(id), 500);
    EXPECT_FALSE(Check(true).damaged());
    ASSERT_TRUE(IsOk(store_.Remove(PackName(id))));
    EXPECT_FALSE(Check(true).damaged());
    PutBack(sound);
  }
}

}  // namespace
}  // namespace bkfs

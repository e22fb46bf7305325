// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <thread>

#include "engine/base/transfer.h"
#include "tests/backends/mirror_pair.h"

namespace bkfs {
namespace {

using Op = FaultBackend::Op;
using Action = FaultBackend::Action;

TEST_F(MirrorTest, EveryObjectButLeasesGoesToBoth) {
  auto store = pair_.MustOpen();
  const Bytes snapshot = Data("snapshot");
  PutPack(*store, "one");
  EXPECT_TRUE(IsOk(store->PutOne(SnapshotNameOf(snapshot), snapshot)));
  EXPECT_TRUE(IsOk(store->PutOne("keys/a", snapshot)));
  EXPECT_TRUE(IsOk(store->PutOne("leases/a", snapshot)));
  EXPECT_TRUE(Has(pair_.primary_objects, "leases/a"));
  EXPECT_FALSE(Has(pair_.mirror_objects, "leases/a"));
  EXPECT_EQ(MirrorPair::ObjectsOf(pair_.mirror_objects).size(), 3U);
  pair_.ExpectEqual();
  EXPECT_TRUE(IsOk(store->Remove("keys/a")));
  EXPECT_TRUE(IsOk(store->RemoveAll({"leases/a", SnapshotNameOf(snapshot)})));
  EXPECT_FALSE(Has(pair_.primary_objects, "leases/a"));
  EXPECT_EQ(MirrorPair::ObjectsOf(pair_.mirror_objects).size(), 1U);
  EXPECT_EQ(pair_.Notes(), 1U);  // a change has been made
  store.reset();
  EXPECT_EQ(pair_.Notes(), 0U);
  EXPECT_EQ(pair_.log.Take(), "");
}

TEST_F(MirrorTest, APackGoesToBothAtOnceAndASnapshotToThePrimaryFirst) {
  auto store = pair_.MustOpen();
  pair_.primary.Add({.op = Op::kPut, .error = {Code::kNoSpace, "full"}});
  const Bytes data = Data("data");
  EXPECT_EQ(store->PutOne(PackNameOf(data), data).code(), Code::kNoSpace);
  EXPECT_GE(pair_.mirror.Count(Op::kPut), 1U);
  const uint64_t before = pair_.mirror.Count(Op::kPut);
  EXPECT_EQ(store->PutOne(SnapshotNameOf(data), data).code(), Code::kNoSpace);
  EXPECT_FALSE(Has(pair_.mirror_objects, SnapshotNameOf(data)));
  EXPECT_EQ(pair_.mirror.Count(Op::kPut), before);
  // What the failed one left on the mirror goes when that is caught up.
  pair_.primary.Heal();
  store.reset();
  store = pair_.MustOpen();
  MirrorPair::AwaitInStep(*store);
  EXPECT_FALSE(Has(pair_.mirror_objects, PackNameOf(data)));
}

TEST_F(MirrorTest, AMirrorThatFailsFailsNothingAndIsCaughtUp) {
  auto store = pair_.MustOpen();
  const std::string gone = PutPack(*store, "gone");
  pair_.mirror.StopAfter(0);
  pair_.log.Take();
  PutPack(*store, "one");
  EXPECT_TRUE(IsOk(store->PutOne("keys/a", Data("key"))));
  EXPECT_TRUE(IsOk(store->Remove(gone)));
  EXPECT_TRUE(store->IsBehind());
  const std::string warnings = pair_.log.Take();
  EXPECT_NE(warnings.find("the mirror mem:mirror is behind"), std::string::npos) << warnings;
  EXPECT_EQ(std::count(warnings.begin(), warnings.end(), '\n'), 1) << warnings;
  EXPECT_TRUE(Has(pair_.mirror_objects, gone));
  pair_.mirror.Heal();
  MirrorPair::AwaitInStep(*store);
  pair_.ExpectEqual();
  EXPECT_EQ(pair_.Notes(), 0U);
  PutPack(*store, "two");
  pair_.ExpectEqual();
}

// But for lies, which the check finds.
TEST_F(MirrorTest, EachFailureOfTheMirrorAtEachStep) {
  for (uint64_t step = 1; step < 40; ++step) {
    for (const Action action : {Action::kFail, Action::kLose, Action::kCut}) {
      SCOPED_TRACE(std::to_string(step) + " " + std::to_string(static_cast<int>(action)));

      MirrorPair pair;
      pair.mirror.Add({.first = step, .count = 3, .action = action});
      auto store = pair.MustOpen();
      std::vector<std::string> names;
      for (const char* text : {"a", "b", "c", "d"}) names.push_back(PutPack(*store, text));
      EXPECT_TRUE(IsOk(store->PutOne("bkfs.repo", Data("header"))));
      EXPECT_TRUE(IsOk(store->Remove(names[0])));
      EXPECT_TRUE(IsOk(store->RemoveAll({names[1], names[2]})));
      EXPECT_TRUE(IsOk(store->Get(names[3])));
      MirrorPair::AwaitInStep(*store);
      store.reset();
      EXPECT_EQ(pair.Notes(), 0U);
      pair.ExpectEqual();
    }
  }
}

TEST_F(MirrorTest, WhatWasMissedIsRememberedAcrossAnEnd) {
  auto store = pair_.MustOpen();
  pair_.mirror.StopAfter(0);
  const std::string name = PutPack(*store, "one");
  store.reset();
  EXPECT_EQ(pair_.Notes(), 1U);
  EXPECT_FALSE(Has(pair_.mirror_objects, name));
  pair_.mirror.Heal();
  store = pair_.MustOpen();
  MirrorPair::AwaitInStep(*store);
  EXPECT_TRUE(Has(pair_.mirror_objects, name));
  EXPECT_EQ(pair_.Notes(), 0U);
}

// As after a kill between the primary's acknowledgement and the mirror's.
TEST_F(MirrorTest, AFileThatADeadProcessLeftMeansCatchingUp) {
  const Bytes data = Data("one");
  auto store = pair_.MustOpen();
  const std::string gone = PutPack(*store, "gone");
  store.reset();
  EXPECT_TRUE(IsOk(pair_.primary_objects.PutOne(PackNameOf(data), data)));
  EXPECT_TRUE(IsOk(pair_.primary_objects.Remove(gone)));
  const std::string text = "removed " + gone + "\nremoved " + PackNameOf(data) + "\nremoved pac";
  EXPECT_TRUE(IsOk(WriteNewFile(pair_.scratch.path() + "/state/1-2", AsBytes(text), 0600)));
  store = pair_.MustOpen();
  EXPECT_TRUE(store->IsBehind());
  MirrorPair::AwaitInStep(*store);
  pair_.ExpectEqual();
  EXPECT_EQ(pair_.Notes(), 0U);
}

TEST_F(MirrorTest, WhereNothingCanBeNotedThatIsSaidOnce) {
  auto store = pair_.MustOpen();
  EXPECT_TRUE(IsOk(RemoveTree(pair_.scratch.path() + "/state")));
  PutPack(*store, "one");
  const std::string name = PutPack(*store, "two");
  EXPECT_TRUE(IsOk(store->Remove(name)));
  const std::string warnings = pair_.log.Take();
  EXPECT_NE(warnings.find("a crash now would forget"), std::string::npos) << warnings;
  EXPECT_EQ(std::count(warnings.begin(), warnings.end(), '\n'), 1) << warnings;
  pair_.ExpectEqual();
}

TEST_F(MirrorTest, WhatTheMirrorDoesNotLetGoYetIsNotForgotten) {
  auto store = pair_.MustOpen();
  const std::string name = PutPack(*store, "locked");
  pair_.mirror.Add({.op = Op::kRemove, .error = {Code::kDenied, "locked until then"}});
  EXPECT_TRUE(IsOk(store->Remove(name)));
  EXPECT_FALSE(store->IsBehind());
  store.reset();
  store = pair_.MustOpen();
  MirrorPair::AwaitInStep(*store);
  EXPECT_TRUE(Has(pair_.mirror_objects, name));
  store.reset();
  pair_.mirror.Heal();
  store = pair_.MustOpen();
  MirrorPair::AwaitInStep(*store);
  EXPECT_FALSE(Has(pair_.mirror_objects, name));
  EXPECT_EQ(pair_.Notes(), 0U);
}

TEST_F(MirrorTest, WhatOnlyTheMirrorHasIsNeverRemovedUnlessItsRemovalWasNoted) {
  const std::string lost = PutPack(pair_.mirror_objects, "lost on the primary");
  auto store = pair_.MustOpen();
  pair_.mirror.StopAfter(0);
  PutPack(*store, "one");
  pair_.mirror.Heal();
  MirrorPair::AwaitInStep(*store);
  EXPECT_TRUE(Has(pair_.mirror_objects, lost));
}

TEST_F(MirrorTest, AnEmptyMirrorGetsEverythingTheHeaderLast) {
  EXPECT_TRUE(IsOk(pair_.primary_objects.PutOne("bkfs.repo", Data("header"))));
  const std::string pack = PutPack(pair_.primary_objects, "one");
  EXPECT_TRUE(IsOk(pair_.primary_objects.PutOne("keys/k", Data("key"))));
  EXPECT_TRUE(IsOk(pair_.primary_objects.PutOne("leases/l", Data("lease"))));
  pair_.mirror.Add({.op = Op::kPut, .prefix = "keys/"});
  auto store = pair_.MustOpen();
  for (int i = 0; i < 5000 && pair_.mirror.Count(Op::kPut) < 4; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(Has(pair_.mirror_objects, pack));
  EXPECT_FALSE(Has(pair_.mirror_objects, "bkfs.repo"));
  pair_.mirror.Heal();
  MirrorPair::AwaitInStep(*store);
  pair_.ExpectEqual();
  EXPECT_FALSE(Has(pair_.mirror_objects, "leases/l"));
}

TEST_F(MirrorTest, AnotherRepositoryIsRefusedAndLeftAlone) {
  EXPECT_TRUE(IsOk(pair_.primary_objects.PutOne("bkfs.repo", Data("header"))));
  EXPECT_TRUE(IsOk(pair_.mirror_objects.PutOne("bkfs.repo", Data("another"))));
  auto store = pair_.Open();
  EXPECT_EQ(store.code(), Code::kInvalid);
  EXPECT_NE(store.status().message().find("mem:mirror holds another repository"),
            std::string::npos);
  // Nor when it comes later.
  pair_.mirror_is_there = false;
  auto late = pair_.MustOpen();
  PutPack(*late, "one");
  pair_.mirror_is_there = true;
  EXPECT_EQ(late->CatchUpNow().code(), Code::kInvalid);
  EXPECT_TRUE(late->IsBehind());
  EXPECT_EQ(MirrorPair::ObjectsOf(pair_.mirror_objects).size(), 1U);
}

TEST_F(MirrorTest, OpensWithoutTheMirrorAndTakesItWhenItComes) {
  pair_.mirror_is_there = false;
  auto store = pair_.MustOpen();
  EXPECT_NE(pair_.log.Take().find("the mirror mem:mirror cannot be used"), std::string::npos);
  EXPECT_EQ(pair_.Notes(), 0U);  // who only looks notes nothing
  PutPack(*store, "one");
  EXPECT_EQ(pair_.Notes(), 1U);
  pair_.mirror_is_there = true;
  EXPECT_TRUE(IsOk(store->CatchUpNow()));
  pair_.ExpectEqual();
  EXPECT_EQ(pair_
                .Open([](MirrorOptions& o) {
                  o.must_be_there = true;
                  o.open = [](bool) { return Status(Code::kUnavailable, "away"); };
                })
                .code(),
            Code::kUnavailable);
}

TEST_F(MirrorTest, ReadsComeFromTheNearer) {
  auto store = pair_.MustOpen();
  const std::string name = PutPack(*store, "one");
  pair_.primary.MakeFar();
  const uint64_t primary = pair_.primary.Count(Op::kReadAt);
  Bytes out(3);
  EXPECT_TRUE(IsOk(store->ReadAt(name, 0, out)));
  EXPECT_EQ(pair_.primary.Count(Op::kReadAt), primary);
  EXPECT_EQ(pair_.mirror.Count(Op::kReadAt), 1U);
  EXPECT_TRUE(store->IsNear(name, 0, 1));
  EXPECT_TRUE(store->IsNear("packs", 0, 1));
  EXPECT_FALSE(store->IsNear("keys/a", 0, 1));
}

TEST_F(MirrorTest, WhatIsNotNamedByItsContentComesFromThePrimaryAlone) {
  auto store = pair_.MustOpen();
  EXPECT_TRUE(IsOk(store->PutOne("condemned/1", Data("new"))));
  pair_.mirror_objects.Replace("condemned/1", Data("old"));
  pair_.primary.MakeFar();
  EXPECT_EQ(*store->Get("condemned/1"), Data("new"));
  pair_.primary.StopAfter(0);
  EXPECT_EQ(store->Get("condemned/1").code(), Code::kUnavailable);
  EXPECT_EQ(store->Size(PackNameOf(Data("x"))).code(), Code::kUnavailable);
  EXPECT_EQ(store->List("", [](const std::string&, uint64_t) { return OkStatus(); }).code(),
            Code::kUnavailable);
}

TEST_F(MirrorTest, TheOtherServesWhereOneFailsLacksOrHasItCutOrDamaged) {
  auto store = pair_.MustOpen();
  const std::string name = PutPack(*store, "some bytes");
  Bytes out(10);
  for (FaultBackend* first : {&pair_.primary, &pair_.mirror}) {
    if (first == &pair_.mirror) pair_.primary.MakeFar();
    for (const Status& error : {Status(Code::kUnavailable, "away"), Status(Code::kNotFound, "gone"),
                                Status(Code::kIo, "broken")}) {
      first->Add({.op = Op::kReadAt, .error = error});
      first->Add({.op = Op::kGet, .error = error});
      EXPECT_TRUE(IsOk(store->ReadAt(name, 0, out)));
      EXPECT_EQ(out, Data("some bytes"));
      EXPECT_EQ(*store->Get(name), Data("some bytes"));
      first->Heal();
    }
    first->Add({.op = Op::kReadAt, .action = Action::kCut});
    first->Add({.op = Op::kGet, .action = Action::kFlip});
    std::fill(out.begin(), out.end(), 0);
    EXPECT_TRUE(IsOk(store->ReadAt(name, 0, out)));
    EXPECT_EQ(out, Data("some bytes"));
    EXPECT_EQ(*store->Get(name), Data("some bytes"));
    first->Heal();
  }
  EXPECT_EQ(store->Get(PackNameOf(Data("none"))).code(), Code::kNotFound);
  // Damaged on both: the reader sees what the primary has.
  pair_.primary_objects.Replace(name, Data("other1"));
  pair_.mirror_objects.Replace(name, Data("other2"));
  EXPECT_EQ(*store->Get(name), Data("other1"));
}

TEST_F(MirrorTest, WhatIsFoundUnderANameOnTheMirrorIsMadeThePrimarys) {
  const Bytes data = Data("data");
  EXPECT_TRUE(IsOk(pair_.mirror_objects.PutOne("keys/a", Data("stale"))));
  EXPECT_TRUE(IsOk(pair_.mirror_objects.PutOne(PackNameOf(data), Data("cut"))));
  auto store = pair_.MustOpen();
  EXPECT_TRUE(IsOk(store->PutOne("keys/a", data)));
  EXPECT_TRUE(IsOk(store->PutOne(PackNameOf(data), data)));
  pair_.ExpectEqual();
  EXPECT_FALSE(store->IsBehind());
}

TEST_F(MirrorTest, WhatIsMissedWhileItIsCaughtUpIsCaughtUpToo) {
  pair_.mirror_is_there = false;
  auto store = pair_.MustOpen();
  const std::string first = PutPack(*store, "one");
  pair_.mirror.Add({.op = Op::kPut,
                    .prefix = first,
                    .action = Action::kDelay,
                    .delay_nanos = 300 * MirrorPair::kMillisecond});
  const Bytes data = Data("two");
  pair_.mirror.Add({.op = Op::kPut, .prefix = PackNameOf(data), .count = 1});
  pair_.mirror_is_there = true;
  for (int i = 0; i < 5000 && pair_.mirror.Count(Op::kPut) == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  PutPack(*store, "two");  // behind the listing, and the mirror fails
  EXPECT_TRUE(store->IsBehind());
  MirrorPair::AwaitInStep(*store);
  pair_.ExpectEqual();
}

// The second try finds that it is there, and so says nothing to the mirror.
TEST_F(MirrorTest, APutWhoseReplyWasLostIsMirrored) {
  auto store = pair_.MustOpen();
  const Bytes data = Data("data");
  for (const std::string& name : {std::string("keys/a"), SnapshotNameOf(data), PackNameOf(data)}) {
    pair_.primary.Add({.op = Op::kPut, .count = 1, .action = Action::kLose});
    EXPECT_EQ(store->PutOne(name, data).code(), Code::kUnavailable);
    MirrorPair::AwaitInStep(*store);
    EXPECT_TRUE(Has(pair_.mirror_objects, name)) << name;
    EXPECT_EQ(store->PutOne(name, data).code(), Code::kExists);
    pair_.primary.Heal();
  }
  pair_.ExpectEqual();
}

TEST_F(MirrorTest, OnlyThePrimaryDecidesWhoWasFirst) {
  auto store = pair_.MustOpen();
  EXPECT_TRUE(IsOk(pair_.primary_objects.PutOne("condemned/1", Data("theirs"))));
  EXPECT_EQ(store->PutOne("condemned/1", Data("mine")).code(), Code::kExists);
  EXPECT_FALSE(Has(pair_.mirror_objects, "condemned/1"));
}

TEST_F(MirrorTest, AWaitingCallerCanBeInterrupted) {
  auto store = pair_.MustOpen();
  pair_.mirror.Add({.op = Op::kPut, .action = Action::kDelay, .delay_nanos = 3600'000'000'000});
  std::atomic<bool> interrupted = false;
  WaitLimit limit(WaitLimit::kForever, [&] { return interrupted.load(); });
  WatchScope scope(limit);
  std::thread signal([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    interrupted = true;
  });
  PutPack(*store, "one");  // the primary has it: it is done
  signal.join();
  EXPECT_TRUE(store->IsBehind());
  // And the end does not wait for the mirror either.
}

TEST_F(MirrorTest, RepackingIsMirrored) {
  auto store = pair_.MustOpen();
  const std::string source = PutPack(*store, "0123456789");
  const std::vector<RepackPiece> pieces{{.source = source, .offset = 2, .length = 5}};
  auto made = store->Repack(pieces);
  ASSERT_TRUE(IsOk(made));
  pair_.ExpectEqual();
  // A mirror that lacks the source gets the new object itself.
  EXPECT_TRUE(IsOk(pair_.mirror_objects.Remove(source)));
  EXPECT_TRUE(IsOk(store->Remove(made->name)));
  ASSERT_TRUE(IsOk(store->Repack(pieces)));
  EXPECT_TRUE(Has(pair_.mirror_objects, made->name));
}

TEST_F(MirrorTest, ThreadsBesideOneAnotherAndAMirrorThatComesAndGoes) {
  auto store = pair_.MustOpen();
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 100; ++i) {
        const std::string text = std::to_string(thread) + "/" + std::to_string(i);
        const std::string name = PutPack(*store, text);
        EXPECT_EQ(*store->Get(name), Data(text));
        if (i % 3 != 0) continue;
        EXPECT_TRUE(IsOk(store->Remove(name)));
      }
    });
  }
  for (int i = 0; i < 20; ++i) {
    pair_.mirror.StopAfter(5);
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    pair_.mirror.Heal();
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
  }
  for (auto& thread : threads) thread.join();
  MirrorPair::AwaitInStep(*store);
  store.reset();
  pair_.ExpectEqual();
  EXPECT_EQ(MirrorPair::ObjectsOf(pair_.primary_objects).size(), 4U * 66);
  EXPECT_EQ(pair_.Notes(), 0U);
}

}  // namespace
}  // namespace bkfs

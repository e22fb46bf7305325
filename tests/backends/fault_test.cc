// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <bit>
#include <chrono>

#include "backends/fault/fault_backend.h"
#include "backends/memory/memory_backend.h"
#include "engine/crypto/hash.h"
#include "engine/format/pack.h"

namespace bkfs {
namespace {

using Op = FaultBackend::Op;
using Action = FaultBackend::Action;

class FaultTest : public testing::Test {
 protected:
  FaultTest() {
    for (const char* name : {"a", "packs/1", "packs/2"}) {
      EXPECT_TRUE(memory_.PutOne(name, AsBytes("0123456789")).ok());
    }
  }
  size_t Objects() {
    size_t count = 0;
    EXPECT_TRUE(memory_
                    .List("",
                          [&](const std::string&, uint64_t) {
                            ++count;
                            return OkStatus();
                          })
                    .ok());
    return count;
  }

  MemoryBackend memory_;
  FaultBackend faulty_{memory_};
};

// The number of bits in which two byte strings of one length differ.
int BitsApart(ByteView a, ByteView b) {
  EXPECT_EQ(a.size(), b.size());
  int bits = 0;
  for (size_t i = 0; i < a.size(); ++i) bits += std::popcount(static_cast<uint8_t>(a[i] ^ b[i]));
  return bits;
}

TEST_F(FaultTest, TheNthOperationFailsWithTheGivenStatus) {
  faulty_.Add({.first = 3, .count = 2, .error = {Code::kNoSpace, "full", 28}});
  EXPECT_TRUE(faulty_.Get("a").ok());
  EXPECT_TRUE(faulty_.Size("a").ok());
  Status status = faulty_.PutOne("b", AsBytes("x"));
  EXPECT_EQ(status.code(), Code::kNoSpace);
  EXPECT_EQ(status.system_errno(), 28);
  EXPECT_EQ(status.message(), "b: full");
  EXPECT_EQ(faulty_.Space().code(), Code::kNoSpace);
  EXPECT_TRUE(faulty_.Get("a").ok());
  EXPECT_EQ(Objects(), 3U);
  EXPECT_EQ(faulty_.Count(), 5U);
  EXPECT_EQ(faulty_.Count(Op::kGet), 2U);
  EXPECT_EQ(faulty_.Count(Op::kPut), 1U);
}

TEST_F(FaultTest, OfOneKindAndPrefixUntilHealed) {
  faulty_.Add({.op = Op::kGet, .prefix = "packs/", .first = 2});
  EXPECT_TRUE(faulty_.Get("packs/1").ok());
  EXPECT_EQ(faulty_.Get("packs/1").code(), Code::kUnavailable);
  EXPECT_EQ(faulty_.Get("packs/2").code(), Code::kUnavailable);
  EXPECT_TRUE(faulty_.Get("a").ok());
  EXPECT_TRUE(faulty_.Size("packs/1").ok());
  faulty_.Heal();
  EXPECT_TRUE(faulty_.Get("packs/1").ok());
}

TEST_F(FaultTest, ALostReplyMayHaveHappened) {
  faulty_.Add({.action = Action::kLose});
  EXPECT_EQ(faulty_.PutOne("b", AsBytes("x")).code(), Code::kUnavailable);
  EXPECT_EQ(faulty_.Remove("a").code(), Code::kUnavailable);
  EXPECT_EQ(faulty_.Get("packs/1").code(), Code::kUnavailable);
  EXPECT_EQ(faulty_.Remove("nothing").code(), Code::kNotFound);
  faulty_.Heal();
  EXPECT_TRUE(faulty_.Get("b").ok());
  EXPECT_EQ(faulty_.Get("a").code(), Code::kNotFound);
}

TEST_F(FaultTest, CutLosesTheTail) {
  faulty_.Add({.action = Action::kCut, .amount = 4});
  EXPECT_EQ(AsText(*faulty_.Get("a")), "012345");
  Bytes out(10, '-');
  EXPECT_EQ(faulty_.ReadAt("a", 0, out).code(), Code::kCorrupt);
  EXPECT_EQ(AsText(out), "012345----");
  EXPECT_EQ(*faulty_.Size("a"), 6U);
  EXPECT_EQ(faulty_.PutOne("b", AsBytes("x")).code(), Code::kUnavailable);
  EXPECT_EQ(Objects(), 3U);
  faulty_.Heal();
  faulty_.Add({.action = Action::kCut, .amount = 100});
  EXPECT_TRUE(faulty_.Get("a")->empty());
  EXPECT_EQ(*faulty_.Size("a"), 0U);
}

TEST_F(FaultTest, AListIsCutShort) {
  faulty_.Add({.op = Op::kList, .action = Action::kCut, .amount = 2});
  int seen = 0;
  Status status = faulty_.List("", [&](const std::string&, uint64_t) {
    ++seen;
    return OkStatus();
  });
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_EQ(seen, 2);
}

TEST_F(FaultTest, FlipsOneBit) {
  const ByteView good = AsBytes("0123456789");
  faulty_.Add({.action = Action::kFlip, .amount = 13});
  EXPECT_EQ(BitsApart(*faulty_.Get("a"), good), 1);
  Bytes out(10);
  ASSERT_TRUE(faulty_.ReadAt("a", 0, out).ok());
  EXPECT_EQ(BitsApart(out, good), 1);
  const ByteView parts[] = {good.first(1), good.subspan(1)};
  ASSERT_TRUE(faulty_.Put("b", parts).ok());
  ASSERT_TRUE(faulty_.Put("empty", {}).ok());
  faulty_.Heal();
  EXPECT_EQ(BitsApart(*faulty_.Get("b"), good), 1);
  EXPECT_EQ((*faulty_.Get("b"))[1], good[1] ^ 0x20);
}

TEST_F(FaultTest, RepackFailsLosesItsAnswerOrStoresSomethingElse) {
  auto name_of = [](ByteView data) {
    PackId id;
    id.bytes = HashBytes(data);
    return PackName(id);
  };
  const ByteView data = AsBytes("0123456789");
  ASSERT_TRUE(memory_.PutOne(name_of(data), data).ok());
  auto repack = [&](ByteView tail) {
    const std::vector<RepackPiece> pieces = {{name_of(data), 0, 5, {}}, {"", 0, 0, tail}};
    return faulty_.Repack(pieces);
  };
  faulty_.Add({.op = Op::kRepack, .prefix = "packs/", .count = 1});
  EXPECT_EQ(repack(AsBytes("a")).code(), Code::kUnavailable);
  EXPECT_EQ(memory_.Get(name_of(AsBytes("01234a"))).code(), Code::kNotFound);
  faulty_.Heal();
  faulty_.Add({.op = Op::kRepack, .count = 1, .action = Action::kLose});
  EXPECT_EQ(repack(AsBytes("b")).code(), Code::kUnavailable);
  EXPECT_TRUE(memory_.Get(name_of(AsBytes("01234b"))).ok());
  faulty_.Heal();
  faulty_.Add({.op = Op::kRepack, .count = 1, .action = Action::kFlip, .amount = 13});
  auto made = repack(AsBytes("c"));
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(BitsApart(*memory_.Get(made->name), AsBytes("01234c")), 1);
  EXPECT_EQ(repack(AsBytes("d"))->name, name_of(AsBytes("01234d")));
  EXPECT_EQ(faulty_.Count(Op::kRepack), 4U);
}

TEST_F(FaultTest, DelaysAndThenGoesOn) {
  faulty_.Add({.action = Action::kDelay, .delay_nanos = 30'000'000});
  faulty_.Add({.op = Op::kSize});
  auto before = std::chrono::steady_clock::now();
  EXPECT_TRUE(faulty_.Get("a").ok());
  EXPECT_EQ(faulty_.Size("a").code(), Code::kUnavailable);
  EXPECT_GE(std::chrono::steady_clock::now() - before, std::chrono::milliseconds(60));
}

TEST_F(FaultTest, AStoppedStoreAnswersNothing) {
  faulty_.StopAfter(2);
  EXPECT_TRUE(faulty_.PutOne("b", AsBytes("x")).ok());
  EXPECT_TRUE(faulty_.Get("a").ok());
  EXPECT_EQ(faulty_.PutOne("c", AsBytes("x")).code(), Code::kUnavailable);
  EXPECT_EQ(faulty_.Get("a").code(), Code::kUnavailable);
  EXPECT_EQ(Objects(), 4U);
  faulty_.Heal();
  EXPECT_TRUE(faulty_.Get("a").ok());
}

TEST_F(FaultTest, TheLastOperationBeforeTheStopMayBeDone) {
  faulty_.StopAfter(1, true);
  EXPECT_TRUE(faulty_.PutOne("b", AsBytes("x")).ok());
  EXPECT_EQ(faulty_.PutOne("c", AsBytes("x")).code(), Code::kUnavailable);
  EXPECT_EQ(faulty_.PutOne("d", AsBytes("x")).code(), Code::kUnavailable);
  EXPECT_TRUE(memory_.Get("c").ok());
  EXPECT_EQ(memory_.Get("d").code(), Code::kNotFound);
}

}  // namespace
}  // namespace bkfs

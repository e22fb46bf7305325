// SPDX-License-Identifier: Apache-2.0
// Random operations on a mirrored pair whose stores fail at random: once both are healed and the
// mirror is caught up, they are equal, and nothing that was acknowledged is missing.
#include <array>
#include <random>

#include "tests/backends/mirror_pair.h"

namespace bkfs {
namespace {

using Op = FaultBackend::Op;
using Action = FaultBackend::Action;

class Schedule {
 public:
  explicit Schedule(uint64_t seed) : random_(seed) {}

  void Run(int steps) {
    store_ = pair_.MustOpen();
    for (int i = 0; i < steps; ++i) Step();
    pair_.primary.Heal();
    pair_.mirror.Heal();
    pair_.mirror_is_there = true;
    if (!store_) store_ = pair_.MustOpen();
    MirrorPair::AwaitInStep(*store_);
    store_.reset();
    // What a put that failed has left on the mirror goes with the next catching up.
    store_ = pair_.MustOpen();
    MirrorPair::AwaitInStep(*store_);
    store_.reset();
    pair_.ExpectEqual();
    EXPECT_EQ(pair_.Notes(), 0U);
    const auto there = MirrorPair::ObjectsOf(pair_.primary_objects);
    for (const auto& [name, bytes] : acknowledged_) {
      const auto at = there.find(name);
      ASSERT_TRUE(at != there.end()) << name;
      EXPECT_EQ(at->second, bytes) << name;
    }
  }

 private:
  uint64_t UpTo(uint64_t most) { return std::uniform_int_distribution<uint64_t>(0, most)(random_); }

  void Put() {
    Bytes bytes(UpTo(3000));
    for (auto& byte : bytes) byte = static_cast<uint8_t>(UpTo(255));
    AppendInt<uint64_t>(bytes, ++number_);
    std::string name;
    switch (UpTo(4)) {
      case 0: name = "keys/" + std::to_string(number_); break;
      case 1: name = SnapshotNameOf(bytes); break;
      case 2: name = IndexNameOf(bytes); break;
      case 3: name = "leases/" + std::to_string(number_); break;
      default: name = PackNameOf(bytes); break;
    }
    // As Retry does, which is around a mirror.
    Status put = store_->PutOne(name, bytes);
    if (put.Is(Code::kUnavailable) && UpTo(1) == 0) {
      put = store_->PutOne(name, bytes);
      if (put.Is(Code::kExists)) put = {};
    }
    if (put.ok() && IsMirrored(name)) acknowledged_[name] = bytes;
  }

  void Remove() {
    if (acknowledged_.empty()) return;
    std::vector<std::string> names;
    for (uint64_t count = 1 + UpTo(3); count > 0 && !acknowledged_.empty(); --count) {
      const auto at =
          std::next(acknowledged_.begin(), static_cast<ptrdiff_t>(UpTo(acknowledged_.size() - 1)));
      names.push_back(at->first);
      acknowledged_.erase(at);  // whatever comes of it
    }
    if (names.size() == 1) {
      (void)store_->Remove(names[0]).ok();
    } else {
      (void)store_->RemoveAll(names).ok();
    }
  }

  void Read() {
    if (acknowledged_.empty()) return;
    const auto at =
        std::next(acknowledged_.begin(), static_cast<ptrdiff_t>(UpTo(acknowledged_.size() - 1)));
    auto got = store_->Get(at->first);
    if (got.ok()) {
      EXPECT_EQ(*got, at->second) << at->first;
    }
  }

  void Break() {
    const bool on_primary = UpTo(2) == 0;
    FaultBackend& store = on_primary ? pair_.primary : pair_.mirror;
    FaultBackend::Rule rule;
    rule.op = std::array{Op::kAny, Op::kPut, Op::kRemove, Op::kList, Op::kSize, Op::kGet}[UpTo(5)];
    rule.action = std::array{Action::kFail, Action::kLose, Action::kCut}[UpTo(2)];
    // Wrong bytes only from the mirror: nothing here knows better than the primary.
    if (rule.op == Op::kGet && rule.action == Action::kCut) {
      rule.action = on_primary ? Action::kFail : Action::kFlip;
    }
    if (rule.op == Op::kSize) rule.action = Action::kFail;
    if (rule.op == Op::kAny) rule.action = UpTo(1) == 0 ? Action::kFail : Action::kLose;
    rule.error = Status(UpTo(3) == 0 ? Code::kNoSpace : Code::kUnavailable, "made to fail");
    rule.first = 1 + UpTo(5);
    rule.count = 1 + UpTo(8);
    store.Add(rule);
  }

  void Step() {
    if (!store_) {
      auto opened = pair_.Open();
      if (opened.ok()) store_ = *std::move(opened);
      if (!store_) {
        pair_.primary.Heal();
        return;
      }
    }
    switch (UpTo(19)) {
      case 0:
      case 1: Break(); break;
      case 2: pair_.primary.Heal(); break;
      case 3: pair_.mirror.Heal(); break;
      case 4:
        if (UpTo(2) == 0) store_.reset();
        break;
      case 5: pair_.mirror_is_there = UpTo(1) == 0; break;
      case 6:
      case 7:
      case 8: Remove(); break;
      case 9:
      case 10: Read(); break;
      default: Put(); break;
    }
  }

  std::mt19937_64 random_;
  MirrorPair pair_;
  std::unique_ptr<MirrorBackend> store_;
  std::map<std::string, Bytes> acknowledged_;
  uint64_t number_ = 0;
};

TEST(MirrorModelTest, InTheEndBothAreEqual) {
  constexpr uint64_t kSeeds = 60;
  const char* one = std::getenv("BKFS_SEED");  // NOLINT(concurrency-mt-unsafe)
  const uint64_t first = one != nullptr ? std::stoull(one) : 1;
  for (uint64_t seed = first; seed < (one != nullptr ? first + 1 : first + kSeeds); ++seed) {
    SCOPED_TRACE("BKFS_SEED=" + std::to_string(seed));
    Schedule(seed).Run(250);
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace bkfs

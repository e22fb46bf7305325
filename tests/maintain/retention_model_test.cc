// SPDX-License-Identifier: Apache-2.0
// Random snapshots and policies: what holds whatever they are.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "engine/maintain/retention.h"

namespace bkfs {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kNow = 1'795'262'400 * kSecond;  // November 2026

// Half of the year an hour further ahead.
int64_t Zone(int64_t seconds) { return seconds / (182 * 86'400) % 2 == 0 ? 3600 : 7200; }

class RetentionModel : public testing::Test {
 protected:
  void MakeItems() {
    items_.clear();
    // Close together now and then, so that there are ties and several in an hour.
    const int64_t span = kSecond * (Below(2) == 0 ? 10'000 : 100'000'000);
    const size_t count = 1 + Below(60);
    for (size_t i = 0; i < count; ++i) {
      RetentionItem item;
      item.id = RandomId();
      item.name = Below(2) == 0 ? "home" : "www";
      item.host = Below(2) == 0 ? "a" : "b";
      if (Below(5) == 0) item.tags.emplace_back("t");
      item.time_ns =
          kNow + kSecond * 1000 - static_cast<int64_t>(Below(static_cast<uint64_t>(span)));
      if (Below(3) == 0) item.time_ns -= item.time_ns % (3600 * kSecond);
      items_.push_back(item);
    }
  }
  SnapshotId RandomId() {
    SnapshotId id;
    for (auto& byte : id.bytes) byte = static_cast<uint8_t>(random_());
    return id;
  }
  std::vector<RetentionGroup> Apply(const RetentionPolicy& policy) const {
    return ApplyRetention(policy, items_, kNow, Zone);
  }
  uint64_t Below(uint64_t end) { return random_() % end; }
  int64_t Count() { return Below(8) == 0 ? kKeepAll : static_cast<int64_t>(1 + Below(5)); }

  // Adds one rule, or makes one reach further.
  void AddRule(RetentionPolicy& policy, bool may_be_within) {
    int64_t RetentionPolicy::*const counts[] = {
        &RetentionPolicy::last,   &RetentionPolicy::hourly,  &RetentionPolicy::daily,
        &RetentionPolicy::weekly, &RetentionPolicy::monthly, &RetentionPolicy::yearly};
    const uint64_t which = Below(may_be_within ? 8 : 7);
    if (which < 6) {
      int64_t& count = policy.*counts[which];
      const int64_t more = Count();
      if (count != kKeepAll) count = more == kKeepAll ? more : count + more;
    } else if (which == 6) {
      policy.tags.emplace_back("t");
    } else {
      if (!policy.within) policy.within.emplace();
      policy.within->months += static_cast<uint32_t>(Below(3));
      policy.within->hours += static_cast<uint32_t>(1 + Below(300));
    }
  }
  std::set<SnapshotId> KeptIds(const RetentionPolicy& policy) {
    std::set<SnapshotId> out;
    for (const auto& group : Apply(policy)) {
      for (const auto& snapshot : group.snapshots) {
        if (snapshot.keep) out.insert(snapshot.item.id);
      }
    }
    return out;
  }

  std::vector<RetentionItem> items_;
  std::mt19937_64 random_{20261121};
};

TEST_F(RetentionModel, MoreRulesKeepMore) {
  for (int round = 0; round < 400; ++round) {
    MakeItems();
    RetentionPolicy policy{.allow_remove_all = true};
    AddRule(policy, true);
    std::set<SnapshotId> kept = KeptIds(policy);
    for (int more = 0; more < 4; ++more) {
      AddRule(policy, true);
      const std::set<SnapshotId> now = KeptIds(policy);
      EXPECT_TRUE(std::includes(now.begin(), now.end(), kept.begin(), kept.end())) << round;
      kept = now;
    }
  }
}

TEST_F(RetentionModel, AgainOnWhatWasKeptRemovesNothing) {
  for (int round = 0; round < 1000; ++round) {
    MakeItems();
    RetentionPolicy policy;
    for (uint64_t rules = 1 + Below(3); rules > 0; --rules) AddRule(policy, false);
    const std::set<SnapshotId> kept = KeptIds(policy);
    std::erase_if(items_, [&](const auto& item) { return !kept.contains(item.id); });
    EXPECT_EQ(KeptIds(policy), kept) << round;
  }
}

TEST_F(RetentionModel, NoGroupIsEmptied) {
  for (int round = 0; round < 300; ++round) {
    MakeItems();
    RetentionPolicy policy;
    policy.grouping = {Below(2) == 0, Below(2) == 0};
    AddRule(policy, true);
    size_t total = 0;
    for (const auto& group : Apply(policy)) {
      total += group.snapshots.size();
      EXPECT_TRUE(std::any_of(group.snapshots.begin(), group.snapshots.end(),
                              [](const auto& snapshot) { return snapshot.keep; }));
      EXPECT_TRUE(std::is_sorted(
          group.snapshots.begin(), group.snapshots.end(),
          [](const auto& a, const auto& b) { return a.item.time_ns < b.item.time_ns; }));
    }
    EXPECT_EQ(total, items_.size());
  }
}

}  // namespace
}  // namespace bkfs

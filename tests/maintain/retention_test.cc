// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/retention.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <optional>

#include "engine/base/clock.h"

namespace bkfs {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
// The rules of central Europe, in a form that needs no time zone files.
constexpr const char* kEurope = "CET-1CEST,M3.5.0,M10.5.0/3";

int64_t Utc(const std::string& text) {
  auto time = ParseRfc3339(text);
  EXPECT_TRUE(time.ok()) << text;
  return time.ok() ? *time : 0;
}

SnapshotId IdFrom(uint32_t number) {
  SnapshotId id;
  for (size_t i = 0; i < 4; ++i) id.bytes[3 - i] = static_cast<uint8_t>(number >> (8 * i));
  return id;
}

class RetentionTest : public testing::Test {
 protected:
  RetentionTest() {
    if (const char* zone = std::getenv("TZ")) before_ = zone;
    InZone("UTC0");
  }
  ~RetentionTest() override {
    if (before_) {
      InZone(before_->c_str());
    } else {
      ::unsetenv("TZ");
    }
  }

  void InZone(const char* zone) {
    ::setenv("TZ", zone, 1);
    zone_ = SystemZone();
  }
  // A snapshot named by its time.
  void Add(const std::string& time, std::vector<std::string> tags = {},
           const std::string& name = "home", const std::string& host = "box") {
    const auto number = static_cast<uint32_t>(items_.size() + 1);
    items_.push_back({IdFrom(number), name, host, std::move(tags), Utc(time)});
    times_[items_.back().id] = time;
  }
  std::vector<RetentionGroup> Apply(const RetentionPolicy& policy) {
    return ApplyRetention(policy, items_, now_, zone_);
  }
  // The times of what stays, oldest first, group by group.
  std::vector<std::string> Kept(const RetentionPolicy& policy) {
    std::vector<std::string> out;
    for (const auto& group : Apply(policy)) {
      for (const auto& snapshot : group.snapshots) {
        EXPECT_FALSE(snapshot.reasons.empty());
        if (snapshot.keep) out.push_back(times_[snapshot.item.id]);
      }
    }
    return out;
  }
  std::string Reasons(const RetentionPolicy& policy, const std::string& time) {
    std::string out;
    for (const auto& group : Apply(policy)) {
      for (const auto& snapshot : group.snapshots) {
        if (times_[snapshot.item.id] != time) continue;
        for (const auto& reason : snapshot.reasons) out += (out.empty() ? "" : ", ") + reason;
      }
    }
    return out;
  }

  std::vector<RetentionItem> items_;
  std::map<SnapshotId, std::string> times_;
  int64_t now_ = Utc("2026-11-21T12:00Z");
  ZoneOffset zone_;

 private:
  std::optional<std::string> before_;
};

using Times = std::vector<std::string>;

TEST_F(RetentionTest, Last) {
  for (const char* time : {"2026-01-03", "2026-01-01", "2026-01-02", "2026-01-04"}) Add(time);
  EXPECT_EQ(Kept({.last = 2}), (Times{"2026-01-03", "2026-01-04"}));
  EXPECT_EQ(Kept({.last = 9}).size(), 4u);
  EXPECT_EQ(Kept({.last = kKeepAll}).size(), 4u);
  EXPECT_EQ(Reasons({.last = 2}, "2026-01-03"), "last 2");
  EXPECT_EQ(Reasons({.last = kKeepAll}, "2026-01-03"), "last unlimited");
  EXPECT_EQ(Reasons({.last = 2}, "2026-01-02"), "no rule keeps it");
}

TEST_F(RetentionTest, Hourly) {
  for (const char* time : {"2026-01-01T08:00", "2026-01-01T10:05", "2026-01-01T10:59:59.999",
                           "2026-01-01T11:00", "2026-01-01T11:59"}) {
    Add(time);
  }
  EXPECT_EQ(Kept({.hourly = 1}), (Times{"2026-01-01T11:59"}));
  EXPECT_EQ(Kept({.hourly = 3}),
            (Times{"2026-01-01T08:00", "2026-01-01T10:59:59.999", "2026-01-01T11:59"}));
  EXPECT_EQ(Reasons({.hourly = 3}, "2026-01-01T10:59:59.999"), "hourly 2026-01-01T10:00Z");
}

TEST_F(RetentionTest, DailyCountsDaysThatHaveSnapshots) {
  for (const char* time : {"2025-12-30T03:00", "2026-01-01T00:00", "2026-01-01T23:59:59",
                           "2026-01-02T00:00", "2026-01-09T05:00"}) {
    Add(time);
  }
  EXPECT_EQ(Kept({.daily = 3}),
            (Times{"2026-01-01T23:59:59", "2026-01-02T00:00", "2026-01-09T05:00"}));
  EXPECT_EQ(Kept({.daily = kKeepAll}).size(), 4u);
  EXPECT_EQ(Reasons({.daily = 3}, "2026-01-01T23:59:59"), "daily 2026-01-01");
}

TEST_F(RetentionTest, WeeksAreIsoWeeks) {
  // 2020 had a week 53, to which the first days of 2021 belong; 2024-12-30 is in week 1 of 2025.
  for (const char* time : {"2020-12-27", "2020-12-28", "2021-01-03", "2021-01-04", "2024-12-29",
                           "2024-12-30", "2025-01-05"}) {
    Add(time);
  }
  const RetentionPolicy all{.weekly = kKeepAll};
  EXPECT_EQ(Kept(all),
            (Times{"2020-12-27", "2021-01-03", "2021-01-04", "2024-12-29", "2025-01-05"}));
  EXPECT_EQ(Reasons(all, "2020-12-27"), "weekly 2020-W52");
  EXPECT_EQ(Reasons(all, "2021-01-03"), "weekly 2020-W53");
  EXPECT_EQ(Reasons(all, "2021-01-04"), "weekly 2021-W01");
  EXPECT_EQ(Reasons(all, "2024-12-29"), "weekly 2024-W52");
  EXPECT_EQ(Reasons(all, "2025-01-05"), "weekly 2025-W01");
  EXPECT_EQ(Kept({.weekly = 2}), (Times{"2024-12-29", "2025-01-05"}));
}

TEST_F(RetentionTest, MonthlyAndYearly) {
  for (const char* time : {"2024-12-31", "2025-01-01", "2025-01-31", "2025-03-01", "2026-03-01"}) {
    Add(time);
  }
  EXPECT_EQ(Kept({.monthly = 3}), (Times{"2025-01-31", "2025-03-01", "2026-03-01"}));
  EXPECT_EQ(Kept({.yearly = 2}), (Times{"2025-03-01", "2026-03-01"}));
  EXPECT_EQ(Kept({.yearly = kKeepAll}), (Times{"2024-12-31", "2025-03-01", "2026-03-01"}));
  EXPECT_EQ(Reasons({.monthly = 3, .yearly = 3}, "2025-03-01"), "monthly 2025-03, yearly 2025");
}

TEST_F(RetentionTest, WithinCountsFromTheNewest) {
  for (const char* time : {"2024-02-28T10:00", "2024-02-29T09:59", "2024-02-29T10:00",
                           "2024-03-24T10:00", "2024-03-31T09:00", "2024-03-31T10:00"}) {
    Add(time);
  }
  auto kept = [&](const char* span) { return Kept({.within = *ParseRetentionSpan(span)}).size(); };
  EXPECT_EQ(kept("1h"), 2u);
  EXPECT_EQ(kept("7d"), 3u);
  EXPECT_EQ(kept("1m"), 4u);  // the 31st of February is its last day
  EXPECT_EQ(kept("1m1h"), 5u);
  EXPECT_EQ(kept("1m1d"), 6u);
  EXPECT_EQ(kept("1y"), 6u);
  EXPECT_EQ(kept("10000y"), 6u);
  EXPECT_EQ(Reasons({.within = *ParseRetentionSpan("7d")}, "2024-03-24T10:00"), "within 7d");
}

TEST_F(RetentionTest, Tags) {
  Add("2026-01-01", {"important", "a b"});
  Add("2026-01-02", {"importan"});
  Add("2026-01-03", {"other"});
  EXPECT_EQ(Kept({.tags = {"important"}}), (Times{"2026-01-01"}));
  EXPECT_EQ(Kept({.tags = {"other", "a b"}}), (Times{"2026-01-01", "2026-01-03"}));
  EXPECT_EQ(Reasons({.tags = {"important", "a b"}}, "2026-01-01"), "tag important, tag a b");
}

TEST_F(RetentionTest, RulesAreAUnion) {
  Add("2025-06-01");
  Add("2026-01-01", {"t"});
  Add("2026-01-02T08:00");
  Add("2026-01-02T09:00");
  const RetentionPolicy policy{.last = 1, .yearly = 2, .tags = {"t"}};
  EXPECT_EQ(Kept(policy), (Times{"2025-06-01", "2026-01-01", "2026-01-02T09:00"}));
  EXPECT_EQ(Reasons(policy, "2026-01-02T09:00"), "last 1, yearly 2026");
  EXPECT_EQ(Reasons(policy, "2026-01-02T08:00"), "no rule keeps it");
}

TEST_F(RetentionTest, PeriodsAreThoseOfLocalTime) {
  Add("2026-01-01T22:59Z");
  Add("2026-01-01T23:01Z");
  EXPECT_EQ(Kept({.daily = 9}).size(), 1u);
  InZone(kEurope);
  EXPECT_EQ(Kept({.daily = 9}).size(), 2u);
  EXPECT_EQ(Reasons({.daily = 9}, "2026-01-01T23:01Z"), "daily 2026-01-02");
}

TEST_F(RetentionTest, HourThatIsPassedTwiceIsTwo) {
  InZone(kEurope);
  // At 01:00 UTC clocks went from 03:00 back to 02:00.
  for (const char* time :
       {"2026-10-25T00:10Z", "2026-10-25T00:50Z", "2026-10-25T01:10Z", "2026-10-25T01:50Z"}) {
    Add(time);
  }
  EXPECT_EQ(Kept({.hourly = 9}), (Times{"2026-10-25T00:50Z", "2026-10-25T01:50Z"}));
  EXPECT_EQ(Reasons({.hourly = 9}, "2026-10-25T00:50Z"), "hourly 2026-10-25T02:00+02:00");
  EXPECT_EQ(Reasons({.hourly = 9}, "2026-10-25T01:50Z"), "hourly 2026-10-25T02:00+01:00");
  EXPECT_EQ(Kept({.daily = 9}).size(), 1u);
}

TEST_F(RetentionTest, DaysOf23And25Hours) {
  InZone(kEurope);
  // The days begin at 22:00 or 23:00 UTC.
  for (const char* time :
       {"2026-03-28T22:59Z", "2026-03-28T23:00Z", "2026-03-29T21:59Z", "2026-03-29T22:00Z",
        "2026-10-24T21:59Z", "2026-10-24T22:00Z", "2026-10-25T22:59Z", "2026-10-25T23:00Z"}) {
    Add(time);
  }
  EXPECT_EQ(Kept({.daily = kKeepAll}),
            (Times{"2026-03-28T22:59Z", "2026-03-29T21:59Z", "2026-03-29T22:00Z",
                   "2026-10-24T21:59Z", "2026-10-25T22:59Z", "2026-10-25T23:00Z"}));
}

TEST_F(RetentionTest, WithinGoesByTheCalendar) {
  InZone(kEurope);
  // A day before noon is noon, though 25 hours have passed.
  Add("2026-10-24T09:59Z");
  Add("2026-10-24T10:00Z");
  Add("2026-10-25T11:00Z");
  EXPECT_EQ(Kept({.within = RetentionSpan{.days = 1}}).size(), 2u);
  EXPECT_EQ(Kept({.within = RetentionSpan{.hours = 24}}).size(), 1u);
}

TEST_F(RetentionTest, WithinBeginsAtAnHourThatIsSkippedOrTwice) {
  InZone(kEurope);
  // 02:30 on the 29th of March was skipped: in its place 01:30 counts.
  Add("2026-03-29T00:29Z");
  Add("2026-03-29T00:30Z");
  Add("2026-03-30T00:30Z");
  EXPECT_EQ(Kept({.within = RetentionSpan{.days = 1}}).size(), 2u);
  items_.clear();
  // 02:30 on the 25th of October was twice: from the first on.
  Add("2026-10-25T00:29Z");
  Add("2026-10-25T00:30Z");
  Add("2026-10-26T01:30Z");
  EXPECT_EQ(Kept({.within = RetentionSpan{.days = 1}}).size(), 2u);
}

TEST_F(RetentionTest, ADayThatGoesOnAfterTheNextHasBegun) {
  // Clocks that are put back at 00:01, to 23:01 of the day before.
  const int64_t change = Utc("2026-11-01T00:01Z") / kSecond;
  zone_ = [change](int64_t seconds) -> int64_t { return seconds < change ? 0 : -3600; };
  Add("2026-10-31T23:50Z");
  Add("2026-11-01T00:00:30Z");
  Add("2026-11-01T00:30Z");
  Add("2026-11-01T01:30Z");
  EXPECT_EQ(Kept({.daily = 9}), (Times{"2026-11-01T00:30Z", "2026-11-01T01:30Z"}));
  EXPECT_EQ(Reasons({.daily = 9}, "2026-11-01T00:30Z"), "daily 2026-10-31");
}

TEST_F(RetentionTest, TiesGoToTheGreaterId) {
  for (int i = 0; i < 3; ++i) Add("2026-01-01T10:00:00.5");
  for (const RetentionPolicy& policy :
       {RetentionPolicy{.last = 1}, RetentionPolicy{.hourly = 5}, RetentionPolicy{.yearly = 5}}) {
    auto groups = Apply(policy);
    std::swap(items_[0], items_[2]);  // the order they come in is nothing
    ASSERT_EQ(groups.size(), 1u);
    std::vector<bool> keep;
    for (const auto& snapshot : groups[0].snapshots) keep.push_back(snapshot.keep);
    EXPECT_EQ(keep, (std::vector<bool>{false, false, true}));
    EXPECT_EQ(groups[0].snapshots[2].item.id, IdFrom(3));
  }
  EXPECT_EQ(Kept({.within = RetentionSpan{.hours = 1}}).size(), 3u);
}

TEST_F(RetentionTest, SeveralInOneSecond) {
  for (const char* time : {"2026-01-01T10:00:00.1", "2026-01-01T10:00:00.9",
                           "2026-01-01T10:00:00.5", "2026-01-01T11:00:00.5"}) {
    Add(time);
  }
  EXPECT_EQ(Kept({.last = 2}), (Times{"2026-01-01T10:00:00.9", "2026-01-01T11:00:00.5"}));
  EXPECT_EQ(Kept({.hourly = 2}), (Times{"2026-01-01T10:00:00.9", "2026-01-01T11:00:00.5"}));
  EXPECT_EQ(Kept({.within = RetentionSpan{.hours = 1}}),
            (Times{"2026-01-01T10:00:00.5", "2026-01-01T10:00:00.9", "2026-01-01T11:00:00.5"}));
}

TEST_F(RetentionTest, Groups) {
  Add("2026-01-01", {}, "home", "a");
  Add("2026-01-02", {}, "home", "b");
  Add("2026-01-03", {}, "www", "a");
  Add("2026-01-04", {}, "home", "a");
  EXPECT_EQ(Kept({.last = 1}), (Times{"2026-01-04", "2026-01-02", "2026-01-03"}));
  EXPECT_EQ(Kept({.last = 1, .grouping = {true, false}}), (Times{"2026-01-04", "2026-01-03"}));
  EXPECT_EQ(Kept({.last = 1, .grouping = {false, true}}), (Times{"2026-01-04", "2026-01-02"}));
  EXPECT_EQ(Kept({.last = 1, .grouping = {false, false}}), (Times{"2026-01-04"}));
  auto groups = Apply({.last = 1});
  ASSERT_EQ(groups.size(), 3u);
  EXPECT_EQ(groups[1].name + "/" + groups[1].host, "home/b");
  EXPECT_EQ(Apply({.last = 1, .grouping = {false, true}})[0].name, "");
}

TEST_F(RetentionTest, AGroupThatWouldBeEmptiedIsRefused) {
  Add("2026-01-01", {}, "home");
  Add("2026-01-02", {}, "home");
  Add("2026-01-03", {"t"}, "www");
  Add("2026-01-04", {}, "www");
  RetentionPolicy policy{.tags = {"t"}};
  auto groups = Apply(policy);
  EXPECT_TRUE(groups[0].refused);
  EXPECT_FALSE(groups[1].refused);
  EXPECT_EQ(Kept(policy), (Times{"2026-01-01", "2026-01-02", "2026-01-03"}));
  EXPECT_EQ(Reasons(policy, "2026-01-01"), "no rule keeps any of the group");
  policy.allow_remove_all = true;
  EXPECT_FALSE(Apply(policy)[0].refused);
  EXPECT_EQ(Kept(policy), (Times{"2026-01-03"}));
}

TEST_F(RetentionTest, WithoutARuleEverythingStays) {
  Add("2026-01-01");
  EXPECT_EQ(Kept({}).size(), 1u);
  EXPECT_EQ(Kept({.allow_remove_all = true}).size(), 1u);
  EXPECT_TRUE(Apply({.allow_remove_all = true})[0].refused);
  EXPECT_FALSE(RetentionPolicy{.allow_remove_all = true}.HasRule());
  EXPECT_TRUE(RetentionPolicy{.yearly = kKeepAll}.HasRule());
  items_.clear();
  EXPECT_TRUE(Apply({.last = 1}).empty());
}

TEST_F(RetentionTest, TheFutureCostsNoOtherSnapshotItsPlace) {
  Add("2026-11-19");
  Add("2026-11-20");
  Add("2026-11-21T12:00:01Z");
  Add("2099-01-01");
  EXPECT_EQ(Kept({.last = 1}), (Times{"2026-11-20", "2026-11-21T12:00:01Z", "2099-01-01"}));
  EXPECT_EQ(Kept({.within = RetentionSpan{.days = 1}}).size(), 4u);
  EXPECT_EQ(Kept({.yearly = 1}), (Times{"2026-11-20", "2026-11-21T12:00:01Z", "2099-01-01"}));
  EXPECT_EQ(Reasons({.last = 1}, "2099-01-01"), "dated in the future");
  // Nor are they what makes a group not empty.
  EXPECT_EQ(Kept({.tags = {"t"}}).size(), 4u);
  EXPECT_TRUE(Apply({.tags = {"t"}})[0].refused);
  now_ = Utc("2000-01-01");  // a clock that has stopped removes nothing
  EXPECT_EQ(Kept({.last = 1}).size(), 4u);
  EXPECT_FALSE(Apply({.last = 1})[0].refused);
}

TEST_F(RetentionTest, TimesAtTheEndsOfTime) {
  for (int64_t time : {INT64_MIN, INT64_MIN + 1, int64_t{-1}, int64_t{0}, INT64_MAX}) {
    items_.push_back({IdFrom(static_cast<uint32_t>(items_.size())), "home", "box", {}, time});
  }
  now_ = INT64_MAX;
  const RetentionPolicy policy{
      .last = 1,
      .hourly = 9,
      .daily = 9,
      .weekly = 9,
      .monthly = 9,
      .yearly = 9,
      .within = ParseRetentionSpan("10000y118064m3660000d87840000h").value()};
  auto groups = Apply(policy);
  ASSERT_EQ(groups.size(), 1u);
  for (const auto& snapshot : groups[0].snapshots) EXPECT_TRUE(snapshot.keep);
  EXPECT_FALSE(FormatLocalTime(INT64_MIN, zone_).empty());
}

TEST_F(RetentionTest, LocalTimeAsText) {
  EXPECT_EQ(FormatLocalTime(Utc("2026-07-01T12:00:01.5Z"), zone_), "2026-07-01T12:00:01Z");
  InZone(kEurope);
  EXPECT_EQ(FormatLocalTime(Utc("2026-07-01T22:30:00Z"), zone_), "2026-07-02T00:30:00+02:00");
  InZone("NST3:30");
  EXPECT_EQ(FormatLocalTime(-1, zone_), "1969-12-31T20:29:59-03:30");
}

TEST(RetentionValueTest, Counts) {
  EXPECT_EQ(*ParseKeepCount("0"), 0);
  EXPECT_EQ(*ParseKeepCount("7"), 7);
  EXPECT_EQ(*ParseKeepCount("-1"), kKeepAll);
  EXPECT_EQ(*ParseKeepCount("unlimited"), kKeepAll);
  for (const char* bad : {"", "-2", "-0", "1.5", "all", "7d", " 7", "99999999999"}) {
    EXPECT_EQ(ParseKeepCount(bad).code(), Code::kInvalid) << bad;
  }
}

TEST(RetentionValueTest, Spans) {
  for (const char* good : {"7d", "2y5m7d3h", "1y", "18m", "48h"}) {
    auto span = ParseRetentionSpan(good);
    ASSERT_TRUE(span.ok()) << good;
    EXPECT_EQ(span->Text(), good);
  }
  EXPECT_EQ(ParseRetentionSpan("3h7d")->Text(), "7d3h");
  for (const char* bad :
       {"", "7", "d", "0d", "-1d", "7w", "7d7d", "1d ", "7D", "10001y", "1y-1d", "99999999999h"}) {
    EXPECT_EQ(ParseRetentionSpan(bad).code(), Code::kInvalid) << bad;
  }
}

TEST(RetentionValueTest, Groupings) {
  auto both = [](const char* text) {
    auto grouping = ParseGrouping(text);
    return grouping.ok() ? std::pair(grouping->by_name, grouping->by_host) : std::pair(true, true);
  };
  EXPECT_EQ(both(""), std::pair(false, false));
  EXPECT_EQ(both("name"), std::pair(true, false));
  EXPECT_EQ(both("host"), std::pair(false, true));
  EXPECT_TRUE(ParseGrouping("host,name")->by_name);
  for (const char* bad : {"names", "name,", ",host", "name, host", "tags"}) {
    EXPECT_EQ(ParseGrouping(bad).code(), Code::kInvalid) << bad;
  }
}

}  // namespace
}  // namespace bkfs

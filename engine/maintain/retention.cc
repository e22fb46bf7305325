// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/retention.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <map>
#include <set>
#include <span>
#include <tuple>
#include <utility>

namespace bkfs {

namespace {

using std::chrono::days;
using std::chrono::sys_days;
using std::chrono::year_month_day;

constexpr int64_t kNanos = 1'000'000'000;
constexpr int64_t kDay = 86'400;
// Ten thousand years, in hours: more is a slip, and calendars end somewhere.
constexpr uint32_t kLongest = 10'000U * 366 * 24;

int64_t FloorDiv(int64_t a, int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

sys_days DayOf(int64_t local_seconds) {
  return sys_days(days(static_cast<int>(FloorDiv(local_seconds, kDay))));
}

std::string Printf(const char* format, auto... values) {
  char text[64];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

std::string DateText(sys_days day) {
  const year_month_day date(day);
  return Printf("%04d-%02u-%02u", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
}

std::string OffsetText(int64_t offset) {
  if (offset == 0) return "Z";
  const int64_t minutes = std::abs(offset) / 60;
  return Printf("%c%02d:%02d", offset < 0 ? '-' : '+', static_cast<int>(minutes / 60),
                static_cast<int>(minutes % 60));
}

// The periods a moment lies in. Each names itself, and no two share a name.

// With the offset, since the hour that is passed twice in autumn is two.
std::string HourOf(int64_t local, int64_t offset) {
  const int64_t hour = (local - FloorDiv(local, kDay) * kDay) / 3600;
  return DateText(DayOf(local)) + Printf("T%02d:00", static_cast<int>(hour)) + OffsetText(offset);
}

std::string DateOf(int64_t local, int64_t) { return DateText(DayOf(local)); }

// A week belongs to the year that its Thursday is in.
std::string WeekOf(int64_t local, int64_t) {
  const sys_days day = DayOf(local);
  const unsigned weekday = std::chrono::weekday(day).iso_encoding();
  const sys_days thursday = day + days(4 - static_cast<int>(weekday));
  const auto year = year_month_day(thursday).year();
  const sys_days first = year / std::chrono::January / 1;
  return Printf("%04d-W%02d", static_cast<int>(year),
                static_cast<int>((thursday - first).count() / 7 + 1));
}

std::string MonthOf(int64_t local, int64_t) { return DateText(DayOf(local)).substr(0, 7); }
std::string YearOf(int64_t local, int64_t) { return DateText(DayOf(local)).substr(0, 4); }

// The moment at which clocks show `local`. Where they show it twice the first; where they skip it,
// one before the gap: in doubt more is kept.
int64_t MomentOf(int64_t local, const ZoneOffset& zone) {
  const int64_t one = local - zone(local - kDay);
  const int64_t other = local - zone(local + kDay);
  const bool one_fits = one + zone(one) == local;
  const bool other_fits = other + zone(other) == local;
  if (one_fits == other_fits) return std::min(one, other);
  return one_fits ? one : other;
}

// The oldest moment that is still within `span` before `from_ns`.
int64_t StartOf(const RetentionSpan& span, int64_t from_ns, const ZoneOffset& zone) {
  const int64_t seconds = FloorDiv(from_ns, kNanos);
  int64_t start = seconds;
  if (span.years != 0 || span.months != 0 || span.days != 0) {
    const int64_t local = seconds + zone(seconds);
    const year_month_day date(DayOf(local));
    auto month = date.year() / date.month();
    month -= std::chrono::months(static_cast<int>(span.years * 12 + span.months));
    const auto last = (month / std::chrono::last).day();
    const sys_days day = sys_days(month / std::min(date.day(), last)) - days(span.days);
    const int64_t of_day = local - FloorDiv(local, kDay) * kDay;
    start = MomentOf(int64_t{day.time_since_epoch().count()} * kDay + of_day, zone);
  }
  start -= int64_t{span.hours} * 3600;
  if (start <= FloorDiv(std::numeric_limits<int64_t>::min(), kNanos) + 1) {
    return std::numeric_limits<int64_t>::min();
  }
  return start * kNanos + (from_ns - seconds * kNanos);
}

std::string CountText(int64_t count) {
  return count == kKeepAll ? "unlimited" : std::to_string(count);
}

// Decides about one group.
class GroupJudge {
 public:
  GroupJudge(const RetentionPolicy& policy, int64_t now_ns, const ZoneOffset& zone)
      : policy_(policy), now_ns_(now_ns), zone_(zone) {}

  void Decide(RetentionGroup& group) const {
    auto& all = group.snapshots;
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
      return std::pair(a.item.time_ns, a.item.id) > std::pair(b.item.time_ns, b.item.id);
    });
    const auto present = std::find_if(all.begin(), all.end(),
                                      [&](const auto& s) { return s.item.time_ns <= now_ns_; });
    for (auto it = all.begin(); it != present; ++it)
      it->reasons.emplace_back("dated in the future");
    const std::span<RetentionDecision> rest(present, all.end());
    KeepLast(rest);
    KeepPeriods(rest, policy_.hourly, "hourly ", HourOf);
    KeepPeriods(rest, policy_.daily, "daily ", DateOf);
    KeepPeriods(rest, policy_.weekly, "weekly ", WeekOf);
    KeepPeriods(rest, policy_.monthly, "monthly ", MonthOf);
    KeepPeriods(rest, policy_.yearly, "yearly ", YearOf);
    KeepWithin(rest);
    KeepTagged(rest);
    Conclude(group, rest);
    std::reverse(all.begin(), all.end());
  }

 private:
  using Snapshots = std::span<RetentionDecision>;  // newest first
  using Period = std::string (*)(int64_t local, int64_t offset);

  void KeepLast(Snapshots rest) const {
    int64_t left = policy_.last;
    for (auto& snapshot : rest) {
      if (left == 0) return;
      snapshot.reasons.push_back("last " + CountText(policy_.last));
      if (left > 0) --left;
    }
  }

  void KeepPeriods(Snapshots rest, int64_t count, const char* rule, Period period) const {
    if (count == 0) return;
    // All periods so far, not the last one only: where clocks are put back over midnight, a day
    // goes on after the next one has begun.
    std::set<std::string> seen;
    for (auto& snapshot : rest) {
      const int64_t seconds = FloorDiv(snapshot.item.time_ns, kNanos);
      const int64_t offset = zone_(seconds);
      std::string name = period(seconds + offset, offset);
      if (seen.contains(name)) continue;
      if (count != kKeepAll && std::cmp_greater_equal(seen.size(), count)) return;
      snapshot.reasons.push_back(rule + name);
      seen.insert(std::move(name));
    }
  }

  void KeepWithin(Snapshots rest) const {
    if (!policy_.within || rest.empty()) return;
    const int64_t start = StartOf(*policy_.within, rest.front().item.time_ns, zone_);
    for (auto& snapshot : rest) {
      if (snapshot.item.time_ns < start) return;
      snapshot.reasons.push_back("within " + policy_.within->Text());
    }
  }

  void KeepTagged(Snapshots rest) const {
    for (auto& snapshot : rest) {
      for (const auto& tag : policy_.tags) {
        const auto& tags = snapshot.item.tags;
        if (std::find(tags.begin(), tags.end(), tag) == tags.end()) continue;
        snapshot.reasons.push_back("tag " + tag);
      }
    }
  }

  void Conclude(RetentionGroup& group, Snapshots rest) const {
    const bool keeps_one = std::any_of(
        rest.begin(), rest.end(), [](const auto& snapshot) { return !snapshot.reasons.empty(); });
    group.refused = !rest.empty() && !keeps_one && !(policy_.allow_remove_all && policy_.HasRule());
    for (auto& snapshot : rest) {
      if (!snapshot.reasons.empty()) continue;
      snapshot.keep = group.refused;
      snapshot.reasons.emplace_back(group.refused ? "no rule keeps any of the group"
                                                  : "no rule keeps it");
    }
  }

  const RetentionPolicy& policy_;
  const int64_t now_ns_;
  const ZoneOffset& zone_;
};

Status BadValue(std::string_view text, std::string_view want) {
  return {Code::kInvalid, "bad value '" + std::string(text) + "' (want " + std::string(want) + ")"};
}

}  // namespace

ZoneOffset SystemZone() {
  ::tzset();  // localtime_r need not
  return [](int64_t seconds) -> int64_t {
    const time_t moment = seconds;
    tm local{};
    // Fails where the year is no int; there no zone is known anyway.
    return ::localtime_r(&moment, &local) != nullptr ? local.tm_gmtoff : 0;
  };
}

std::string FormatLocalTime(int64_t wall_nanos, const ZoneOffset& zone) {
  const int64_t seconds = FloorDiv(wall_nanos, kNanos);
  const int64_t offset = zone(seconds);
  const int64_t local = seconds + offset;
  const int of_day = static_cast<int>(local - FloorDiv(local, kDay) * kDay);
  return DateText(DayOf(local)) +
         Printf("T%02d:%02d:%02d", of_day / 3600, of_day / 60 % 60, of_day % 60) +
         OffsetText(offset);
}

std::string RetentionSpan::Text() const {
  std::string text;
  for (auto [number, unit] : {std::pair(years, 'y'), std::pair(months, 'm'), std::pair(days, 'd'),
                              std::pair(hours, 'h')}) {
    if (number != 0) text += std::to_string(number) + unit;
  }
  return text.empty() ? "0h" : text;
}

bool RetentionPolicy::HasRule() const {
  return last != 0 || hourly != 0 || daily != 0 || weekly != 0 || monthly != 0 || yearly != 0 ||
         within || !tags.empty();
}

std::vector<RetentionGroup> ApplyRetention(const RetentionPolicy& policy,
                                           std::vector<RetentionItem> items, int64_t now_ns,
                                           const ZoneOffset& zone) {
  std::map<std::pair<std::string, std::string>, RetentionGroup> groups;
  for (auto& item : items) {
    std::pair<std::string, std::string> key;
    if (policy.grouping.by_name) key.first = item.name;
    if (policy.grouping.by_host) key.second = item.host;
    RetentionGroup& group = groups[key];
    std::tie(group.name, group.host) = key;
    group.snapshots.push_back({std::move(item), true, {}});
  }
  const GroupJudge judge(policy, now_ns, zone);
  std::vector<RetentionGroup> out;
  for (auto& [key, group] : groups) {
    judge.Decide(group);
    out.push_back(std::move(group));
  }
  return out;
}

Result<int64_t> ParseKeepCount(std::string_view text) {
  if (text == "unlimited" || text == "-1") return int64_t{kKeepAll};
  uint32_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return BadValue(text, "a number, or unlimited");
  }
  return int64_t{number};
}

Result<RetentionSpan> ParseRetentionSpan(std::string_view text) {
  constexpr std::string_view kWant = "a time such as 7d or 2y5m7d3h; m: months";
  RetentionSpan span;
  std::string_view rest = text;
  while (!rest.empty()) {
    uint32_t number = 0;
    auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    if (error != std::errc() || rest.empty() || number == 0) return BadValue(text, kWant);
    uint32_t* field = nullptr;
    uint32_t most = kLongest;
    switch (rest.front()) {
      case 'y': field = &span.years, most /= 366 * 24; break;
      case 'm': field = &span.months, most /= 31 * 24; break;
      case 'd': field = &span.days, most /= 24; break;
      case 'h': field = &span.hours; break;
      default: return BadValue(text, kWant);
    }
    if (*field != 0 || number > most) return BadValue(text, kWant);
    *field = number;
    rest.remove_prefix(1);
  }
  if (text.empty()) return BadValue(text, kWant);
  return span;
}

Result<RetentionGrouping> ParseGrouping(std::string_view text) {
  RetentionGrouping grouping{false, false};
  if (text.empty()) return grouping;
  for (;;) {
    const size_t comma = text.find(',');
    const std::string_view word = text.substr(0, comma);
    bool* by = word == "name" ? &grouping.by_name : word == "host" ? &grouping.by_host : nullptr;
    if (by == nullptr) return BadValue(word, "name, host, name,host, or nothing for one group");
    *by = true;
    if (comma == std::string_view::npos) return grouping;
    text.remove_prefix(comma + 1);
  }
}

}  // namespace bkfs

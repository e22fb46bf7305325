// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/ids.h"
#include "engine/base/status.h"

namespace bkfs {

// By how many seconds local time is ahead of UTC at a moment (seconds since 1970-01-01 UTC). Days,
// weeks and the like are those of local time.
using ZoneOffset = std::function<int64_t(int64_t seconds)>;
// The time zone of the process (TZ, or the machine's), read now.
ZoneOffset SystemZone();
// "2026-11-21T09:15:30+01:00", whole seconds; "Z" in place of an offset of zero.
std::string FormatLocalTime(int64_t wall_nanos, const ZoneOffset& zone);

// How long `within` reaches back. Years, months and days are those of the calendar: a month before
// the 31st of March is the last day of February.
struct RetentionSpan {
  uint32_t years = 0;
  uint32_t months = 0;
  uint32_t days = 0;
  uint32_t hours = 0;

  std::string Text() const;  // "2y5m7d3h"
};

// Which snapshots are treated as one row. Neither: all are.
struct RetentionGrouping {
  bool by_name = true;
  bool by_host = true;
};

constexpr int64_t kKeepAll = -1;

// Which snapshots stay: those that any rule keeps. A count of 0 is no rule, kKeepAll has no end.
struct RetentionPolicy {
  int64_t last = 0;  // so many newest
  // The newest of each of so many newest periods in which there are snapshots.
  int64_t hourly = 0;
  int64_t daily = 0;
  int64_t weekly = 0;  // ISO weeks, from Monday
  int64_t monthly = 0;
  int64_t yearly = 0;
  std::optional<RetentionSpan> within;  // not older than this before the group's newest
  std::vector<std::string> tags;        // with one of these tags
  RetentionGrouping grouping;
  // A group of which the rules keep nothing may be removed. Else it is refused, and kept whole.
  bool allow_remove_all = false;

  bool HasRule() const;
};

// What is to be known of a snapshot.
struct RetentionItem {
  SnapshotId id;
  std::string name;
  std::string host;
  std::vector<std::string> tags;
  int64_t time_ns = 0;  // since 1970-01-01 UTC
};

struct RetentionDecision {
  RetentionItem item;
  bool keep = true;
  // Why, at least one: "last 3" (it is among them), "daily 2026-11-21" (it is the newest of that
  // day), "weekly 2026-W47", "within 7d", "tag important", "no rule keeps it".
  std::vector<std::string> reasons;
};

struct RetentionGroup {
  std::string name;  // empty when not grouped by it
  std::string host;
  bool refused = false;                      // the rules keep nothing of it, so all of it stays
  std::vector<RetentionDecision> snapshots;  // oldest first, as listings have them
};

// Decides; removes nothing. Groups come by name, then host. Of snapshots of one moment the one with
// the greater id counts as newer. Those dated after `now_ns` are kept, take no other snapshot's
// place and are not what `within` counts from: a clock that is wrong must cost no other snapshot.
// A policy without a rule keeps everything, whatever it allows.
std::vector<RetentionGroup> ApplyRetention(const RetentionPolicy& policy,
                                           std::vector<RetentionItem> items, int64_t now_ns,
                                           const ZoneOffset& zone);

// Values as options and configuration give them; errors are kInvalid and name the value.
Result<int64_t> ParseKeepCount(std::string_view text);            // 7; "unlimited" and -1: kKeepAll
Result<RetentionSpan> ParseRetentionSpan(std::string_view text);  // 7d, 2y5m7d3h (m: months)
Result<RetentionGrouping> ParseGrouping(std::string_view text);   // "", name, host, name,host

}  // namespace bkfs

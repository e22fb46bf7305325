// SPDX-License-Identifier: Apache-2.0
#include "engine/base/clock.h"

#include <gtest/gtest.h>

namespace bkfs {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

TEST(Rfc3339, Formats) {
  EXPECT_EQ(FormatRfc3339(0), "1970-01-01T00:00:00Z");
  EXPECT_EQ(FormatRfc3339(-1), "1969-12-31T23:59:59.999999999Z");
  EXPECT_EQ(FormatRfc3339(1'795'249'530 * kSecond + 5), "2026-11-21T08:25:30.000000005Z");
}

TEST(Rfc3339, Parses) {
  EXPECT_EQ(ParseRfc3339("1970-01-01").value(), 0);
  EXPECT_EQ(ParseRfc3339("1970-01-01T00:00:01Z").value(), kSecond);
  EXPECT_EQ(ParseRfc3339("1970-01-01 00:01").value(), 60 * kSecond);
  EXPECT_EQ(ParseRfc3339("1970-01-01T01:00:00+01:00").value(), 0);
  EXPECT_EQ(ParseRfc3339("1970-01-01T00:00:00-0130").value(), 5400 * kSecond);
  EXPECT_EQ(ParseRfc3339("1970-01-01T00:00:00.5Z").value(), kSecond / 2);
  EXPECT_EQ(ParseRfc3339("1970-01-01T00:00:00.1234567891Z").value(), 123456789);
  EXPECT_EQ(ParseRfc3339("2024-02-29").value(), 1'709'164'800 * kSecond);
  for (int64_t t : {int64_t{1}, 1'795'249'530 * kSecond + 123'456'789, -77 * kSecond}) {
    EXPECT_EQ(ParseRfc3339(FormatRfc3339(t)).value(), t);
  }
}

TEST(Rfc3339, Refuses) {
  for (std::string_view bad :
       {"", "2026", "2026-13-01", "2026-00-01", "2026-01-32", "2026-02-30", "2023-02-29",
        "2026-1-1", "2026-01-01T", "2026-01-01T24:00", "2026-01-01T00:60", "2026-01-01T00:00:61",
        "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00Zx", "2026-01-01T00:00:00+1", "-026-01-01",
        "9999-01-01", "0001-01-01", "yesterday"}) {
    EXPECT_EQ(ParseRfc3339(bad).code(), Code::kInvalid) << bad;
  }
}

TEST(SystemClock, GoesOn) {
  SystemClock clock;
  int64_t first = clock.MonotonicNanos();
  EXPECT_GE(clock.MonotonicNanos(), first);
  EXPECT_GT(clock.WallNanos(), 1'600'000'000 * kSecond);
}

}  // namespace
}  // namespace bkfs

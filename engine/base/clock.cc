// SPDX-License-Identifier: Apache-2.0
#include "engine/base/clock.h"

#include <charconv>
#include <cstdio>
#include <ctime>

namespace bkfs {

namespace {
constexpr int64_t kNanosPerSecond = 1'000'000'000;

int64_t ReadClock(clockid_t which) {
  timespec now{};
  clock_gettime(which, &now);
  return now.tv_sec * kNanosPerSecond + now.tv_nsec;
}

// Takes exactly `digits` decimal digits off the front.
bool TakeNumber(std::string_view& text, size_t digits, int& out) {
  if (text.size() < digits) return false;
  auto [end, error] = std::from_chars(text.data(), text.data() + digits, out);
  if (error != std::errc() || end != text.data() + digits || text[0] == '-') return false;
  text.remove_prefix(digits);
  return true;
}

bool TakeChar(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text[0]) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

// The fraction after the seconds' dot, at most nine digits kept.
bool TakeFraction(std::string_view& text, int64_t& nanos) {
  int64_t scale = kNanosPerSecond / 10;
  size_t digits = 0;
  while (!text.empty() && text[0] >= '0' && text[0] <= '9') {
    nanos += (text[0] - '0') * scale;
    scale /= 10;
    text.remove_prefix(1);
    ++digits;
  }
  return digits > 0;
}

bool TakeZone(std::string_view& text, int& offset_seconds) {
  if (text.empty() || TakeChar(text, "Zz")) return true;
  int sign = text[0] == '-' ? -1 : 1;
  int hours = 0;
  int minutes = 0;
  if (!TakeChar(text, "+-") || !TakeNumber(text, 2, hours)) return false;
  TakeChar(text, ":");
  if (!TakeNumber(text, 2, minutes)) return false;
  offset_seconds = sign * (hours * 3600 + minutes * 60);
  return true;
}
}  // namespace

int64_t SystemClock::WallNanos() const { return ReadClock(CLOCK_REALTIME); }
int64_t SystemClock::MonotonicNanos() const { return ReadClock(CLOCK_MONOTONIC); }

std::string FormatRfc3339(int64_t wall_nanos) {
  int64_t seconds = wall_nanos / kNanosPerSecond;
  int64_t nanos = wall_nanos % kNanosPerSecond;
  if (nanos < 0) {
    nanos += kNanosPerSecond;
    --seconds;
  }
  std::tm parts{};
  time_t when = seconds;
  gmtime_r(&when, &parts);
  char text[64];
  size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::string out(text, length);
  if (nanos != 0) {
    std::snprintf(text, sizeof text, ".%09d", static_cast<int>(nanos));
    out += text;
  }
  return out + "Z";
}

Result<int64_t> ParseRfc3339(std::string_view text) {
  const Status bad(Code::kInvalid, "not a time: '" + std::string(text) +
                                       "' (want e.g. 2026-11-21 or 2026-11-21T08:15:30Z)");
  std::tm parts{};
  int year = 0;
  int month = 0;
  int64_t nanos = 0;
  int zone = 0;
  if (!TakeNumber(text, 4, year) || !TakeChar(text, "-") || !TakeNumber(text, 2, month) ||
      !TakeChar(text, "-") || !TakeNumber(text, 2, parts.tm_mday)) {
    return bad;
  }
  if (TakeChar(text, "Tt ")) {
    if (!TakeNumber(text, 2, parts.tm_hour) || !TakeChar(text, ":") ||
        !TakeNumber(text, 2, parts.tm_min)) {
      return bad;
    }
    if (TakeChar(text, ":") && !TakeNumber(text, 2, parts.tm_sec)) return bad;
    if (TakeChar(text, ".") && !TakeFraction(text, nanos)) return bad;
    if (!TakeZone(text, zone)) return bad;
  }
  if (!text.empty() || month < 1 || month > 12 || parts.tm_mday < 1 || parts.tm_mday > 31 ||
      parts.tm_hour > 23 || parts.tm_min > 59 || parts.tm_sec > 60) {
    return bad;
  }
  parts.tm_year = year - 1900;
  parts.tm_mon = month - 1;
  const int day = parts.tm_mday;
  const bool leap_second = parts.tm_sec == 60;
  int64_t seconds = timegm(&parts) - zone;
  if (parts.tm_mday != day && !leap_second) return bad;  // the 31st of a month of 30
  // Nanoseconds in 64 bits end in 2262.
  if (seconds > INT64_MAX / kNanosPerSecond - 1 || seconds < INT64_MIN / kNanosPerSecond + 1) {
    return bad;
  }
  return seconds * kNanosPerSecond + nanos;
}

}  // namespace bkfs

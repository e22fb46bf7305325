// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/read_selection.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "engine/crypto/secret.h"

namespace bkfs {

namespace {
constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kLongest = 366LL * 24 * 3600;  // seconds
constexpr uint32_t kMostParts = 1'000'000;

template <typename Number>
bool ParseNumber(std::string_view text, Number& out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

bool IsOfPart(const PackId& id, const ReadSelection& selection) {
  return Load<uint64_t>(id.bytes.data()) % selection.parts == selection.part - 1;
}

// So many of them at random, and not none.
void TakeSample(std::vector<PackId>& packs, double percent) {
  const auto want =
      std::min(packs.size(),
               static_cast<size_t>(std::ceil(static_cast<double>(packs.size()) * percent / 100.0)));
  for (size_t i = 0; i < want; ++i) {
    uint8_t raw[8];
    RandomBytes(raw);
    std::swap(packs[i], packs[i + Load<uint64_t>(raw) % (packs.size() - i)]);
  }
  packs.resize(want);
}
}  // namespace

std::string ReadSelection::RoundName() const {
  if (what == What::kAll) return "all";
  if (what == What::kPart) return std::to_string(part) + "/" + std::to_string(parts);
  return "";  // a sample is drawn anew each time
}

Result<ReadSelection> ParseReadSelection(std::string_view text) {
  ReadSelection out;
  out.what = ReadSelection::What::kAll;
  if (text.empty()) return out;
  if (text.ends_with('%')) {
    out.what = ReadSelection::What::kPercent;
    if (ParseNumber(text.substr(0, text.size() - 1), out.percent) && out.percent > 0 &&
        out.percent <= 100) {
      return out;
    }
  } else if (size_t slash = text.find('/'); slash != std::string_view::npos) {
    out.what = ReadSelection::What::kPart;
    if (ParseNumber(text.substr(0, slash), out.part) &&
        ParseNumber(text.substr(slash + 1), out.parts) && out.part >= 1 && out.part <= out.parts &&
        out.parts <= kMostParts) {
      return out;
    }
  }
  return Status(Code::kInvalid, "'" + std::string(text) +
                                    "' says not what to read: a share of the packs (10%), or a "
                                    "part of them (2/5 is the second of five)");
}

Result<int64_t> ParseDuration(std::string_view text) {
  const Status invalid(Code::kInvalid,
                       "'" + std::string(text) + "' is no duration: 90s, 30m, 2h and 1h30m are");
  int64_t seconds = 0;
  int64_t last_unit = 3600 + 1;
  while (!text.empty()) {
    size_t digits = 0;
    while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
    int64_t count = 0;
    if (digits == text.size() || !ParseNumber(text.substr(0, digits), count)) return invalid;
    const char letter = text[digits];
    const int64_t unit = letter == 'h' ? 3600 : letter == 'm' ? 60 : letter == 's' ? 1 : 0;
    if (unit == 0 || unit >= last_unit || count > kLongest) return invalid;
    last_unit = unit;
    seconds += count * unit;
    text.remove_prefix(digits + 1);
  }
  if (seconds <= 0 || seconds > kLongest) return invalid;
  return seconds * kSecond;
}

std::vector<PackId> SelectPacks(const ReadSelection& selection, std::vector<PackId> packs,
                                VerifiedPacks& verified, int64_t now_ns) {
  std::sort(packs.begin(), packs.end());
  if (selection.what == ReadSelection::What::kPercent) {
    TakeSample(packs, selection.percent);
  } else {
    if (selection.what == ReadSelection::What::kPart) {
      std::erase_if(packs, [&](const PackId& id) { return !IsOfPart(id, selection); });
    }
    const int64_t since = verified.BeginRound(selection.RoundName(), now_ns, selection.restart);
    std::erase_if(packs, [&](const PackId& id) { return verified.When(id) >= since; });
  }
  if (selection.max_duration_ns > 0) {
    std::stable_sort(packs.begin(), packs.end(), [&](const PackId& a, const PackId& b) {
      return verified.When(a) < verified.When(b);
    });
  }
  return packs;
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/ids.h"
#include "engine/maintain/verified_packs.h"

namespace bkfs {

// Which packs a check reads whole, every byte.
struct ReadSelection {
  enum class What : uint8_t {
    kNothing,
    kAll,
    kPercent,  // so many at random
    kPart,     // part `part` of `parts`, which the pack's id decides
  };
  What what = What::kNothing;
  double percent = 100;
  uint32_t part = 1;
  uint32_t parts = 1;
  int64_t max_duration_ns =
      0;                 // 0: until all is read. Otherwise what was verified longest ago first
  bool restart = false;  // also what an interrupted run has read already

  bool reads() const { return what != What::kNothing; }
  // Of runs that continue each other: a pack that one has verified the next need not read.
  std::string RoundName() const;
};

// "" (all), "10%", "2/5"; kInvalid otherwise.
Result<ReadSelection> ParseReadSelection(std::string_view text);
// "90s", "30m", "2h", "1h30m"; kInvalid otherwise, and for nothing and more than a year.
Result<int64_t> ParseDuration(std::string_view text);

// Those of `packs` to read, in the order to read them. Begins a round of `verified`, or goes on
// with the one that was interrupted.
std::vector<PackId> SelectPacks(const ReadSelection& selection, std::vector<PackId> packs,
                                VerifiedPacks& verified, int64_t now_ns);

}  // namespace bkfs

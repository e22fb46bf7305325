// SPDX-License-Identifier: Apache-2.0
#include "tools/bkfs/check_mirror.h"

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>

#include "engine/base/transfer.h"
#include "engine/crypto/hash.h"
#include "tools/bkfs/cli.h"
#include "tools/bkfs/output.h"

namespace bkfs {

namespace {
using nlohmann::json;

constexpr int64_t kSettleNs = 2'000'000'000;
constexpr size_t kMostPrinted = 1000;

// Which objects of the mirror are read, as `selection` has it for the repository's packs.
std::function<bool(const std::string&)> ReadsOf(const ReadSelection& selection) {
  if (!selection.reads()) return {};
  const SystemClock clock;
  const int64_t until = selection.max_duration_ns == 0
                            ? WaitLimit::kForever
                            : clock.MonotonicNanos() + selection.max_duration_ns;
  auto random = std::make_shared<std::minstd_rand>(std::random_device{}());
  return [selection, until, random, clock](const std::string& name) {
    if (clock.MonotonicNanos() > until) return false;
    switch (selection.what) {
      case ReadSelection::What::kNothing: return false;
      case ReadSelection::What::kAll: return true;
      case ReadSelection::What::kPercent:
        return std::uniform_real_distribution<>(0, 100)(*random) < selection.percent;
      case ReadSelection::What::kPart:
        return Load<uint32_t>(HashBytes(AsBytes(name)).data()) % selection.parts ==
               selection.part - 1;
    }
    return false;
  };
}

class Interruptible {
 public:
  Interruptible() : limit_(WaitLimit::kForever, Interrupted), scope_(limit_) {}

 private:
  WaitLimit limit_;
  WatchScope scope_;
};
}  // namespace

Status MirrorCheck::Keep(const Status& failure) {
  if (failure.Is(Code::kInterrupted)) return failure;
  if (failure_.ok()) failure_ = failure;
  return {};
}

Status MirrorCheck::CatchUp(ProgressLine& line) {
  line.Count("catching up the mirror", 0, 1);
  Interruptible interruptible;
  return Keep(store_.CatchUpNow());
}

Status MirrorCheck::Compare(const ReadSelection& read, ProgressLine& line) {
  if (failed()) return {};
  line.Count("comparing the mirror", 0, 1);
  Interruptible interruptible;
  auto found = store_.Compare(
      {.reads = ReadsOf(read), .settle_ns = kSettleNs, .go_on = [] { return TellWaiting(); }});
  if (!found.ok()) return Keep(found.status());
  found_ = *std::move(found);
  read_objects_ = std::max(read_objects_, found_.read_objects);
  return {};
}

Status MirrorCheck::Mend(const std::vector<ObjectProblem>& damaged, ProgressLine& line) {
  if (failed()) return {};
  line.Count("mending from the mirror and to it", 0, 1);
  Interruptible interruptible;
  std::vector<std::string> names;
  for (const auto& problem : damaged) names.push_back(problem.object);
  auto mended = store_.Mend(found_, names);
  if (!mended.ok()) return Keep(mended.status());
  mended_ = *std::move(mended);
  return {};
}

json MirrorCheck::Json() const {
  json out{{"url", url_},
           {"compared", failure_.ok()},
           {"agrees", failure_.ok() && !differs()},
           {"objects", found_.objects},
           {"read_objects", read_objects_},
           {"differences", json::array()},
           {"more_differences", found_.unnamed},
           {"repaired", mended_.done},
           {"left_alone", mended_.left}};
  if (!failure_.ok()) out["error"] = failure_.message();
  for (const auto& one : found_.differences) {
    out["differences"].push_back({{"object", one.name}, {"problem", DescribeDifference(one)}});
  }
  return out;
}

void MirrorCheck::Print() const {
  for (const auto& what : mended_.done) std::cout << "repaired: " << what << "\n";
  for (const auto& what : mended_.left) std::cout << "left alone: " << what << "\n";
  size_t printed = 0;
  for (const auto& one : found_.differences) {
    if (++printed > kMostPrinted) break;
    std::cout << "mirror: " << one.name << " " << DescribeDifference(one) << "\n";
  }
  const uint64_t more = found_.unnamed + found_.differences.size() -
                        std::min(found_.differences.size(), kMostPrinted);
  if (more > 0) std::cout << "mirror: and " << Counted(more, "object") << " more\n";
  std::cout << "mirror " << url_ << ": ";
  if (!failure_.ok()) {
    std::cout << "NOT COMPARED: " << failure_.message() << "\n";
    return;
  }
  std::cout << Counted(found_.objects, "object") << " compared"
            << (read_objects_ > 0 ? ", " + std::to_string(read_objects_) + " read" : "") << ": "
            << (differs() ? "IT DIFFERS" : "it has everything") << "\n";
}

}  // namespace bkfs

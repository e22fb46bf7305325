// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <nlohmann/json.hpp>

#include "engine/maintain/check.h"
#include "tools/bkfs/cli.h"
#include "tools/bkfs/output.h"
#include "tools/bkfs/progress.h"

namespace bkfs {

namespace {

using nlohmann::json;

json ReportJson(const CheckReport& report) {
  json out{{"damaged", report.damaged()},     {"packs", report.packs},
           {"pack_bytes", report.pack_bytes}, {"segments", report.segments},
           {"snapshots", report.snapshots},   {"trees", report.trees},
           {"blobs", report.blobs},           {"read_bytes", report.read_bytes}};
  out["objects"] = json::array();
  for (const auto& problem : report.objects) {
    out["objects"].push_back({{"object", problem.object}, {"problem", problem.why.message()}});
  }
  out["files"] = json::array();
  for (const auto& file : report.files) {
    out["files"].push_back({{"snapshot", file.snapshot.hex()},
                            {"name", Utf8(file.series)},
                            {"path", Utf8(file.path)},
                            {"problem", file.why.message()}});
  }
  out["notes"] = report.notes;
  return out;
}

Result<int> Check(Context& context) {
  BKFS_ASSIGN(auto repo, context.Open());
  CheckOptions options;
  options.read_data = context.args.Has("read-data");
  Result<CheckReport> report = [&] {
    ProgressLine line(*context.clock, context.quiet || context.json);
    return CheckRepository(*repo, options, [&](std::string_view stage, uint64_t done, uint64_t of) {
      line.Count("checking " + std::string(stage), done, of);
    });
  }();
  if (!report.ok()) return report.status();
  if (context.json) {
    std::cout << ReportJson(*report).dump() << "\n";
  } else {
    for (const auto& note : report->notes) std::cout << "note: " << note << "\n";
    for (const auto& problem : report->objects) {
      std::cout << "damaged: " << problem.object << ": " << problem.why.message() << "\n";
    }
    for (const auto& file : report->files) {
      std::cout << "affected: " << file.snapshot.hex().substr(0, 12) << " "
                << Printable(file.series) << ":" << Printable(file.path) << ": "
                << file.why.message() << "\n";
    }
    std::cout << Counted(report->snapshots, "snapshot") << ", " << Counted(report->packs, "pack")
              << " (" << HumanSize(report->pack_bytes) << "), "
              << Counted(report->segments, "index segment") << ": "
              << (report->damaged() ? "DAMAGED" : "no damage found") << "\n";
    if (!options.read_data && !report->damaged()) {
      std::cout << "contents were not read (--read-data does)\n";
    }
  }
  return int{report->damaged() ? kExitDamaged : kExitDone};
}

}  // namespace

std::vector<Command> CheckCommands() {
  return {
      {"check",
       "",
       "checks the repository",
       {{"read-data", "", "read, decrypt and hash every byte"}},
       0,
       0,
       Check,
       true},
  };
}

}  // namespace bkfs

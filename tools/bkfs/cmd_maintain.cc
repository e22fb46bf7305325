// SPDX-License-Identifier: Apache-2.0
// prune and compact.
#include <iostream>
#include <nlohmann/json.hpp>

#include "engine/maintain/compact.h"
#include "engine/maintain/prune.h"
#include "tools/bkfs/cli.h"
#include "tools/bkfs/output.h"
#include "tools/bkfs/progress.h"
#include "tools/host.h"

namespace bkfs {

namespace {

using nlohmann::json;

Maintainer::Options RunOptions(const Context& context, const std::string& program) {
  Maintainer::Options run;
  run.host = HostName();
  run.program = program;
  run.dry_run = context.args.Has("dry-run");
  run.ignore_damage = context.args.Has("ignore-damage");
  return run;
}

Result<double> ParsePercent(const std::string& text, const std::string& option) {
  std::string digits = text;
  if (digits.ends_with('%')) digits.pop_back();
  auto number = ParseNumber(digits, 100);
  if (number.ok()) return static_cast<double>(*number);
  return Status(Code::kInvalid,
                "--" + option + ": bad value '" + text + "' (want a percentage, 0 to 100)");
}

MaintenanceProgress ShowOn(ProgressLine& line) {
  return [&line](std::string_view stage, uint64_t done, uint64_t of) {
    line.Count(std::string(stage), done, of);
  };
}

json CompactJson(const CompactReport& report) {
  return {
      {"packs_emptied", report.packs_emptied},        {"bytes_read", report.bytes_read},
      {"packs_written", report.packs_written},        {"bytes_written", report.bytes_written},
      {"bytes_copied_by_store", report.bytes_copied}, {"frames_moved", report.frames_moved},
      {"frames_rewritten", report.frames_rewritten},  {"segments_before", report.segments_before},
      {"segments_after", report.segments_after},      {"unused_before", report.unused_before},
      {"packs_skipped", report.packs_skipped}};
}

void PrintCompact(const CompactReport& report, bool dry_run) {
  if (report.packs_emptied == 0) {
    std::cout << "nothing to compact\n";
  } else if (dry_run) {
    std::cout << "would empty " << Counted(report.packs_emptied, "pack") << " ("
              << HumanSize(report.bytes_read) << ")\n";
  } else {
    std::cout << "emptied " << Counted(report.packs_emptied, "pack") << " ("
              << HumanSize(report.bytes_read) << ") into " << report.packs_written << " ("
              << HumanSize(report.bytes_written);
    if (report.bytes_copied > 0) {
      std::cout << ", and " << HumanSize(report.bytes_copied) << " copied by the store itself";
    }
    std::cout << "); 'bkfs prune' deletes the old ones\n";
  }
  if (report.segments_after < report.segments_before) {
    std::cout << "merged " << Counted(report.segments_before, "index segment") << " into "
              << report.segments_after << "\n";
  }
  if (report.packs_skipped > 0) {
    std::cout << Counted(report.packs_skipped, "pack") << " left alone: damaged\n";
  }
}

json PruneJson(const PruneReport& report) {
  json out{{"snapshots", report.snapshots},
           {"packs", report.packs},
           {"bytes", report.bytes},
           {"condemned_packs", report.condemned_packs},
           {"condemned_bytes", report.condemned_bytes},
           {"deleted_packs", report.deleted_packs},
           {"deleted_bytes", report.deleted_bytes},
           {"waiting_packs", report.waiting_packs},
           {"waiting_bytes", report.waiting_bytes},
           {"waiting_for", report.waiting_for},
           {"locks_extended", report.locks_extended},
           {"unused_bytes", report.unused_bytes},
           {"missing_blobs", report.missing_blobs}};
  out["refused"] = json::array();
  for (const auto& object : report.refused) {
    out["refused"].push_back({{"object", object.object}, {"why", object.why.message()}});
  }
  return out;
}

void PrintPrune(const PruneReport& report, bool dry_run) {
  const std::string would = dry_run ? "would have " : "";
  for (const auto& object : report.refused) {
    std::cout << "ignored: " << object.object << ": " << object.why.message() << "\n";
  }
  std::cout << Counted(report.snapshots, "snapshot") << " in " << Counted(report.packs, "pack")
            << " (" << HumanSize(report.bytes) << ")\n";
  std::cout << would << "deleted " << Counted(report.deleted_packs, "pack") << " ("
            << HumanSize(report.deleted_bytes) << ")";
  if (report.condemned_packs > 0) {
    std::cout << ", condemned " << Counted(report.condemned_packs, "pack") << " ("
              << HumanSize(report.condemned_bytes) << ")";
  }
  std::cout << "\n";
  if (report.waiting_packs > 0) {
    std::cout << Counted(report.waiting_packs, "condemned pack") << " ("
              << HumanSize(report.waiting_bytes) << ") to be deleted by a later prune";
    std::string why;
    for (const auto& what : report.waiting_for) why += (why.empty() ? "" : ", ") + Printable(what);
    if (!why.empty()) std::cout << "; waiting for " << why;
    std::cout << "\n";
  }
  if (report.locks_extended > 0) {
    std::cout << Counted(report.locks_extended, "object") << " locked for longer\n";
  }
  if (report.unused_bytes > 0) {
    std::cout << HumanSize(report.unused_bytes)
              << " unused in packs that are partly used ('bkfs compact' frees them)\n";
  }
}

Result<int> RunPrune(Context& context) {
  PruneOptions options;
  options.run = RunOptions(context, "bkfs prune");
  options.now = context.args.Has("now");
  if (context.args.Has("grace")) {
    if (options.now) return Status(Code::kInvalid, "--now waits for nothing: leave out --grace");
    auto grace = ParseSeconds(context.args.Get("grace"));
    if (!grace.ok()) return grace.status().WithContext("--grace");
    options.grace_ns = *grace * 1'000'000'000;
  }
  double max_unused = -1;
  if (context.args.Has("max-unused")) {
    BKFS_ASSIGN(max_unused, ParsePercent(context.args.Get("max-unused"), "max-unused"));
  }
  BKFS_ASSIGN(auto repo, context.Open());
  CompactReport compacted;
  auto work = [&]() -> Result<PruneReport> {
    ProgressLine line(*context.clock, context.quiet || context.json);
    if (max_unused >= 0) {
      CompactOptions compact;
      compact.run = options.run;
      compact.max_unused = max_unused;
      compact.threshold = 1;
      BKFS_ASSIGN(compacted, Compact(*repo, compact, ShowOn(line)));
    }
    return Prune(*repo, options, ShowOn(line));
  };
  BKFS_ASSIGN(PruneReport report, work());
  if (context.json) {
    json out = PruneJson(report);
    if (max_unused >= 0) out["compact"] = CompactJson(compacted);
    std::cout << out.dump() << "\n";
  } else {
    if (max_unused >= 0) PrintCompact(compacted, options.run.dry_run);
    PrintPrune(report, options.run.dry_run);
  }
  return int{kExitDone};
}

Result<int> RunCompact(Context& context) {
  CompactOptions options;
  options.run = RunOptions(context, "bkfs compact");
  if (context.args.Has("threshold")) {
    BKFS_ASSIGN(options.threshold, ParsePercent(context.args.Get("threshold"), "threshold"));
  }
  if (context.args.Has("max-bytes")) {
    auto bytes = ParseSize(context.args.Get("max-bytes"));
    if (!bytes.ok()) return bytes.status().WithContext("--max-bytes");
    options.max_bytes = *bytes;
  }
  BKFS_ASSIGN(auto repo, context.Open());
  auto work = [&] {
    ProgressLine line(*context.clock, context.quiet || context.json);
    return Compact(*repo, options, ShowOn(line));
  };
  BKFS_ASSIGN(CompactReport report, work());
  if (context.json) {
    std::cout << CompactJson(report).dump() << "\n";
  } else {
    PrintCompact(report, options.run.dry_run);
  }
  return int{report.packs_skipped > 0 ? kExitDamaged : kExitDone};
}

}  // namespace

std::vector<Command> MaintainCommands() {
  return {
      {"prune",
       "",
       "deletes what no snapshot uses, beside mounts and backups",
       {{"grace", "TIME", "how long readers without a lease may take (24h)"},
        {"now", "", "wait for nobody; refused while anybody uses the repository"},
        {"max-unused", "PERCENT", "compact before, until no more of the store than that is unused"},
        {"dry-run", "", "say what would be freed, and change nothing"},
        {"ignore-damage", "", "go on although it cannot be told what damaged snapshots use"}},
       0,
       0,
       RunPrune},
      {"compact",
       "",
       "moves what is used out of half-empty and small packs",
       {{"threshold", "PERCENT", "empty packs of which at least that much is unused (10)"},
        {"max-bytes", "SIZE", "read no more than that in this run"},
        {"dry-run", "", "say what would be moved, and change nothing"},
        {"ignore-damage", "", "go on although it cannot be told what damaged snapshots use"}},
       0,
       0,
       RunCompact},
  };
}

}  // namespace bkfs

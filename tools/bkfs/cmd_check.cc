// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <nlohmann/json.hpp>

#include "engine/maintain/check.h"
#include "engine/maintain/repair.h"
#include "tools/bkfs/cli.h"
#include "tools/bkfs/output.h"
#include "tools/bkfs/progress.h"
#include "tools/host.h"

namespace bkfs {

namespace {

using nlohmann::json;

// Affected files as they are found: there may be more of them than fit in memory.
class FilePrinter {
 public:
  explicit FilePrinter(bool as_json) : json_(as_json) {}

  void Print(const AffectedFile& file) {
    if (json_) {
      const json one{{"snapshot", file.snapshot.hex()},
                     {"name", Utf8(file.series)},
                     {"path", Utf8(file.path)},
                     {"problem", file.why.message()}};
      std::cout << (begun_ ? "," : "{\"files\":[") << one.dump();
    } else {
      std::cout << "affected: " << file.snapshot.hex().substr(0, 12) << " "
                << Printable(file.series) << ":" << Printable(file.path) << ": "
                << file.why.message() << "\n";
    }
    begun_ = true;
  }
  // A check that could not go on: what it has found so far is a whole object too.
  void Abandon(const Status& why) {
    if (json_ && begun_) Finish({{"damaged", true}, {"error", why.message()}});
  }
  // Ends the JSON object, which the rest is part of.
  void Finish(const json& rest) {
    std::cout << (begun_ ? "" : "{\"files\":[") << "]," << rest.dump().substr(1) << "\n";
  }

 private:
  const bool json_;
  bool begun_ = false;
};

json ReportJson(const RepairReport& result) {
  const CheckReport& report = result.check;
  json out{{"damaged", report.damaged()},
           {"affected_files", report.affected_files},
           {"packs", report.packs},
           {"pack_bytes", report.pack_bytes},
           {"segments", report.segments},
           {"snapshots", report.snapshots},
           {"trees", report.trees},
           {"blobs", report.blobs},
           {"read_bytes", report.read_bytes},
           {"verified_packs", report.verified_packs},
           {"never_verified", report.never_verified},
           {"oldest_verification", nullptr},
           {"read_all", report.read_all},
           {"notes", report.notes},
           {"repaired", result.repaired},
           {"left_alone", result.left}};
  if (report.oldest_verified_ns) {
    out["oldest_verification"] = FormatRfc3339(*report.oldest_verified_ns);
  }
  out["objects"] = json::array();
  for (const auto& problem : report.objects) {
    out["objects"].push_back({{"object", problem.object}, {"problem", problem.why.message()}});
  }
  return out;
}

std::string VerifiedText(const CheckReport& report) {
  std::string text;
  if (report.never_verified > 0) {
    text = Counted(report.never_verified, "pack") + " never verified from here";
  }
  if (report.oldest_verified_ns) {
    text += (text.empty() ? "all packs" : ", the others") + std::string(" verified since ") +
            FormatRfc3339(*report.oldest_verified_ns / 1'000'000'000 * 1'000'000'000);
  }
  return text;
}

void PrintReport(const CheckOptions& options, const CheckReport& report) {
  for (const auto& note : report.notes) std::cout << "note: " << note << "\n";
  for (const auto& problem : report.objects) {
    std::cout << "damaged: " << problem.object << ": " << problem.why.message() << "\n";
  }
  std::cout << Counted(report.snapshots, "snapshot") << ", " << Counted(report.packs, "pack")
            << " (" << HumanSize(report.pack_bytes) << "), "
            << Counted(report.segments, "index segment") << ": "
            << (report.damaged() ? "DAMAGED" : "no damage found") << "\n";
  if (options.read.reads()) {
    std::cout << Counted(report.verified_packs, "pack") << " read and verified ("
              << HumanSize(report.read_bytes) << ")"
              << (report.read_all ? "" : "; the time was up: the next run goes on from here")
              << "\n";
  } else if (!report.damaged()) {
    std::cout << "contents were not read (--read-data does)\n";
  }
  const std::string verified = VerifiedText(report);
  if (!verified.empty()) std::cout << verified << "\n";
}

Status InOption(const char* option, const Status& status) {
  return status.WithContext(std::string("--") + option);
}

Result<CheckOptions> OptionsOf(const Context& context) {
  const Arguments& args = context.args;
  CheckOptions options;
  if (args.Has("level")) {
    auto level = ParseCheckLevel(args.Get("level"));
    if (!level.ok()) return InOption("level", level.status());
    options.level = *level;
  }
  if (args.Has("read-data") || args.Has("max-duration")) {
    auto read = ParseReadSelection(args.Get("read-data"));
    if (!read.ok()) return InOption("read-data", read.status());
    options.read = *read;
  }
  if (args.Has("max-duration")) {
    auto duration = ParseDuration(args.Get("max-duration"));
    if (!duration.ok()) return InOption("max-duration", duration.status());
    options.read.max_duration_ns = *duration;
  }
  options.read.restart = args.Has("restart");
  if (options.read.restart && !options.read.reads()) {
    return Status(Code::kInvalid, "--restart goes with --read-data or --max-duration");
  }
  const bool repair = args.Has("repair");
  if (args.Has("source") && !repair) return Status(Code::kInvalid, "--source goes with --repair");
  if (repair && options.level != CheckLevel::kReferences) {
    return Status(Code::kInvalid, "--repair looks at everything: leave out --level");
  }
  options.host = HostName();
  options.program = repair ? "bkfs check --repair" : "bkfs check";
  options.cancelled = Interrupted;
  return options;
}

Result<int> Check(Context& context) {
  BKFS_ASSIGN(CheckOptions options, OptionsOf(context));
  context.config.cache_size = 0;  // it is the store that is looked at
  BKFS_ASSIGN(auto repo, context.Open());
  FilePrinter files(context.json);
  Result<RepairReport> result = [&]() -> Result<RepairReport> {
    ProgressLine line(*context.clock, context.quiet || context.json);
    options.on_file = [&](const AffectedFile& file) {
      line.Clear();
      files.Print(file);
    };
    auto progress = [&](std::string_view stage, uint64_t done, uint64_t of) {
      line.Count("checking " + std::string(stage), done, of);
    };
    if (context.args.Has("repair")) {
      return RepairRepository(*repo, {options, context.args.All("source")}, progress);
    }
    RepairReport out;
    BKFS_ASSIGN(out.check, CheckRepository(*repo, options, progress));
    return out;
  }();
  if (!result.ok()) {
    files.Abandon(result.status());
    return result.status();
  }
  if (context.json) {
    files.Finish(ReportJson(*result));
  } else {
    for (const auto& what : result->repaired) std::cout << "repaired: " << what << "\n";
    for (const auto& what : result->left) std::cout << "left alone: " << what << "\n";
    PrintReport(options, result->check);
  }
  return int{result->check.damaged() ? kExitDamaged : kExitDone};
}

}  // namespace

std::vector<Command> CheckCommands() {
  return {
      {"check",
       "",
       "checks the repository",
       {{"level", "LEVEL", "structure, signatures or references (all of them)"},
        {"read-data", "[=P%|N/T]",
         "read, decrypt and hash every byte: of all packs, of a share at random, or of part N of "
         "T"},
        {"max-duration", "TIME", "read for so long (30m), what was verified longest ago first"},
        {"restart", "", "read again what an interrupted run has read"},
        {"repair", "", "mend the index, and move what is sound out of damaged packs"},
        {"source", "DIR",
         "with --repair: files in which lost contents may be found (may be repeated)"}},
       0,
       0,
       Check},
  };
}

}  // namespace bkfs

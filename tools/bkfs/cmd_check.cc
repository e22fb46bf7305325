// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/maintain/check.h"
#include "engine/maintain/repair.h"
#include "tools/bkfs/check_mirror.h"
#include "tools/bkfs/cli.h"
#include "tools/bkfs/output.h"
#include "tools/bkfs/progress.h"
#include "tools/host.h"
#include "tools/open_repository.h"
#include "tools/open_store.h"

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

// What is checked: the store itself, not what is kept of it, and the primary of a pair.
struct Checked {
  std::unique_ptr<Repository> repo;
  std::optional<MirrorCheck> mirror;
};

Result<Checked> OpenToCheck(Context& context) {
  Config& config = context.config;
  config.cache_size = 0;
  Checked out;
  if (config.mirror.empty()) {
    BKFS_ASSIGN(out.repo, context.Open());
    return out;
  }
  BKFS_TRY(InitCrypto());
  BKFS_ASSIGN(auto store, OpenStoreToCheck(config, context.env, *context.log));
  BKFS_TRY(ReadHeader(*store.store).status());
  BKFS_ASSIGN(KeyMaterial key, LoadKeyfile(config.key_file, config.passphrase_file, *context.log));
  out.mirror.emplace(*store.mirrored, config.mirror);
  BKFS_ASSIGN(out.repo, OpenRepositoryIn(std::move(store.store), std::move(key), config,
                                         context.env, {}, *context.log, *context.clock));
  return out;
}

// Before anything is given up or moved: what is whole in the other store comes from there.
Status MendFromMirror(Checked& checked, CheckOptions options, const CheckProgress& progress,
                      ProgressLine& line) {
  const KeyType type = checked.repo->key().type;
  if (!MayMaintain(type)) {
    return {Code::kDenied, "a " + std::string(KeyTypeName(type)) + " key may not repair"};
  }
  options.on_file = [](const AffectedFile&) {};
  BKFS_ASSIGN(const CheckReport report, CheckRepository(*checked.repo, options, progress));
  BKFS_TRY(checked.mirror->Compare(options.read, line));
  return checked.mirror->Mend(report.objects, line);
}

Result<RepairReport> RunCheck(Context& context, Checked& checked, CheckOptions& options,
                              FilePrinter& files) {
  ProgressLine line(*context.clock, context.quiet || context.json);
  options.on_file = [&](const AffectedFile& file) {
    line.Clear();
    files.Print(file);
  };
  auto progress = [&](std::string_view stage, uint64_t done, uint64_t of) {
    line.Count("checking " + std::string(stage), done, of);
  };
  const bool repair = context.args.Has("repair");
  if (checked.mirror) {
    BKFS_TRY(checked.mirror->CatchUp(line));
    if (repair) BKFS_TRY(MendFromMirror(checked, options, progress, line));
  }
  RepairReport out;
  if (repair) {
    BKFS_ASSIGN(out,
                RepairRepository(*checked.repo, {options, context.args.All("source")}, progress));
  } else {
    BKFS_ASSIGN(out.check, CheckRepository(*checked.repo, options, progress));
  }
  // After a repair the mirror has been read already.
  if (checked.mirror) {
    BKFS_TRY(checked.mirror->Compare(repair ? ReadSelection() : options.read, line));
  }
  return out;
}

Result<int> Check(Context& context) {
  BKFS_ASSIGN(CheckOptions options, OptionsOf(context));
  BKFS_ASSIGN(Checked checked, OpenToCheck(context));
  if (Interrupted()) return Status(Code::kInterrupted, "interrupted");
  FilePrinter files(context.json);
  auto result = RunCheck(context, checked, options, files);
  if (!result.ok()) {
    files.Abandon(result.status());
    return result.status();
  }
  if (context.json) {
    json report = ReportJson(*result);
    if (checked.mirror) report["mirror"] = checked.mirror->Json();
    files.Finish(report);
  } else {
    for (const auto& what : result->repaired) std::cout << "repaired: " << what << "\n";
    for (const auto& what : result->left) std::cout << "left alone: " << what << "\n";
    PrintReport(options, result->check);
    if (checked.mirror) checked.mirror->Print();
  }
  if (result->check.damaged() || (checked.mirror && checked.mirror->differs())) {
    return int{kExitDamaged};
  }
  return int{checked.mirror && checked.mirror->failed() ? kExitFailed : kExitDone};
}

}  // namespace

std::vector<Command> CheckCommands() {
  return {
      {"check",
       "",
       "checks the repository, and compares its mirror",
       {{"level", "LEVEL", "structure, signatures or references (all of them)"},
        {"read-data", "[=P%|N/T]",
         "read, decrypt and hash every byte: of all packs, of a share at random, or of part N of "
         "T"},
        {"max-duration", "TIME", "read for so long (30m), what was verified longest ago first"},
        {"restart", "", "read again what an interrupted run has read"},
        {"repair", "",
         "mend the index, move what is sound out of damaged packs, copy what a mirror or the "
         "repository lacks from the other"},
        {"source", "DIR",
         "with --repair: files in which lost contents may be found (may be repeated)"}},
       0,
       0,
       Check},
  };
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <nlohmann/json.hpp>

#include "engine/transfer/backup.h"
#include "tools/bkfs/cli.h"
#include "tools/bkfs/output.h"
#include "tools/bkfs/own_places.h"
#include "tools/bkfs/progress.h"
#include "tools/host.h"

namespace bkfs {

namespace {

using nlohmann::json;

class BackupPrinter final : public BackupObserver {
 public:
  BackupPrinter(Clock& clock, bool quiet) : line_(clock, quiet) {}
  void SourceFailed(const std::string& path, const Status& why) override {
    line_.Say("bkfs: " + Printable(path) + ": " + why.message());
  }
  void Progress(const BackupCounts& counts) override {
    line_.Update(Counted(counts.files, "file") + ", " + HumanSize(counts.bytes) + ", " +
                     HumanSize(counts.read_bytes) + " read",
                 counts.done_bytes, counts.expected_bytes);
  }
  bool Cancelled() override { return Interrupted(); }

 private:
  ProgressLine line_;
};

Result<BackupOptions> MakeOptions(const Context& context) {
  BackupOptions options;
  const Config::Backup& defaults = context.config.backup;
  options.paths = context.args.positional().empty() ? defaults.paths : context.args.positional();
  options.name = context.args.Get("name", defaults.name);
  if (options.paths.empty()) {
    return Status(Code::kInvalid, "what is to be backed up? (PATH, or [Backup] Paths=)");
  }
  if (options.name.empty()) {
    return Status(Code::kInvalid, "which series? (--name NAME, or [Backup] Name=)");
  }
  BKFS_TRY(CheckSeriesName(options.name));
  for (const auto& pattern : defaults.exclude) BKFS_TRY(options.excludes.Add(pattern));
  for (const auto& pattern : context.args.All("exclude")) BKFS_TRY(options.excludes.Add(pattern));
  for (const auto& file : context.args.All("exclude-file")) {
    Status added = options.excludes.AddFile(file);
    if (!added.ok()) return Status(Code::kInvalid, added.message());
  }
  options.one_file_system =
      context.args.Has("one-file-system") || defaults.one_file_system.value_or(false);
  options.tags = context.args.All("tag");
  options.host = context.args.Get("host", HostName());
  options.user = UserName();
  if (context.args.Has("dedup")) {
    BKFS_ASSIGN(options.writer.dedup, ParseDedupPolicy(context.args.Get("dedup")));
  }
  BKFS_ASSIGN(options.never, OwnPlaces(context));
  return options;
}

Result<int> Backup(Context& context) {
  BKFS_ASSIGN(BackupOptions options, MakeOptions(context));
  BKFS_ASSIGN(auto repo, context.Open());
  if (!MayWrite(repo->key().type)) {
    return Status(Code::kDenied, "a " + std::string(KeyTypeName(repo->key().type)) +
                                     " key cannot write; backup takes WriteOnly, ReadWrite or the "
                                     "master key");
  }
  const int64_t start = context.clock->MonotonicNanos();
  Result<BackupResult> result = [&] {
    BackupPrinter printer(*context.clock, context.quiet || context.json);
    return RunBackup(*repo, options, printer);
  }();
  if (!result.ok()) return result.status();
  const double seconds =
      static_cast<double>(context.clock->MonotonicNanos() - start) / 1'000'000'000;
  if (context.json) {
    std::cout << json{{"snapshot", result->snapshot.hex()},
                      {"id", result->snapshot.hex()},
                      {"name", options.name},
                      {"files", result->totals.files},
                      {"directories", result->totals.directories},
                      {"bytes", result->totals.bytes},
                      {"read_files", result->counts.read_files},
                      {"read_bytes", result->counts.read_bytes},
                      {"new_bytes", result->writer.bytes_new},
                      {"added", result->writer.bytes_stored},
                      {"failures", result->counts.failures},
                      {"seconds", seconds}}
                     .dump()
              << "\n";
  } else {
    if (!context.quiet) {
      std::cerr << Counted(result->totals.files, "file") << ", " << HumanSize(result->totals.bytes)
                << "; " << result->counts.read_files << " read, "
                << HumanSize(result->writer.bytes_new) << " new, "
                << HumanSize(result->writer.bytes_stored) << " stored\n";
    }
    std::cout << result->snapshot.hex() << "\n";
  }
  return int{result->counts.failures > 0 ? kExitSourcesSkipped : kExitDone};
}

}  // namespace

std::vector<Command> BackupCommands() {
  return {
      {"backup",
       "PATH...",
       "makes a snapshot of files, without a mount",
       {{"name,n", "NAME", "series the snapshot belongs to"},
        {"exclude,e", "GLOB", "leave out what matches (as in a gitignore file)"},
        {"exclude-file", "FILE", "a file of such patterns"},
        {"one-file-system,x", "", "do not go into other filesystems"},
        {"tag", "TEXT", "a word to find the snapshot by"},
        {"host", "NAME", "instead of this machine's name"},
        {"dedup", "own|trusted|all", "whose stored data may be relied upon (own)"}},
       0,
       100000,
       Backup},
  };
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <nlohmann/json.hpp>

#include "engine/transfer/copy.h"
#include "tools/bkfs/cli.h"
#include "tools/bkfs/output.h"
#include "tools/bkfs/progress.h"
#include "tools/host.h"
#include "tools/open_repository.h"

namespace bkfs {

namespace {

using nlohmann::json;

std::string NameOf(const Snapshot& snapshot) {
  return snapshot.id.hex() + " (" + Printable(snapshot.body.name) + ", " +
         FormatRfc3339(snapshot.body.time_ns / 1'000'000'000 * 1'000'000'000) + ")";
}

class CopyPrinter final : public CopyObserver {
 public:
  explicit CopyPrinter(const Context& context)
      : line_(*context.clock, context.quiet || context.json), verbose_(context.verbose) {}
  void Done(const Snapshot& source, const CopyOutcome& outcome) override {
    if (!outcome.why.ok()) {
      line_.Say("bkfs: snapshot " + NameOf(source) + " is not copied: " + outcome.why.message() +
                " ('bkfs check --read-data' of the source tells what is damaged)");
    } else if (verbose_) {
      line_.Say("bkfs: snapshot " + NameOf(source) +
                (outcome.made ? " copied as " : " is there as ") + outcome.copy.hex());
    }
    list_.push_back({{"source", source.id.hex()},
                     {"copy", outcome.why.ok() ? json(outcome.copy.hex()) : json()},
                     {"name", Utf8(source.body.name)},
                     {"time", FormatRfc3339(source.body.time_ns)},
                     {"copied", outcome.made}});
  }
  void Progress(const CopyCounts& counts) override {
    line_.Update(Counted(counts.snapshots, "snapshot") + ", " + Counted(counts.files, "file") +
                     ", " + HumanSize(counts.read_bytes) + " read",
                 counts.bytes, counts.expected_bytes);
  }
  bool Cancelled() override { return Interrupted(); }
  const json& list() const { return list_; }

 private:
  ProgressLine line_;
  const bool verbose_;
  json list_ = json::array();
};

// Before anything is opened.
Status CheckUsage(const Arguments& args) {
  if (!args.Has("to")) return {Code::kInvalid, "where to? (--to URL, a second repository)"};
  if (!args.Has("to-key-file")) {
    return {Code::kInvalid,
            "which key of the destination? (--to-key-file FILE: WriteOnly, ReadWrite or its "
            "master key)"};
  }
  const int ways = !args.positional().empty() + args.Has("name") + args.Has("all");
  if (ways == 1) return {};
  return {Code::kInvalid, ways == 0 ? "which snapshots? (SNAP..., --name SERIES, or --all)"
                                    : "SNAP, --name and --all: give one of them"};
}

Result<std::vector<SnapshotId>> Wanted(const Arguments& args, Repository& from) {
  std::vector<SnapshotId> out;
  for (const auto& what : args.positional()) {
    BKFS_ASSIGN(auto snapshot, from.snapshots().Resolve(what));
    out.push_back(snapshot->id);
  }
  if (!out.empty()) return out;
  BKFS_ASSIGN(const SnapshotList list, from.snapshots().List());
  for (const auto& snapshot : list.snapshots) {
    if (!args.Has("name") || snapshot->body.name == args.Get("name")) out.push_back(snapshot->id);
  }
  if (out.empty() && args.Has("name")) {
    return Status(Code::kNotFound, "no snapshots of series '" + Printable(args.Get("name")) + "'");
  }
  return out;
}

void Report(const Context& context, const CopyResult& result, const json& list, double seconds) {
  uint64_t made = 0;
  for (const auto& outcome : result.snapshots) made += outcome.made ? 1 : 0;
  if (context.json) {
    std::cout << json{{"snapshots", list},
                      {"files", result.counts.files},
                      {"bytes", result.counts.bytes},
                      {"read_bytes", result.counts.read_bytes},
                      {"new_bytes", result.writer.bytes_new},
                      {"added", result.writer.bytes_stored},
                      {"failures", result.counts.failures},
                      {"seconds", seconds}}
                     .dump()
              << "\n";
    return;
  }
  if (!context.quiet) {
    std::cerr << Counted(made, "snapshot") << " copied, "
              << result.snapshots.size() - made - result.counts.failures << " there already; "
              << HumanSize(result.counts.read_bytes) << " read, "
              << HumanSize(result.writer.bytes_stored) << " stored\n";
  }
  for (const auto& outcome : result.snapshots) {
    if (outcome.made) std::cout << outcome.copy.hex() << "\n";
  }
}

Result<int> Copy(Context& context) {
  const Arguments& args = context.args;
  BKFS_TRY(CheckUsage(args));
  BKFS_ASSIGN(auto from, context.Open());
  Config destination = context.config;
  destination.url = args.Get("to");
  destination.mirror.clear();
  destination.key_file = args.Get("to-key-file");
  destination.passphrase_file = args.Get("to-passphrase-file");
  auto to = OpenRepository(destination, context.env, {}, *context.log, *context.clock);
  if (!to.ok()) return to.status().WithContext("--to");
  BKFS_ASSIGN(const std::vector<SnapshotId> wanted, Wanted(args, *from));
  CopyOptions options;
  options.host = HostName();
  if (args.Has("dedup")) {
    BKFS_ASSIGN(options.writer.dedup, ParseDedupPolicy(args.Get("dedup")));
  }
  const int64_t start = context.clock->MonotonicNanos();
  json list;
  Result<CopyResult> result = [&] {
    CopyPrinter printer(context);
    auto copied = RunCopy(*from, **to, wanted, options, printer);
    list = printer.list();
    return copied;
  }();
  if (!result.ok()) return result.status();
  const auto nanos = static_cast<double>(context.clock->MonotonicNanos() - start);
  Report(context, *result, list, nanos / 1'000'000'000);
  return int{result->counts.failures > 0 ? kExitDamaged : kExitDone};
}

}  // namespace

std::vector<Command> CopyCommands() {
  return {
      {"copy",
       "[SNAP...]",
       "copies snapshots to another repository, with keys of its own",
       {{"to", "URL", "the other repository"},
        {"to-key-file", "FILE", "a key of it that may write"},
        {"to-passphrase-file", "FILE", "passphrase of that key (else asked for)"},
        {"name,n", "SERIES", "all snapshots of a series"},
        {"all", "", "all snapshots"},
        {"dedup", "own|trusted|all", "whose data in the destination may be relied upon (own)"}},
       0,
       100000,
       Copy},
  };
}

}  // namespace bkfs

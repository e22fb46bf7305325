// SPDX-License-Identifier: Apache-2.0
// snapshots, stats, version.
#include <iostream>
#include <nlohmann/json.hpp>

#include "tools/bkfs/cli.h"
#include "tools/bkfs/output.h"

namespace bkfs {

namespace {

using nlohmann::json;

json SnapshotJson(const Snapshot& snapshot) {
  const SnapshotBody& body = snapshot.body;
  json item{{"id", snapshot.id.hex()},
            {"name", Utf8(body.name)},
            {"time", FormatRfc3339(body.time_ns)},
            {"host", Utf8(body.host)},
            {"user", Utf8(body.user)},
            {"key", snapshot.envelope.signer.hex()},
            {"files", body.totals.files},
            {"directories", body.totals.directories},
            {"bytes", body.totals.bytes},
            {"added", body.added},
            {"signature", SignatureStateName(snapshot.signature)}};
  item["tags"] = json::array();
  for (const auto& tag : body.tags) item["tags"].push_back(Utf8(tag));
  item["paths"] = json::array();
  for (const auto& path : body.paths) item["paths"].push_back(Utf8(path));
  return item;
}

Result<int> Snapshots(Context& context) {
  BKFS_ASSIGN(auto repo, context.Open());
  BKFS_ASSIGN(SnapshotList list, repo->snapshots().List());
  BKFS_TRY(WarnOfProblems(*repo, list));
  const std::string name = context.args.Get("name");
  json out = json::array();
  Table table;
  table.Row({"ID", "TIME", "SERIES", "HOST", "FILES", "SIZE", "ADDED", "SIGNATURE"});
  size_t shown = 0;
  for (const auto& snapshot : list.snapshots) {
    const SnapshotBody& body = snapshot->body;
    if (!name.empty() && body.name != name) continue;
    ++shown;
    if (context.json) {
      out.push_back(SnapshotJson(*snapshot));
      continue;
    }
    table.Row({snapshot->id.hex().substr(0, 12),
               FormatRfc3339(body.time_ns / 1'000'000'000 * 1'000'000'000), Printable(body.name),
               Printable(body.host), std::to_string(body.totals.files),
               HumanSize(body.totals.bytes), HumanSize(body.added),
               std::string(SignatureStateName(snapshot->signature))});
  }
  if (context.json) {
    std::cout << out.dump() << "\n";
  } else if (shown == 0) {
    std::cout << (name.empty() ? "no snapshots yet\n"
                               : "no snapshots of series '" + Printable(name) + "'\n");
  } else {
    std::cout << table.Text({4, 5, 6});
  }
  return int{kExitDone};
}

Result<int> Stats(Context& context) {
  BKFS_ASSIGN(auto repo, context.Open());
  uint64_t packs = 0;
  uint64_t pack_bytes = 0;
  uint64_t other_bytes = 0;
  BKFS_TRY(repo->store().List("", [&](const std::string& name, uint64_t size) {
    if (name.starts_with("packs/")) {
      ++packs;
      pack_bytes += size;
    } else {
      other_bytes += size;
    }
    return Status();
  }));
  json out{{"repository", repo->header().repo.hex()},
           {"packs", packs},
           {"pack_bytes", pack_bytes},
           {"other_bytes", other_bytes}};
  Table table;
  table.Row({"stored:", HumanSize(pack_bytes + other_bytes) + " in " + Counted(packs, "pack")});
  if (repo->has_index()) {
    BKFS_ASSIGN(auto index, repo->index().GetStats());
    out["blobs"] = index.blobs;
    table.Row({"blobs:", std::to_string(index.blobs)});
  }
  if (MayReadLog(repo->key().type)) {
    BKFS_ASSIGN(SnapshotList list, repo->snapshots().List());
    BKFS_TRY(WarnOfProblems(*repo, list));
    uint64_t bytes = 0;
    for (const auto& snapshot : list.snapshots) bytes += snapshot->body.totals.bytes;
    out["snapshots"] = list.snapshots.size();
    out["snapshot_bytes"] = bytes;
    table.Row(
        {"snapshots:", std::to_string(list.snapshots.size()) + " holding " + HumanSize(bytes)});
    if (pack_bytes > 0) {
      char ratio[32];
      std::snprintf(ratio, sizeof ratio, "%.1f",
                    static_cast<double>(bytes) / static_cast<double>(pack_bytes));
      table.Row({"ratio:", std::string(ratio) + " (size of the snapshots to what is stored)"});
    }
    if (!list.snapshots.empty()) {
      const auto& last = list.snapshots.back()->body;
      out["last_added"] = last.added;
      table.Row({"last:", Printable(last.name) + " at " +
                              FormatRfc3339(last.time_ns / 1'000'000'000 * 1'000'000'000) + ", " +
                              HumanSize(last.added) + " new"});
    }
  }
  std::cout << (context.json ? out.dump() + "\n" : table.Text({}));
  return int{kExitDone};
}

Result<int> Version(Context& context) {
  if (context.json) {
    std::cout << json{{"version", BKFS_VERSION}, {"format", 1}}.dump() << "\n";
  } else {
    std::cout << "bkfs " BKFS_VERSION " (repository format 1)\n";
  }
  return int{kExitDone};
}

}  // namespace

std::vector<Command> SnapshotCommands() {
  return {
      {"snapshots",
       "",
       "lists the snapshots",
       {{"name,n", "NAME", "of this series only"}},
       0,
       0,
       Snapshots,
       true},
      {"stats", "", "tells how much is stored", {}, 0, 0, Stats, true},
      {"version", "", "tells the program's version", {}, 0, 0, Version},
  };
}

}  // namespace bkfs

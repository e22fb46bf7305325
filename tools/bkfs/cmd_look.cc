// SPDX-License-Identifier: Apache-2.0
// ls, find, diff.
#include <iostream>
#include <nlohmann/json.hpp>

#include "engine/transfer/diff.h"
#include "engine/transfer/find.h"
#include "tools/bkfs/cli.h"
#include "tools/bkfs/output.h"
#include "tools/bkfs/snapshot_entry.h"

namespace bkfs {

namespace {

using nlohmann::json;

json EntryJson(const std::string& path, const Entry& entry) {
  json item{{"path", Utf8(path)},
            {"kind", KindWord(entry.kind)},
            {"mode", entry.mode},
            {"uid", entry.uid},
            {"gid", entry.gid},
            {"user", Utf8(entry.user)},
            {"group", Utf8(entry.group)},
            {"size", entry.size},
            {"mtime", FormatRfc3339(ToNanos(entry.mtime))},
            {"nlink", entry.nlink}};
  if (entry.kind == EntryKind::kSymlink) item["target"] = Utf8(entry.target);
  return item;
}

// There is a lease to be tidied up: an interruption ends the walk, not the process.
Status GoOn() {
  if (Interrupted()) return {Code::kInterrupted, "interrupted"};
  return {};
}

Result<int> Ls(Context& context) {
  BKFS_ASSIGN(auto repo, context.Open());
  // One directory is read in a moment.
  const bool recursive = context.args.Has("recursive");
  ReaderLease lease(*repo);
  if (recursive) BKFS_TRY(BeginReading(lease, "bkfs ls"));
  const auto [snapshot, below] = SplitSnapshotPath(context.args.positional()[0]);
  BKFS_ASSIGN(const SnapshotEntry found,
              FindSnapshotEntry(*repo, recursive ? &lease : nullptr, snapshot, below));
  json list = json::array();
  auto show = [&](const std::string& path, const Entry& entry) -> Status {
    if (context.json) {
      list.push_back(EntryJson(path, entry));
    } else {
      std::cout << LongListing(entry, path) << "\n";
    }
    return {};
  };
  if (!found.entry.is_directory()) {
    BKFS_TRY(show(found.entry.name, found.entry));
  } else if (recursive) {
    BKFS_TRY(WalkTree(repo->trees(), found.entry,
                      [&](const std::string& path, const Entry& entry) -> Status {
                        BKFS_TRY(GoOn());
                        return show(path, entry);
                      }));
  } else {
    BKFS_TRY(
        repo->trees().ForEach(found.entry.directory, 0,
                              [&](uint64_t, const DirectoryPtr& leaf, size_t i) -> Result<bool> {
                                const Entry entry = leaf->entry(i);
                                BKFS_TRY(show(entry.name, entry));
                                return true;
                              }));
  }
  if (context.json) std::cout << list.dump() << "\n";
  return int{kExitDone};
}

Result<int> Find(Context& context) {
  BKFS_ASSIGN(auto repo, context.Open());
  if (!repo->has_index()) {
    return Status(Code::kDenied, "a LogOnly key lists snapshots, not their contents");
  }
  BKFS_ASSIGN(SnapshotList list, repo->snapshots().List());
  BKFS_TRY(WarnOfProblems(*repo, list));
  if (context.args.Has("snapshot")) {
    BKFS_ASSIGN(auto only, repo->snapshots().Resolve(context.args.Get("snapshot")));
    list.snapshots = {only};
  }
  if (context.args.Has("name")) {
    std::erase_if(list.snapshots, [&](const auto& snapshot) {
      return snapshot->body.name != context.args.Get("name");
    });
  }
  std::vector<SnapshotId> read;
  for (const auto& snapshot : list.snapshots) read.push_back(snapshot->id);
  ReaderLease lease(*repo);
  BKFS_TRY(BeginReading(lease, "bkfs find"));
  BKFS_TRY(lease.Acquire(read).status());
  json out = json::array();
  for (const auto& snapshot : list.snapshots) {
    BKFS_ASSIGN(Entry root, repo->snapshots().Root(*snapshot));
    BKFS_TRY(FindInTree(
        repo->trees(), root, context.args.positional()[0],
        [&](const std::string& path, const Entry& entry) -> Status {
          if (context.json) {
            json item = EntryJson(path, entry);
            item["snapshot"] = snapshot->id.hex();
            item["name"] = Utf8(snapshot->body.name);
            out.push_back(std::move(item));
          } else {
            std::cout << snapshot->id.hex().substr(0, 12) << " " << Printable(snapshot->body.name)
                      << " " << LongListing(entry, "/" + path) << "\n";
          }
          return {};
        },
        GoOn));
  }
  if (context.json) std::cout << out.dump() << "\n";
  return int{kExitDone};
}

Result<int> Diff(Context& context) {
  BKFS_ASSIGN(auto repo, context.Open());
  ReaderLease lease(*repo);
  BKFS_TRY(BeginReading(lease, "bkfs diff"));
  std::vector<SnapshotEntry> sides;
  for (const std::string& what : context.args.positional()) {
    const auto [name, path] = SplitSnapshotPath(what);
    BKFS_ASSIGN(SnapshotEntry side, FindSnapshotEntry(*repo, &lease, name, path));
    sides.push_back(std::move(side));
  }
  const Entry& before = sides[0].entry;
  const Entry& after = sides[1].entry;
  if (!before.is_directory() || !after.is_directory()) {
    return Status(Code::kInvalid, "diff compares directories");
  }
  json out = json::array();
  BKFS_TRY(DiffTrees(
      repo->trees(), before, after,
      [&](const Difference& difference) -> Status {
        const Entry& entry = difference.what == '-' ? difference.before : difference.after;
        const std::string slash = entry.is_directory() ? "/" : "";
        if (context.json) {
          out.push_back({{"change", std::string(1, difference.what)},
                         {"path", Utf8(difference.path)},
                         {"kind", KindWord(entry.kind)},
                         {"size_before", difference.before.size},
                         {"size_after", difference.after.size}});
        } else {
          std::cout << difference.what << " " << Printable(difference.path) << slash << "\n";
        }
        return {};
      },
      GoOn));
  if (context.json) std::cout << out.dump() << "\n";
  return int{kExitDone};
}

}  // namespace

std::vector<Command> LookCommands() {
  return {
      {"ls",
       "SNAP[:PATH]",
       "lists a directory of a snapshot",
       {{"recursive,r", "", "everything below it"}},
       1,
       1,
       Ls},
      {"find",
       "PATTERN",
       "finds files in all snapshots by name (glob)",
       {{"snapshot,s", "SNAP", "in this snapshot only"}, {"name,n", "NAME", "in this series only"}},
       1,
       1,
       Find},
      {"diff",
       "A B",
       "shows what differs: + added, - removed, M contents, m metadata",
       {},
       2,
       2,
       Diff},
  };
}

}  // namespace bkfs

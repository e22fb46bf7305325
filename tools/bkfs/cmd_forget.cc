// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/maintain/forget.h"
#include "engine/maintain/retention.h"
#include "tools/bkfs/cli.h"
#include "tools/bkfs/output.h"

namespace bkfs {

namespace {

using nlohmann::json;

struct CountRule {
  const char* option;
  int64_t RetentionPolicy::*count;
};
constexpr CountRule kCountRules[] = {
    {"keep-last", &RetentionPolicy::last},       {"keep-hourly", &RetentionPolicy::hourly},
    {"keep-daily", &RetentionPolicy::daily},     {"keep-weekly", &RetentionPolicy::weekly},
    {"keep-monthly", &RetentionPolicy::monthly}, {"keep-yearly", &RetentionPolicy::yearly},
};
// What only says something beside rules.
constexpr const char* kBesideRules[] = {"name", "host", "tag", "group-by", "allow-remove-all"};

Status InOption(const char* option, const Status& status) {
  return status.WithContext(std::string("--") + option);
}

// The rules that the options give; they take the place of all of [Retention]'s, since one that is
// overlooked there would change what the others mean.
Result<RetentionPolicy> PolicyOf(const Context& context) {
  const Arguments& args = context.args;
  RetentionPolicy policy;
  for (const auto& [option, count] : kCountRules) {
    if (!args.Has(option)) continue;
    auto parsed = ParseKeepCount(args.Get(option));
    if (!parsed.ok()) return InOption(option, parsed.status());
    policy.*count = *parsed;
  }
  if (args.Has("keep-within")) {
    auto parsed = ParseRetentionSpan(args.Get("keep-within"));
    if (!parsed.ok()) return InOption("keep-within", parsed.status());
    policy.within = *parsed;
  }
  policy.tags = args.All("keep-tag");
  if (std::find(policy.tags.begin(), policy.tags.end(), "") != policy.tags.end()) {
    return Status(Code::kInvalid, "--keep-tag: which tag?");
  }
  return policy;
}

bool HasKeepOption(const Arguments& args) {
  return std::any_of(std::begin(kCountRules), std::end(kCountRules),
                     [&](const CountRule& rule) { return args.Has(rule.option); }) ||
         args.Has("keep-within") || args.Has("keep-tag");
}

// kInvalid unless it is clear what is to go: snapshots that are named, or those no rule keeps.
Result<RetentionPolicy> CheckUsage(const Context& context) {
  const Arguments& args = context.args;
  const bool has_keep = HasKeepOption(args);
  if (!args.positional().empty()) {
    if (has_keep) {
      return Status(Code::kInvalid,
                    "SNAP names what goes, --keep-... what stays: give one of them");
    }
    for (const char* option : kBesideRules) {
      if (!args.Has(option)) continue;
      return Status(Code::kInvalid,
                    std::string("--") + option + " goes with --keep-... rules, not with SNAP");
    }
    return RetentionPolicy();
  }
  RetentionPolicy policy = context.config.retention;
  if (has_keep) {
    BKFS_ASSIGN(policy, PolicyOf(context));
    policy.grouping = context.config.retention.grouping;
  }
  if (args.Has("group-by")) {
    auto grouping = ParseGrouping(args.Get("group-by"));
    if (!grouping.ok()) return InOption("group-by", grouping.status());
    policy.grouping = *grouping;
  }
  policy.allow_remove_all = args.Has("allow-remove-all");
  if (!policy.HasRule()) {
    return Status(Code::kInvalid,
                  "which snapshots? Name them, or say what stays: --keep-last 7 for example, or "
                  "[Retention] in the configuration ('bkfs forget --help'). Nothing was removed");
  }
  return policy;
}

RetentionItem ItemOf(const Snapshot& snapshot) {
  return {snapshot.id, snapshot.body.name, snapshot.body.host, snapshot.body.tags,
          snapshot.body.time_ns};
}

// Those that were named, as one group in which everything goes.
Result<std::vector<RetentionGroup>> Named(const Context& context, Repository& repo) {
  RetentionGroup group;
  std::set<SnapshotId> seen;
  for (const auto& what : context.args.positional()) {
    BKFS_ASSIGN(auto snapshot, repo.snapshots().Resolve(what));
    if (!seen.insert(snapshot->id).second) continue;
    group.snapshots.push_back({ItemOf(*snapshot), false, {"named"}});
  }
  return std::vector<RetentionGroup>{std::move(group)};
}

// True when there is no filter of that name, or one of its values is among `values`.
bool Matches(const Arguments& args, const std::string& filter,
             const std::vector<std::string>& values) {
  const auto wanted = args.All(filter);
  return wanted.empty() || std::find_first_of(wanted.begin(), wanted.end(), values.begin(),
                                              values.end()) != wanted.end();
}

std::vector<RetentionGroup> Judged(const Context& context, const SnapshotList& list,
                                   const RetentionPolicy& policy, const ZoneOffset& zone) {
  std::vector<RetentionItem> items;
  for (const auto& snapshot : list.snapshots) {
    const SnapshotBody& body = snapshot->body;
    if (!Matches(context.args, "name", {body.name}) ||
        !Matches(context.args, "host", {body.host}) || !Matches(context.args, "tag", body.tags)) {
      continue;
    }
    items.push_back(ItemOf(*snapshot));
  }
  return ApplyRetention(policy, std::move(items), context.clock->WallNanos(), zone);
}

json PlanJson(const std::vector<RetentionGroup>& groups, const RetentionGrouping& grouping) {
  json out = json::array();
  for (const auto& group : groups) {
    json item{{"name", nullptr}, {"host", nullptr}, {"refused", group.refused}};
    if (grouping.by_name) item["name"] = Utf8(group.name);
    if (grouping.by_host) item["host"] = Utf8(group.host);
    item["snapshots"] = json::array();
    for (const auto& [snapshot, keep, reasons] : group.snapshots) {
      json one{{"id", snapshot.id.hex()},
               {"name", Utf8(snapshot.name)},
               {"host", Utf8(snapshot.host)},
               {"time", FormatRfc3339(snapshot.time_ns)},
               {"keep", keep}};
      one["tags"] = json::array();
      for (const auto& tag : snapshot.tags) one["tags"].push_back(Utf8(tag));
      one["reasons"] = json::array();
      for (const auto& reason : reasons) one["reasons"].push_back(Utf8(reason));
      item["snapshots"].push_back(std::move(one));
    }
    out.push_back(std::move(item));
  }
  return out;
}

std::string Joined(const std::vector<std::string>& words) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : ", ") + Printable(word);
  return out;
}

// Times are local here, as the days and hours among the reasons are.
void PrintPlan(const std::vector<RetentionGroup>& groups, const ZoneOffset& zone) {
  for (const auto& group : groups) {
    const bool tagged = std::any_of(group.snapshots.begin(), group.snapshots.end(),
                                    [](const auto& s) { return !s.item.tags.empty(); });
    Table table;
    std::vector<std::string> head{"ID", "TIME", "SERIES", "HOST"};
    if (tagged) head.emplace_back("TAGS");
    head.insert(head.end(), {"WHAT", "WHY"});
    table.Row(std::move(head));
    for (const auto& [snapshot, keep, reasons] : group.snapshots) {
      std::vector<std::string> row{snapshot.id.hex().substr(0, 12),
                                   FormatLocalTime(snapshot.time_ns, zone),
                                   Printable(snapshot.name), Printable(snapshot.host)};
      if (tagged) row.push_back(Joined(snapshot.tags));
      row.insert(row.end(), {keep ? "keep" : "remove", Joined(reasons)});
      table.Row(std::move(row));
    }
    std::cout << table.Text({}) << "\n";
  }
}

std::string Summary(size_t removed, size_t kept, bool dry_run) {
  const std::string rest = ", " + std::to_string(kept) + " kept";
  if (removed == 0) return "nothing to remove" + rest + "\n";
  if (dry_run) return Counted(removed, "snapshot") + " would be removed" + rest + "\n";
  return Counted(removed, "snapshot") + " removed" + rest + "; 'bkfs prune' frees the space\n";
}

Status RefusalOf(const std::vector<RetentionGroup>& groups) {
  std::string names;
  for (const auto& group : groups) {
    if (!group.refused) continue;
    names += names.empty() ? "" : ", ";
    const char* on = group.name.empty() || group.host.empty() ? "" : " on ";
    names += group.name.empty() && group.host.empty()
                 ? "all of them"
                 : Printable(group.name) + on + Printable(group.host);
  }
  if (names.empty()) return {};
  return {Code::kDenied, "the rules keep no snapshot of: " + names +
                             "; these stay whole (--allow-remove-all removes them)"};
}

Result<int> Forget(Context& context) {
  BKFS_ASSIGN(const RetentionPolicy policy, CheckUsage(context));
  const bool named = !context.args.positional().empty();
  const bool dry_run = context.args.Has("dry-run");
  BKFS_ASSIGN(auto repo, context.Open());
  if (!dry_run) BKFS_TRY(repo->CheckMayMaintain());
  BKFS_ASSIGN(SnapshotList list, repo->snapshots().List());
  BKFS_TRY(WarnOfProblems(*repo, list));
  const ZoneOffset zone = SystemZone();
  std::vector<RetentionGroup> groups;
  if (named) {
    BKFS_ASSIGN(groups, Named(context, *repo));
  } else {
    groups = Judged(context, list, policy, zone);
  }
  std::vector<SnapshotId> ids;
  for (const auto& group : groups) {
    for (const auto& snapshot : group.snapshots) {
      if (!snapshot.keep) ids.push_back(snapshot.item.id);
    }
  }
  if (context.json) {
    std::cout << PlanJson(groups, named ? RetentionGrouping{false, false} : policy.grouping).dump()
              << "\n";
  } else {
    PrintPlan(groups, zone);
  }
  std::cout.flush();
  const size_t all = std::max(list.snapshots.size(), ids.size());
  if (!dry_run && !ids.empty()) {
    // What goes must be on record before it goes.
    if (!std::cout.good()) return Status(Code::kIo, "standard output cannot be written");
    if (Interrupted()) return Status(Code::kInterrupted, "interrupted");
    BKFS_ASSIGN(const auto locked, ForgetSnapshots(*repo, ids, [&](const std::string& what) {
                  context.log->Warning(what);
                }));
    std::erase_if(ids, [&](const SnapshotId& id) {
      return std::find(locked.begin(), locked.end(), id) != locked.end();
    });
  }
  if (!context.json) {
    std::cout << Summary(ids.size(), all - ids.size(), dry_run);
  }
  BKFS_TRY(RefusalOf(groups));
  return int{kExitDone};
}

}  // namespace

std::vector<Command> ForgetCommands() {
  return {
      {"forget",
       "[SNAP...]",
       "removes snapshots: those named, or those no rule keeps",
       {{"keep-last", "N", "keep the N newest (unlimited or -1: all)"},
        {"keep-hourly", "N", "keep the newest of each of the last N hours that have snapshots"},
        {"keep-daily", "N", "the same for days"},
        {"keep-weekly", "N", "the same for weeks (from Monday)"},
        {"keep-monthly", "N", "the same for months"},
        {"keep-yearly", "N", "the same for years"},
        {"keep-within", "TIME", "keep what is at most so much older than the newest: 2y5m7d3h"},
        {"keep-tag", "TEXT", "keep what has this tag; may be repeated"},
        {"name,n", "NAME", "of this series only; may be repeated"},
        {"host", "NAME", "of this machine only; may be repeated"},
        {"tag", "TEXT", "with this tag only; may be repeated"},
        {"group-by", "name,host", "apply the rules to each series of each machine ('': to all)"},
        {"allow-remove-all", "", "also where the rules keep no snapshot of a group"},
        {"dry-run", "", "only show what would be removed"}},
       0,
       100000,
       Forget},
  };
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
// Which files of which snapshots what was found missing costs. Directories below which everything
// is there are looked at once; the others in every place where they stand.
#include "engine/maintain/check_run.h"

namespace bkfs {

namespace {
constexpr uint64_t kAskEvery = 1000;  // files: whether the snapshot still counts

Status WhyLost(BlobMap::Presence presence, const BlobId& id) {
  switch (presence) {
    case BlobMap::Presence::kGood: return {};
    case BlobMap::Presence::kUnindexed:
      return {Code::kCorrupt, "blob " + id.hex() + " is only in packs that no index segment lists"};
    case BlobMap::Presence::kDamaged:
      return {Code::kCorrupt, "blob " + id.hex() + " is damaged or its pack is missing"};
    case BlobMap::Presence::kNowhere: break;
  }
  return {Code::kCorrupt, "blob " + id.hex() + " is in no pack"};
}
}  // namespace

// A directory blob on the way down.
struct CheckRun::Level {
  BlobId id;
  uint64_t bit = 0;
  uint64_t entries = kAnyCount;
  uint32_t below_level = kTopLevel;
  size_t path = 0;    // length of its path
  size_t next = 0;    // child or entry
  bool sound = true;  // so far
  DirectoryPtr view;  // of the lowest one only
};

struct CheckRun::Walk {
  const Snapshot& snapshot;
  std::string path;
  std::vector<Level> levels;
  uint64_t told = 0;
  bool gone = false;  // forgotten meanwhile: what is missing is missing rightly
};

Status CheckRun::Affected(Walk& walk, const std::string& path, const Status& why) {
  if (!walk.levels.empty()) walk.levels.back().sound = false;
  if (walk.told++ % kAskEvery == 0) {
    BKFS_TRY(repo_.removals().Refresh());
    walk.gone = repo_.removals().IsRemoved(walk.snapshot.id);
  }
  if (walk.gone) return {};
  ++report_.affected_files;
  AffectedFile file{walk.snapshot.id, walk.snapshot.body.name, path, why};
  if (options_.on_file) {
    options_.on_file(file);
  } else {
    report_.files.push_back(std::move(file));
  }
  return {};
}

Status CheckRun::CheckExtents(const std::vector<Extent>& extents, Status& first) {
  for (const auto& extent : extents) {
    if (extent.is_hole()) continue;
    BKFS_ASSIGN(auto found, map_->Find(PackKind::kContents, extent.blob));
    if (found.presence == BlobMap::Presence::kGood) continue;
    if (first.ok()) first = WhyLost(found.presence, extent.blob);
    if (!collect_lost_) return {};
    findings_.lost_contents.insert(extent.blob);
  }
  return {};
}

// `first`: the first problem of the file; one is enough, unless all that is lost is to be known.
Status CheckRun::CheckFile(const Entry& entry, Status& first) {
  BKFS_TRY(CheckExtents(entry.extents, first));
  std::vector<ListRef> below = entry.lists;
  while (!below.empty() && (first.ok() || collect_lost_)) {
    const ListRef ref = below.back();
    below.pop_back();
    BKFS_ASSIGN(auto found, map_->Find(PackKind::kTrees, ref.blob));
    Status problem = WhyLost(found.presence, ref.blob);
    if (problem.ok()) {
      auto list = LoadPiece(ref);
      problem = list.status();
      if (list.ok()) {
        BKFS_TRY(CheckExtents((*list)->extents, first));
        below.insert(below.end(), (*list)->lists.begin(), (*list)->lists.end());
      } else if (!IsDamage(problem)) {
        return problem;
      }
    }
    if (first.ok()) first = problem;
  }
  return {};
}

Status CheckRun::Enter(Walk& walk, Level level) {
  BKFS_ASSIGN(auto found, map_->Find(PackKind::kTrees, level.id));
  Status problem = WhyLost(found.presence, level.id);
  if (problem.ok()) {
    if (map_->IsSound(found.bit)) return {};
    auto view = LoadDirectory(level.id, level.entries, level.below_level);
    problem = view.status();
    if (view.ok()) {
      level.bit = found.bit;
      level.view = *view;
      walk.levels.push_back(std::move(level));
      return {};
    }
    if (!IsDamage(problem)) return problem;
  }
  return Affected(walk, walk.path + "/", problem);
}

Status CheckRun::Step(Walk& walk) {
  Level& top = walk.levels.back();
  walk.path.resize(top.path);
  if (!top.view) {
    BKFS_ASSIGN(top.view, repo_.trees().Load(top.id));
  }
  const DirectoryPtr view = top.view;
  const size_t at = top.next++;
  if (at < view->children()) {
    const Child child = view->child(at);
    top.view = nullptr;
    return Enter(walk, {.id = child.blob,
                        .entries = child.entries,
                        .below_level = view->level(),
                        .path = top.path});
  }
  if (at < view->entries()) {
    const Entry entry = view->entry(at);
    walk.path += "/" + entry.name;
    if (entry.is_directory()) {
      if (entry.directory.is_zero()) return {};
      top.view = nullptr;
      return Enter(walk, {.id = entry.directory, .path = walk.path.size()});
    }
    Status problem;
    BKFS_TRY(CheckFile(entry, problem));
    return problem.ok() ? OkStatus() : Affected(walk, walk.path, problem);
  }
  const bool sound = top.sound;
  if (sound) map_->SetSound(top.bit);
  walk.levels.pop_back();
  if (!sound && !walk.levels.empty()) walk.levels.back().sound = false;
  return {};
}

Status CheckRun::NameFiles() {
  uint64_t done = 0;
  for (const auto& snapshot : snapshots_.snapshots) {
    auto root = repo_.snapshots().Root(*snapshot);
    if (!root.ok()) continue;  // it is among the damaged objects
    if (root->directory.is_zero()) continue;
    Walk walk{*snapshot, "", {}, 0, false};
    BKFS_TRY(Enter(walk, {.id = root->directory}));
    while (!walk.levels.empty() && !walk.gone) {
      BKFS_TRY(Tell("what is affected in snapshots", done, snapshots_.snapshots.size()));
      BKFS_TRY(Step(walk));
    }
    ++done;
  }
  return {};
}

}  // namespace bkfs

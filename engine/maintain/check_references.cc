// SPDX-License-Identifier: Apache-2.0
// Whether everything that snapshots refer to is there: each directory is looked at once.
#include "engine/maintain/check_run.h"

namespace bkfs {

struct CheckRun::Visit {
  BlobId id;
  uint64_t entries = kAnyCount;      // that it must have
  uint32_t below_level = kTopLevel;  // of the blob that names it
};

Status CheckRun::VisitExtents(const std::vector<Extent>& extents) {
  for (const auto& extent : extents) {
    if (extent.is_hole()) continue;
    ++report_.blobs;
    if (recent_->Contains(extent.blob)) continue;
    BKFS_ASSIGN(auto found, map_->Find(PackKind::kContents, extent.blob));
    if (found.presence == BlobMap::Presence::kGood) {
      recent_->Add(extent.blob);
    } else {
      ++lost_;
    }
    if (found.presence == BlobMap::Presence::kUnindexed) found.pack->needed = true;
  }
  return {};
}

// True when a tree blob is there and has not been met before.
Result<bool> CheckRun::MeetTreeBlob(const BlobId& id) {
  ++report_.blobs;
  BKFS_ASSIGN(auto found, map_->Find(PackKind::kTrees, id));
  if (found.presence != BlobMap::Presence::kGood) ++lost_;
  if (found.presence > BlobMap::Presence::kUnindexed) return false;
  // What is below is needed as well, and can be looked at here.
  if (found.presence == BlobMap::Presence::kUnindexed) found.pack->needed = true;
  return map_->Meet(found.bit);
}

Status CheckRun::VisitLists(const std::vector<ListRef>& lists) {
  std::vector<ListRef> below = lists;
  while (!below.empty()) {
    const ListRef ref = below.back();
    below.pop_back();
    BKFS_ASSIGN(bool fresh, MeetTreeBlob(ref.blob));
    if (!fresh) continue;
    auto list = LoadPiece(ref);
    if (!list.ok()) {
      if (!IsDamage(list.status())) return list.status();
      ++lost_;
      continue;
    }
    BKFS_TRY(VisitExtents((*list)->extents));
    below.insert(below.end(), (*list)->lists.begin(), (*list)->lists.end());
  }
  return {};
}

Status CheckRun::VisitDirectory(const Visit& visit, std::vector<Visit>& below) {
  BKFS_ASSIGN(bool fresh, MeetTreeBlob(visit.id));
  if (!fresh) return {};
  ++report_.trees;
  auto view = LoadDirectory(visit.id, visit.entries, visit.below_level);
  if (!view.ok()) {
    if (!IsDamage(view.status())) return view.status();
    ++lost_;
    return {};
  }
  for (size_t i = 0; i < (*view)->children(); ++i) {
    const Child child = (*view)->child(i);
    below.push_back({child.blob, child.entries, (*view)->level()});
  }
  for (size_t i = 0; i < (*view)->entries(); ++i) {
    const Entry entry = (*view)->entry(i);
    if (entry.is_directory()) {
      if (!entry.directory.is_zero()) below.push_back({entry.directory});
      continue;
    }
    BKFS_TRY(VisitExtents(entry.extents));
    BKFS_TRY(VisitLists(entry.lists));
  }
  return {};
}

Status CheckRun::VisitTree(const BlobId& root) {
  if (root.is_zero()) return {};
  std::vector<Visit> below{{root}};
  while (!below.empty()) {
    BKFS_TRY(Tell("directories", report_.trees, 0));
    const Visit visit = below.back();
    below.pop_back();
    BKFS_TRY(VisitDirectory(visit, below));
  }
  return {};
}

void CheckRun::NoteUnindexed() {
  for (const auto& id : findings_.unindexed) {
    if (packs_[id].needed) {
      Bad(PackName(id), {Code::kCorrupt,
                         "is in no index segment, and snapshots need what is in it: a segment is "
                         "lost"});
    } else {
      Note(PackName(id) + " is in no index segment: left by a backup that was cut off");
    }
  }
}

Status CheckRun::FindLost() {
  if (!MayReadLog(repo_.key().type)) return {};  // it has been noted that they cannot be listed
  if (!MayReadTrees(repo_.key().type) || !repo_.has_index()) {
    Note("directories were not checked: this key cannot read them");
    return {};
  }
  BKFS_ASSIGN(BlobMap map, BlobMap::Begin(repo_.index(), packs_, readable_));
  map_ = std::make_unique<BlobMap>(std::move(map));
  recent_ = std::make_unique<RecentBlobs>();
  for (const auto& snapshot : snapshots_.snapshots) {
    auto root = repo_.snapshots().Root(*snapshot);
    if (root.ok()) {
      BKFS_TRY(VisitTree(root->directory));
    } else if (IsDamage(root.status())) {
      Bad(SnapshotName(snapshot->id), root.status());
    } else {
      return root.status();
    }
  }
  recent_.reset();
  NoteUnindexed();
  return {};
}

// A directory blob, if it fits the place it is named in.
Result<DirectoryPtr> CheckRun::LoadDirectory(const BlobId& id, uint64_t entries,
                                             uint32_t below_level) {
  BKFS_ASSIGN(DirectoryPtr view, repo_.trees().Load(id));
  if (view->level() < below_level && (entries == kAnyCount || view->count() == entries)) {
    return view;
  }
  return Status(Code::kCorrupt, "blob " + id.hex() + " does not fit its place in the directory");
}

// A piece of a long file's extents, if it covers the bytes it should.
Result<std::shared_ptr<const ExtentListBlob>> CheckRun::LoadPiece(const ListRef& ref) {
  BKFS_ASSIGN(auto list, repo_.trees().LoadList(ref.blob));
  uint64_t bytes = 0;
  for (const auto& extent : list->extents) bytes += extent.length;
  for (const auto& piece : list->lists) bytes += piece.bytes;
  if (bytes == ref.bytes) return list;
  return Status(Code::kCorrupt, "blob " + ref.blob.hex() + " covers other bytes than it should");
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
// The lease of a writable mount: how the trees under /incoming keep what they refer to from being
// deleted, and what becomes of them when maintenance has given up waiting (doc/maintenance.md).
#include <algorithm>

#include "engine/staging/staging_impl.h"

namespace bkfs {

namespace {
constexpr std::string_view kLeaseKey = "lease";
constexpr std::string_view kDoubtfulKey = "lease is doubtful";
}  // namespace

// `doubtful`: something relied on the lease before this one, and has not been looked at since.
Status StagingImpl::RememberLease(bool doubtful) {
  const LeaseId id = lease_->id();
  Journal::Batch batch;
  batch.Put(journal_keys::MetaKey(kLeaseKey), id.view());
  batch.Put(journal_keys::MetaKey(kDoubtfulKey), Bytes{static_cast<uint8_t>(doubtful)});
  return journal_->Write(batch);
}

// Leaves lease_ empty when there is none, or it has been ended.
Status StagingImpl::ResumeLease(const LeaseHolder::Options& options) {
  BKFS_ASSIGN(auto before, journal_->Get(journal_keys::MetaKey(kLeaseKey)));
  if (!before || before->size() != LeaseId::kSize) return {};
  LeaseId id;
  std::copy(before->begin(), before->end(), id.bytes.begin());
  auto taken = LeaseHolder::Resume(repo_, options, id, held_);
  if (taken.ok()) {
    lease_ = std::move(*taken);
  } else if (taken.code() != Code::kNotFound && taken.code() != Code::kCorrupt) {
    return taken.status();
  }
  return {};
}

// Takes up the lease of the process before, or begins one. True when everything that process relied
// on is held still.
Result<bool> StagingImpl::TakeLease() {
  LeaseHolder::Options options;
  options.kind = LeaseKind::kWriter;
  options.ttl_ns = options_.lease_ttl_ns;
  options.host = options_.host;
  options.program = "mount.bkfs";
  options.resumable = true;
  BKFS_TRY(ResumeLease(options));
  BKFS_ASSIGN(auto doubtful, journal_->Get(journal_keys::MetaKey(kDoubtfulKey)));
  const bool resumed = lease_ && !(doubtful && *doubtful == Bytes{1});
  if (!resumed) held_ = LeaseState();
  if (!lease_) {
    BKFS_ASSIGN(lease_, LeaseHolder::Begin(repo_, options));
  }
  BKFS_TRY(RememberLease(!resumed));
  // The log, then the index: doc/maintenance.md, W1.
  BKFS_ASSIGN(const auto condemned, lease_->ReadLogAndIndex());
  std::unordered_set<PackId, IdHash> held;
  if (resumed) {
    held.insert(held_.packs.begin(), held_.packs.end());
    for (const auto& [pack, entry] : condemned->condemned) {
      if (entry > held_.moved_past) held.insert(pack);
    }
  }
  writer_->Heed(condemned, std::move(held));
  return resumed;
}

Status StagingImpl::StartLease() {
  BKFS_TRY(lease_->Start(
      [this](const std::shared_ptr<const CondemnedPacks>& condemned) { return Heed(condemned); }));
  if (options_.readers != nullptr) options_.readers->RelyOn(lease_.get());
  return {};
}

Result<LeasePins> StagingImpl::Heed(const std::shared_ptr<const CondemnedPacks>& condemned) {
  LeasePins pins;
  pins.packs = writer_->Heed(condemned);
  {
    MutexLock lock(tree_mutex_);
    for (const auto& [name, series] : series_) {
      if (series.record.ended) continue;
      pins.uncommitted = pins.uncommitted || series.record.changed;
      const TreeBase& base = series.record.base();
      if (base.root.empty()) continue;
      BKFS_ASSIGN(Entry root, DecodeEntry(base.root));
      if (!root.directory.is_zero()) pins.roots.push_back(root.directory);
    }
  }
  if (options_.readers != nullptr) {
    for (const BlobId& root : options_.readers->Roots()) pins.roots.push_back(root);
  }
  return pins;
}

bool StagingImpl::IsClean() {
  MutexLock lock(tree_mutex_);
  for (const auto& [name, series] : series_) {
    if (series.record.ended) continue;
    if (series.open_writers > 0) return false;
    if (!series.record.changed) continue;
    auto untouched = IsUntouched(series);
    if (!untouched.ok() || !*untouched) return false;
  }
  return true;
}

// Whether the snapshot that a series builds on exists: then nothing of it can have been deleted.
Result<bool> StagingImpl::BaseCounts(const TreeBase& base) {
  if (base.root.empty()) return true;
  auto there = repo_.store().Size(SnapshotName(base.snapshot));
  if (!there.ok() && there.code() != Code::kNotFound) return there.status();
  // The fence before the closure, which is there when the fence goes.
  auto fence = repo_.store().Size(FenceName(base.lease));
  if (!fence.ok() && fence.code() != Code::kNotFound) return fence.status();
  BKFS_TRY(repo_.removals().Refresh());
  if (!there.ok() || repo_.removals().IsRemoved(base.snapshot)) return false;
  // Being ended: nobody knows yet whether this one was found.
  if (fence.ok() && !repo_.removals().IsClosed(base.lease)) return false;
  return repo_.removals().CountsUnder(base.lease, base.snapshot);
}

// The bases (of one series, or of all) are pinned now. Those that were not all the time must be
// there still.
Status StagingImpl::ConfirmBases(std::string_view only) {
  std::vector<std::pair<std::string, TreeBase>> bases;
  {
    MutexLock lock(tree_mutex_);
    for (const auto& [name, series] : series_) {
      if (!only.empty() && name != only) continue;
      const TreeBase& base = series.record.base();
      if (!series.record.ended && !base.root.empty()) bases.emplace_back(name, base);
    }
  }
  bool dropped = false;
  for (const auto& [name, base] : bases) {
    BKFS_ASSIGN(bool counts, BaseCounts(base));  // asks the store
    if (counts) continue;
    BKFS_ASSIGN(bool distrusted, DistrustBase(name, base));
    dropped = dropped || distrusted;
  }
  return dropped ? Relieve(kDeletedMeanwhile) : OkStatus();
}

// Unless the base was pinned all the time, or the series builds on another by now.
Result<bool> StagingImpl::DistrustBase(const std::string& name, const TreeBase& base) {
  BKFS_ASSIGN(Entry root, DecodeEntry(base.root));
  const auto& pinned = held_.roots;
  if (std::find(pinned.begin(), pinned.end(), root.directory) != pinned.end()) return false;
  MutexLock lock(tree_mutex_);
  Series* series = FindSeries(name);
  if (!series || series->record.base().root != base.root) return false;
  BKFS_TRY(DistrustStored(*series, true));
  return true;
}

// Everything below the series' root comes into the journal; what cannot be read any more is empty.
Status StagingImpl::ImportWhole(Series& series) {
  LostFiles lost;
  lost.set_why(kDeletedMeanwhile);
  std::vector<NodeId> directories{series.record.root};
  while (!directories.empty()) {
    const NodeId id = directories.back();
    directories.pop_back();
    BKFS_ASSIGN(NodePtr dir, Load(id));
    if (!dir->loaded) {
      Status imported = Import(dir);
      if (imported.Is(Code::kCorrupt) || imported.Is(Code::kDenied)) {
        BKFS_ASSIGN(std::string path, PathOf(*dir));
        repo_.log().Warning("series " + series.record.name + ": a directory could not be read (" +
                            imported.message() + ")");
        lost.Add(dir->entry.totals.files, path + "/");
        dir->loaded = true;
      } else {
        BKFS_TRY(imported);
      }
    }
    Journal::Batch batch;
    PutNode(dir, batch);
    BKFS_TRY(Save(batch));
    BKFS_TRY(journal_->Scan(journal_keys::DirPrefix(id), {},
                            [&](ByteView, ByteView value) -> Result<bool> {
                              BKFS_ASSIGN(Dirent dirent, DecodeDirent(value));
                              if (dirent.kind == EntryKind::kDirectory) {
                                directories.push_back(dirent.node);
                              }
                              return true;
                            }));
  }
  if (lost.empty()) return {};
  series.record.lost.Add(lost);
  repo_.log().Warning("series " + series.record.name + ": " + lost.Text("    "));
  return {};
}

// What the series' directories say is stored may be gone: they are written again at the next
// commit. `whole`: also what lies in the snapshot that it builds on.
Status StagingImpl::DistrustStored(Series& series, bool whole) {
  if (series.record.ended || series.record.root == 0) return {};
  if (whole) BKFS_TRY(ImportWhole(series));
  std::vector<NodeId> directories;
  BKFS_TRY(ForEachNode(series, 0, [&](Node node) -> Result<bool> {
    if (node.is_directory() && node.loaded && node.clean) directories.push_back(node.id);
    return true;
  }));
  for (NodeId id : directories) {
    BKFS_ASSIGN(NodePtr dir, Load(id));
    dir->clean = false;
    Journal::Batch batch;
    PutNode(dir, batch);
    BKFS_TRY(Save(batch));
  }
  if (whole) {
    series.record.last.root.clear();
    series.record.inherited = {};
  }
  series.record.changed = true;
  // Nobody has written anything for that.
  if (series.lost_at == series.change_count) ++series.lost_at;
  ++series.change_count;
  return SaveSeries(series);
}

// Once maintenance has ended the lease, whatever is in no snapshot that counts may be gone. What an
// error leaves undone is done the next time, under the lease that was begun.
Status StagingImpl::LookAfterLease() {
  BKFS_ASSIGN(bool ended, lease_->HasEnded());
  if (!ended && !lease_doubtful_) return {};
  if (ended) {
    repo_.log().Warning(
        "maintenance had given up waiting for this mount; looking whether everything is there");
    lease_doubtful_ = true;
    held_ = LeaseState();
    BKFS_TRY(lease_->BeginAnew());
    BKFS_TRY(RememberLease(true));
  }
  BKFS_ASSIGN(const auto condemned, lease_->ReadLogAndIndex());
  writer_->Heed(condemned);
  {
    MutexLock lock(tree_mutex_);
    for (auto& [name, series] : series_) {
      BKFS_ASSIGN(bool counts, BaseCounts(series.record.base()));
      if (series.record.changed || !counts) BKFS_TRY(DistrustStored(series, !counts));
    }
  }
  BKFS_TRY(Relieve(kDeletedMeanwhile));
  BKFS_TRY(StartLease());
  BKFS_TRY(ConfirmBases());
  BKFS_TRY(RememberLease(false));
  lease_doubtful_ = false;
  return {};
}

}  // namespace bkfs

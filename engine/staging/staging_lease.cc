// SPDX-License-Identifier: Apache-2.0
// The lease of a writable mount: how the trees under /incoming keep what they refer to from being
// deleted, and what becomes of them when maintenance has given up waiting (doc/maintenance.md).
#include <algorithm>

#include "engine/staging/staging_impl.h"

namespace bkfs {

namespace {
constexpr std::string_view kLeaseKey = "lease";
constexpr std::string_view kDeletedMeanwhile =
    "referred to data that maintenance has deleted, or may, while this machine was not heard of";
}  // namespace

Status StagingImpl::SaveLease() {
  const LeaseId id = lease_->id();
  Journal::Batch batch;
  batch.Put(journal_keys::MetaKey(kLeaseKey), id.view());
  return journal_->Write(batch);
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
  bool resumed = false;
  BKFS_ASSIGN(auto before, journal_->Get(journal_keys::MetaKey(kLeaseKey)));
  if (before && before->size() == LeaseId::kSize) {
    LeaseId id;
    std::copy(before->begin(), before->end(), id.bytes.begin());
    auto taken = LeaseHolder::Resume(repo_, options, id, held_);
    if (taken.ok()) {
      lease_ = std::move(*taken);
      resumed = true;
    } else if (taken.code() != Code::kNotFound && taken.code() != Code::kCorrupt) {
      return taken.status();
    }
  }
  if (!lease_) {
    BKFS_ASSIGN(lease_, LeaseHolder::Begin(repo_, options));
    BKFS_TRY(SaveLease());
  }
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
  writer_->Heed(condemned);
  LeasePins pins;
  {
    MutexLock lock(tree_mutex_);
    for (const auto& [name, series] : series_) {
      if (series.record.ended) continue;
      pins.uncommitted = pins.uncommitted || series.record.changed;
      if (series.record.last_root.empty()) continue;
      BKFS_ASSIGN(Entry root, DecodeEntry(series.record.last_root));
      if (!root.directory.is_zero()) pins.roots.push_back(root.directory);
    }
  }
  pins.packs = writer_->UsedAmongCondemned();
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

// Whether the snapshot that the series builds on exists: then nothing of it can have been deleted.
Result<bool> StagingImpl::BaseCounts(const Series& series) {
  if (series.record.last_root.empty()) return true;
  const SnapshotId& id = series.record.last_snapshot;
  auto there = repo_.store().Size(SnapshotName(id));
  if (!there.ok() && there.code() != Code::kNotFound) return there.status();
  BKFS_TRY(repo_.removals().Refresh());
  return there.ok() && !repo_.removals().IsRemoved(id);
}

// The bases (of one series, or of all) are pinned now. Those that were not all the time must be
// there still.
Status StagingImpl::ConfirmBases(std::string_view only) {
  bool dropped = false;
  for (auto& [name, series] : series_) {
    if (!only.empty() && name != only) continue;
    if (series.record.ended || series.record.last_root.empty()) continue;
    BKFS_ASSIGN(bool counts, BaseCounts(series));
    if (counts) continue;
    BKFS_ASSIGN(Entry root, DecodeEntry(series.record.last_root));
    const auto& pinned = held_.roots;
    if (std::find(pinned.begin(), pinned.end(), root.directory) != pinned.end()) continue;
    BKFS_TRY(DistrustStored(series, true));
    dropped = true;
  }
  return dropped ? DropUnstored(kDeletedMeanwhile) : OkStatus();
}

// Everything below the series' root comes into the journal; what cannot be read any more is empty.
Status StagingImpl::ImportWhole(Series& series) {
  std::vector<NodeId> directories{series.record.root};
  while (!directories.empty()) {
    const NodeId id = directories.back();
    directories.pop_back();
    BKFS_ASSIGN(NodePtr dir, Load(id));
    if (!dir->loaded) {
      Status imported = Import(dir);
      if (imported.Is(Code::kCorrupt) || imported.Is(Code::kDenied)) {
        repo_.log().Warning("series " + series.record.name + ": a directory could not be read (" +
                            imported.message() + "); copy what was in it again");
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
  return {};
}

// What the series' directories say is stored may be gone: they are written again at the next
// commit. `whole`: also what lies in the snapshot that it builds on.
Status StagingImpl::DistrustStored(Series& series, bool whole) {
  if (series.record.ended || series.record.root == 0) return {};
  if (whole) BKFS_TRY(ImportWhole(series));
  const NodeId first = GenerationOf(series.record.root) << kNodeBits;
  const NodeId last = first + (NodeId{1} << kNodeBits);
  std::vector<NodeId> directories;
  BKFS_TRY(journal_->Scan({{'n'}}, journal_keys::NodeKey(first),
                          [&](ByteView key, ByteView value) -> Result<bool> {
                            NodeId id = 0;
                            for (size_t i = 1; i < key.size(); ++i) id = id << 8 | key[i];
                            if (id >= last) return false;
                            BKFS_ASSIGN(Node node, DecodeNode(id, value));
                            if (node.is_directory() && node.loaded && node.clean) {
                              directories.push_back(id);
                            }
                            return true;
                          }));
  for (NodeId id : directories) {
    BKFS_ASSIGN(NodePtr dir, Load(id));
    dir->clean = false;
    Journal::Batch batch;
    PutNode(dir, batch);
    BKFS_TRY(Save(batch));
  }
  if (whole) series.record.last_root.clear();
  series.record.changed = true;
  ++series.change_count;
  return SaveSeries(series);
}

// Maintenance has ended the lease: whatever is in no snapshot that counts may be gone.
Status StagingImpl::BeginLeaseAnew() {
  repo_.log().Warning(
      "maintenance had given up waiting for this mount; looking whether everything is there");
  const LeaseId before = lease_->id();
  lease_doubtful_ = true;  // until everything below has been done
  BKFS_TRY(lease_->BeginAnew());
  BKFS_TRY(SaveLease());
  held_ = LeaseState();
  BKFS_ASSIGN(const auto condemned, lease_->ReadLogAndIndex());
  writer_->Heed(condemned);
  {
    MutexLock lock(tree_mutex_);
    for (auto& [name, series] : series_) {
      // A snapshot made under the old lease counts only if the closure names it. Whether this one
      // was is not known here: others are doubted too, which costs time and nothing else.
      BKFS_ASSIGN(bool counts, BaseCounts(series));
      counts = counts && (series.record.last_root.empty() ||
                          (repo_.removals().IsClosed(before) &&
                           repo_.removals().CountsUnder(before, series.record.last_snapshot)));
      if (series.record.changed || !counts) BKFS_TRY(DistrustStored(series, !counts));
    }
    BKFS_TRY(DropUnstored(kDeletedMeanwhile));
  }
  BKFS_TRY(StartLease());
  {
    MutexLock lock(tree_mutex_);
    BKFS_TRY(ConfirmBases());
  }
  lease_doubtful_ = false;
  return {};
}

}  // namespace bkfs

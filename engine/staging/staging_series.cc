// SPDX-License-Identifier: Apache-2.0
// Series: begun, found, renamed, ended.
#include "engine/base/transfer.h"
#include "engine/staging/staging_impl.h"

namespace bkfs {

Result<std::vector<SeriesInfo>> StagingImpl::ListSeries() {
  MutexLock lock(tree_mutex_);
  std::vector<SeriesInfo> out;
  for (const auto& [name, series] : series_) {
    if (series.record.ended) continue;
    SeriesInfo info;
    info.name = name;
    info.root = series.record.root;
    info.changed = series.record.changed;
    info.open_for_writing = series.open_writers;
    info.last_snapshot = series.record.last.snapshot;
    info.last_snapshot_ns = series.record.last_snapshot_ns;
    info.last_error = series.last_error;
    out.push_back(std::move(info));
  }
  return out;
}

Result<NodeAttr> StagingImpl::LookupSeries(std::string_view name) {
  MutexLock lock(tree_mutex_);
  Series* series = FindSeries(name);
  if (!series) return Status(Code::kNotFound, "no such series");
  BKFS_ASSIGN(NodePtr root, Load(series->record.root));
  return Attr(*root);
}

namespace {
// Ends what waits for a store that shows no sign of life.
class AwayWatch final : public TransferWatch {
 public:
  explicit AwayWatch(Backend& store) : store_(store) {}
  Status Waiting() override {
    const StoreHealth way = store_.Health();
    if (way.silent_ns < kPatience) return {};
    return {Code::kUnavailable,
            "the store is away, and it is not known whether it has this series"};
  }

 private:
  static constexpr int64_t kPatience = 10'000'000'000;
  Backend& store_;
};
}  // namespace

Result<NodeAttr> StagingImpl::CreateSeries(std::string_view name, const NewNode& how) {
  BKFS_TRY(CheckSeriesName(name));
  // Whoever looks at /incoming waits for this: a store that is away is not waited for.
  AwayWatch unless_away(repo_.store());
  const WatchScope scope(unless_away);
  std::optional<SnapshotList> list;
  if (MayReadLog(repo_.key().type) && MayReadTrees(repo_.key().type)) {
    BKFS_ASSIGN(list, repo_.snapshots().List());
  }
  BKFS_TRY(AdoptSeries(name, how, list));
  // What it builds on is pinned, and then looked at once more: doc/maintenance.md, W5.
  bool builds = false;
  {
    MutexLock lock(tree_mutex_);
    const Series* series = FindSeries(name);
    builds = series && !series->record.last.root.empty();
  }
  if (builds) {
    BKFS_TRY(lease_->Renew());
    BKFS_TRY(ConfirmBases(name));
  }
  MutexLock lock(tree_mutex_);
  const Series* series = FindSeries(name);
  if (!series) return Status(Code::kStale, "the series was ended while it was begun");
  BKFS_ASSIGN(NodePtr root, Load(series->record.root));
  return Attr(*root);
}

Status StagingImpl::AdoptSeries(std::string_view name, const NewNode& how,
                                const std::optional<SnapshotList>& list) {
  MutexLock lock(tree_mutex_);
  if (FindSeries(name)) return {Code::kExists, "this series is staged already"};
  Series& series = series_[std::string(name)];
  const bool known = !series.record.last.root.empty();
  series.record.name = name;
  series.record.root = 0;
  series.last_activity = repo_.clock().MonotonicNanos();
  bool elsewhere = false;
  if (list) {
    for (const auto& snapshot : list->snapshots) elsewhere |= snapshot->body.name == name;
  }
  if (known) {
    BKFS_ASSIGN(Entry root, DecodeEntry(series.record.last.root));
    BKFS_TRY(BeginTree(series, root, false));
  }
  if (elsewhere) BKFS_TRY(AdoptNewest(series, *list));
  if (series.record.root == 0) {
    Entry root;
    root.kind = EntryKind::kDirectory;
    root.mode = how.mode;
    root.uid = how.uid;
    root.gid = how.gid;
    root.mtime = root.ctime = root.btime = Now();
    BKFS_TRY(BeginTree(series, root, true));
    ++series.change_count;
  }
  return {};
}

Status StagingImpl::EndSeries(std::string_view name) {
  BKFS_ASSIGN(const NodeAttr top, LookupSeries(name));
  BKFS_TRY(Fetch(top.id));
  MutexLock lock(tree_mutex_);
  BKFS_TRY(WaitForCommitOf(name));
  Series* series = FindSeries(name);
  if (!series) return {Code::kNotFound, "no such series"};
  BKFS_ASSIGN(bool empty, IsEmpty(series->record.root));
  if (series->record.changed && !empty) {
    return {Code::kNotEmpty, "the series has changes that are in no snapshot yet"};
  }
  // In an empty one only what has no name any more can be open.
  if (series->open_writers > 0 && !empty) {
    return {Code::kBusy, "files of this series are open for writing"};
  }
  const NodeId root = series->record.root;
  series->record.ended = true;
  series->record.changed = false;
  series->record.lost = {};
  series->last_error = {};
  Journal::Batch batch;
  BKFS_TRY(DropTree(root, batch));
  batch.Put(journal_keys::SeriesKey(HashName(name)), EncodeSeries(series->record));
  BKFS_TRY(journal_->Write(batch));
  ForgetGeneration(GenerationOf(root));
  return {};
}

void StagingImpl::ForgetGeneration(uint64_t generation) {
  generations_.erase(generation);
  for (auto it = node_order_.begin(); it != node_order_.end();) {
    if (GenerationOf((*it)->id) == generation) {
      nodes_.erase((*it)->id);
      it = node_order_.erase(it);
    } else {
      ++it;
    }
  }
}

Result<bool> StagingImpl::IsUntouched(const Series& series) {
  if (!series.record.last.snapshot.is_zero() || series.open_writers > 0) return false;
  return IsEmpty(series.record.root);
}

Status StagingImpl::RenameSeries(std::string_view name, std::string_view new_name) {
  BKFS_TRY(CheckSeriesName(new_name));
  MutexLock lock(tree_mutex_);
  BKFS_TRY(WaitForCommitOf(name, new_name));
  Series* from = FindSeries(name);
  if (!from) return {Code::kNotFound, "no such series"};
  if (name == new_name) return {};
  Journal::Batch batch;
  uint64_t replaced = 0;
  if (const Series* target = FindSeries(new_name)) {
    BKFS_ASSIGN(bool untouched, IsUntouched(*target));
    if (!untouched) {
      return {Code::kNotEmpty, "series '" + std::string(new_name) + "' is there already"};
    }
    replaced = GenerationOf(target->record.root);
    BKFS_TRY(DropTree(target->record.root, batch));
  }
  // The tree goes on under the new name; what the old name has in snapshots stays its own.
  Series to = *from;
  to.record.name = new_name;
  to.record.changed = true;
  to.record.last = {};
  to.record.last_snapshot_ns = 0;
  to.record.inherited = from->record.base();
  if (auto known = series_.find(new_name); known != series_.end()) {
    to.record.last = known->second.record.last;
    to.record.last_snapshot_ns = known->second.record.last_snapshot_ns;
  }
  ++to.change_count;
  to.last_activity = repo_.clock().MonotonicNanos();
  Series old = *from;
  old.record.ended = true;
  old.record.changed = false;
  old.record.lost = {};
  old.record.inherited = {};
  old.record.root = 0;
  old.open_writers = 0;
  old.last_error = {};
  batch.Put(journal_keys::SeriesKey(HashName(new_name)), EncodeSeries(to.record));
  if (old.record.last.snapshot.is_zero()) {
    batch.Delete(journal_keys::SeriesKey(HashName(name)));
  } else {
    batch.Put(journal_keys::SeriesKey(HashName(name)), EncodeSeries(old.record));
  }
  BKFS_TRY(journal_->Write(batch));
  if (replaced != 0) ForgetGeneration(replaced);
  generations_[GenerationOf(to.record.root)] = new_name;
  series_.insert_or_assign(std::string(new_name), std::move(to));
  if (old.record.last.snapshot.is_zero()) {
    series_.erase(series_.find(name));
  } else {
    series_.insert_or_assign(std::string(name), std::move(old));
  }
  return {};
}

Result<std::string> StagingImpl::SeriesOf(NodeId node) {
  MutexLock lock(tree_mutex_);
  auto found = generations_.find(GenerationOf(node));
  if (found == generations_.end()) return Status(Code::kStale, "this series is staged no more");
  return found->second;
}

}  // namespace bkfs

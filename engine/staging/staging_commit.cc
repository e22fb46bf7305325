// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "engine/base/printable.h"
#include "engine/base/transfer.h"
#include "engine/repo/tree_writer.h"
#include "engine/staging/staging_impl.h"

namespace bkfs {

namespace {
constexpr int64_t kTick = 200'000'000;
constexpr int64_t kRetryCommit = 10'000'000'000;
constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kAway = 5 * kSecond;  // silence of a store that is worth a word
constexpr int kMaxDepth = 4000;         // directories in directories: beyond, the stack is at risk

// Whether two states of a root are the same snapshot. A change of ctime alone is none.
bool SameRoot(Entry a, Entry b) {
  a.ctime = b.ctime = {};
  a.btime = b.btime = {};
  return EncodeEntry(a) == EncodeEntry(b);
}
}  // namespace

bool StagingImpl::IsStopping() {
  MutexLock lock(stop_mutex_);
  return stopping_;
}

void StagingImpl::CommitterLoop() {
  WaitLimit until_stopped(WaitLimit::kForever, [this] { return IsStopping(); });
  const WatchScope scope(until_stopped);
  for (;;) {
    {
      MutexLock lock(stop_mutex_);
      if (!stopping_) stop_signal_.WaitFor(stop_mutex_, kTick);
      if (stopping_) return;
    }
    if (options_.commit_idle_ns <= 0) continue;
    std::vector<std::string> due;
    {
      MutexLock lock(tree_mutex_);
      const int64_t now = repo_.clock().MonotonicNanos();
      for (const auto& [name, series] : series_) {
        if (series.record.ended || !series.record.changed || series.open_writers > 0) continue;
        if (now - series.last_activity < options_.commit_idle_ns || now < series.retry_at) continue;
        auto untouched = IsUntouched(series);
        if (!untouched.ok() || !*untouched) due.push_back(name);
      }
    }
    for (const auto& name : due) {
      const Code before = LastErrorOf(name);
      auto done = Commit(name);
      // It is tried every few seconds, for days maybe: once is enough.
      if (!done.ok() && done.code() != before && !done.status().Is(Code::kNotFound) &&
          !IsStopping()) {
        repo_.log().Error("snapshot of series " + name + " failed: " + done.status().message());
      }
    }
  }
}

void StagingImpl::StopCommitting() {
  {
    MutexLock lock(stop_mutex_);
    stopping_ = true;
  }
  stop_signal_.NotifyAll();
  if (committer_.joinable()) committer_.join();
}

Code StagingImpl::LastErrorOf(const std::string& name) {
  MutexLock lock(tree_mutex_);
  const Series* series = FindSeries(name);
  return series ? series->last_error.code() : Code::kOk;
}

// Settles every file of the series that has unsettled bytes, open or not.
Status StagingImpl::SettleSeries(std::string_view name) {
  std::vector<FilePtr> files;
  {
    MutexLock lock(tree_mutex_);
    Series* series = FindSeries(name);
    if (!series) return {Code::kNotFound, "no such series"};
    const uint64_t generation = GenerationOf(series->record.root);
    MutexLock table(files_mutex_);
    for (const auto& [node, file] : files_) {
      if (GenerationOf(node) == generation) files.push_back(file);
    }
  }
  for (const auto& file : files) {
    MutexLock holding(file->mutex);
    if (file->changed) BKFS_TRY(Settle(*file));
  }
  return {};
}

Result<SnapshotId> StagingImpl::Commit(std::string_view series_name) {
  const std::string name(series_name);
  Status waited;
  if (!LockWatched(commit_mutex_, waited)) return waited;
  {
    MutexLock lock(tree_mutex_);
    committing_ = name;
  }
  auto id = CommitSeries(name);
  {
    MutexLock lock(tree_mutex_);
    committing_.clear();
    if (Series* series = FindSeries(name)) {
      series->last_error = id.status();
      series->retry_at = id.ok() ? 0 : repo_.clock().MonotonicNanos() + kRetryCommit;
    }
  }
  commit_mutex_.Unlock();
  committed_.NotifyAll();
  return id;
}

// Until no commit of either series is under way; none begins while tree_mutex_ is held.
Status StagingImpl::WaitForCommitOf(std::string_view name, std::string_view other) {
  constexpr int64_t kLook = 100'000'000;
  while (!committing_.empty() && (committing_ == name || committing_ == other)) {
    committed_.WaitFor(tree_mutex_, kLook);
    BKFS_TRY(TellWaiting());
  }
  return {};
}

// The order of a commit: settle files; write changed directories, bottom up; let everything reach
// the store; then the record that names the root; then the journal's word that it is done. Killed
// anywhere before the record is put, the next start finds the series changed and commits again.
Result<SnapshotId> StagingImpl::CommitSeries(const std::string& name) {
  BKFS_TRY(LookAfterLease());
  auto id = TryCommitSeries(name);
  if (!id.ok()) return id;
  BKFS_ASSIGN(bool ended, lease_->HasEnded());
  if (ended) {
    // The record may not count: everything once more, under a lease that holds.
    BKFS_TRY(LookAfterLease());
    id = TryCommitSeries(name);
    if (!id.ok()) return id;
    BKFS_ASSIGN(ended, lease_->HasEnded());
    if (ended) return Status(Code::kUnavailable, "maintenance ends this mount's lease each time");
  }
  // What was relied on is in snapshots, and what they build on is pinned by its root.
  if (IsClean()) writer_->ForgetUsed();
  return id;
}

Result<SnapshotId> StagingImpl::TryCommitSeries(const std::string& name) {
  writer_->TryAgain();
  BKFS_TRY(SettleSeries(name));
  Entry root;
  uint64_t generation = 0;
  {
    MutexLock lock(tree_mutex_);
    Series* series = FindSeries(name);
    if (!series) return Status(Code::kNotFound, "no such series");
    if (!series->record.changed) return series->record.last.snapshot;
    generation = series->change_count;
    BKFS_ASSIGN(NodePtr node, Load(series->record.root));
    Journal::Batch batch;
    auto stored = StoreDirectory(node, batch, 0);
    Status status = stored.status();
    if (status.ok()) status = writer_->Protect();
    if (!status.ok()) {
      // Nodes in memory say "clean" that the journal does not.
      nodes_.clear();
      node_order_.clear();
      return status;
    }
    BKFS_TRY(Save(batch));
    root = *std::move(stored);
    if (!series->record.last.root.empty()) {
      BKFS_ASSIGN(Entry last, DecodeEntry(series->record.last.root));
      if (SameRoot(last, root)) {
        series->record.changed = false;
        series->record.inherited = {};
        BKFS_TRY(SaveSeries(*series));
        return series->record.last.snapshot;
      }
    }
  }
  return FinishCommit(name, root, generation);
}

Result<SnapshotId> StagingImpl::FinishCommit(const std::string& name, const Entry& root,
                                             uint64_t generation) {
  // Data went out while it was written: what is new is counted from the snapshot before.
  const WriterStats before = counted_;
  SnapshotBody body;
  body.name = name;
  body.host = options_.host;
  body.user = options_.user;
  body.time_ns = repo_.clock().WallNanos();
  body.totals = root.totals;
  body.program = "bkfs " BKFS_VERSION;
  body.lease = lease_->id();
  {
    MutexLock lock(tree_mutex_);
    if (Series* series = FindSeries(name)) body.parent = series->record.last.snapshot;
  }
  BKFS_TRY(writer_->Flush());
  const WriterStats after = writer_->stats();
  body.end_ns = repo_.clock().WallNanos();
  body.added = after.bytes_stored - before.bytes_stored;
  BKFS_ASSIGN(auto snapshot, repo_.snapshots().Commit(std::move(body), root));
  counted_ = after;
  {
    MutexLock lock(tree_mutex_);
    if (Series* series = FindSeries(name)) {
      series->record.last = {snapshot->id, snapshot->body.lease, EncodeEntry(root)};
      series->record.last_snapshot_ns = snapshot->body.time_ns;
      series->record.inherited = {};
      series->record.changed = series->change_count != generation;
      if (generation > series->lost_at) series->record.lost = {};
      series->last_stored_bytes = snapshot->body.added;
      series->last_new_bytes = after.bytes_new - before.bytes_new;
      BKFS_TRY(SaveSeries(*series));
    }
  }
  repo_.log().Info("snapshot " + snapshot->id.hex() + " of series " + name + ": " +
                   std::to_string(root.totals.files) + " files, " +
                   HumanSize(snapshot->body.added) + " added");
  BKFS_TRY(journal_->Sync());
  return snapshot->id;
}

// Writes a directory that changed, and those below it, and returns its entry.
Result<Entry> StagingImpl::StoreDirectory(const NodePtr& dir, Journal::Batch& batch, int depth) {
  if (dir->clean || !dir->loaded) return dir->entry;
  if (depth > kMaxDepth) return Status(Code::kTooLarge, "directories are nested too deeply");
  std::vector<Dirent> names;
  BKFS_TRY(journal_->Scan(journal_keys::DirPrefix(dir->id), {},
                          [&](ByteView, ByteView value) -> Result<bool> {
                            BKFS_ASSIGN(Dirent dirent, DecodeDirent(value));
                            names.push_back(std::move(dirent));
                            return true;
                          }));
  std::sort(names.begin(), names.end(),
            [](const Dirent& a, const Dirent& b) { return a.name < b.name; });
  DirectoryWriter out(*writer_, repo_.key().chunker_key.view(), &journal_->trees());
  for (const auto& dirent : names) {
    BKFS_ASSIGN(Entry entry, StoredEntry(dirent, batch, depth));
    entry.name = dirent.name;
    BKFS_TRY(out.Add(entry));
  }
  BKFS_ASSIGN(DirectoryRef ref, out.Finish());
  dir->entry.directory = ref.blob;
  dir->entry.totals = ref.totals;
  dir->clean = true;
  PutNode(dir, batch);
  return dir->entry;
}

Result<Entry> StagingImpl::StoredEntry(const Dirent& dirent, Journal::Batch& batch, int depth) {
  BKFS_ASSIGN(NodePtr node, Load(dirent.node));
  if (node->is_directory()) return StoreDirectory(node, batch, depth + 1);
  return node->entry;
}

Status StagingImpl::CommitAll() {
  std::vector<std::string> names;
  {
    MutexLock lock(tree_mutex_);
    for (const auto& [name, series] : series_) {
      if (series.record.ended) continue;
      auto untouched = IsUntouched(series);
      if (!untouched.ok() || !*untouched) names.push_back(name);
    }
  }
  Status first;
  for (const auto& name : names) {
    auto done = Commit(name);
    if (!done.ok() && first.ok()) first = done.status().WithContext("series " + name);
  }
  if (first.ok()) first = writer_->Flush();
  return first;
}

Result<std::string> StagingImpl::State(NodeId id) {
  if (FilePtr file = FindFile(id)) {
    MutexLock holding(file->mutex);
    if (file->changed) return std::string("open");
  }
  std::vector<Extent> extents;
  {
    MutexLock lock(tree_mutex_);
    Series* series = SeriesOfNode(id);
    if (!series) return Status(Code::kStale, "this series is staged no more");
    BKFS_ASSIGN(NodePtr node, Load(id));
    const NodeId dir = node->is_directory() ? id : node->parent;
    if (!series->record.changed) return std::string("snapshot");
    BKFS_ASSIGN(NodePtr directory, Load(dir));
    if (directory->clean && !series->record.last.snapshot.is_zero()) {
      return std::string("snapshot");
    }
    extents = node->entry.extents;
  }
  for (const auto& extent : extents) {
    if (!extent.is_hole() && writer_->IsPending(PackKind::kContents, extent.blob)) {
      return std::string("spooled");
    }
  }
  return std::string("stored");
}

std::string StagingImpl::StoreText() {
  const StoreHealth way = repo_.store().Health();
  if (way.silent_ns >= kAway) {
    std::string text = "away for " + std::to_string(way.silent_ns / kSecond) + " s";
    if (!way.failure.ok()) text += ", tried again and again: " + way.failure.message();
    return text;
  }
  const Status health = writer_->health();
  if (!health.ok()) return health.message();
  MutexLock lock(tree_mutex_);
  for (const auto& [name, series] : series_) {
    if (!series.record.ended && !series.last_error.ok()) return series.last_error.message();
  }
  return "ok";
}

Result<std::string> StagingImpl::StatusText() {
  const WriterStats stats = writer_->stats();
  std::string out = "repository: " + repo_.store().Describe() + "\n";
  out += "store: " + StoreText() + "\n";
  out += "pending: " + HumanSize(stats.bytes_pending) + " accepted here, not in the store yet\n";
  out += "since mount: " + HumanSize(stats.bytes_new) + " new, " + HumanSize(stats.bytes_known) +
         " known already, " + HumanSize(stats.bytes_stored) + " stored\n";
  MutexLock lock(tree_mutex_);
  for (const auto& [name, series] : series_) {
    if (series.record.ended) continue;
    out += "\nseries: " + name + "\n";
    out += "  state: ";
    if (series.open_writers > 0) {
      out += std::to_string(series.open_writers) + " files open for writing\n";
    } else {
      out += series.record.changed ? "changed since the last snapshot\n" : "in a snapshot\n";
    }
    if (!series.record.last.snapshot.is_zero()) {
      out += "  last snapshot: " + series.record.last.snapshot.hex() + " " +
             FormatRfc3339(series.record.last_snapshot_ns / 1'000'000'000 * 1'000'000'000) + "\n";
      if (series.last_stored_bytes > 0) {
        out += "  sent for it: " + HumanSize(series.last_stored_bytes) + " (" +
               HumanSize(series.last_new_bytes) + " new before compression)\n";
      }
    }
    if (!series.record.lost.empty()) out += "  lost: " + series.record.lost.Text("    ") + "\n";
    if (!series.last_error.ok()) out += "  last error: " + series.last_error.message() + "\n";
  }
  return out;
}

}  // namespace bkfs

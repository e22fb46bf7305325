// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "engine/crypto/hash.h"
#include "engine/staging/staging_impl.h"
#include "engine/staging/tree_sweep.h"

namespace bkfs {

namespace {
constexpr std::string_view kNextGeneration = "next generation";
}  // namespace

Result<std::unique_ptr<Staging>> Staging::Open(Repository& repo, Options options) {
  auto staging = std::make_unique<StagingImpl>(repo, std::move(options));
  BKFS_TRY(staging->Start());
  return std::unique_ptr<Staging>(std::move(staging));
}

StagingImpl::StagingImpl(Repository& repo, Options options)
    : repo_(repo),
      options_(std::move(options)),
      name_key_(repo.LocalKey("staging names")),
      chunker_(repo.key().chunker_key.view(), repo.header().chunks) {}

StagingImpl::~StagingImpl() {
  StopCommitting();
  // The lease goes when nothing needs it: the next mount takes up what is in no snapshot.
  if (lease_ && !IsClean()) lease_->Leave();
  if (options_.readers != nullptr) options_.readers->RelyOn(nullptr);
  lease_.reset();  // its thread looks at everything below
  repo_.blobs().SetPending(nullptr);
  repo_.trees().SetLocal(nullptr);
  {
    MutexLock lock(files_mutex_);
    files_.clear();  // contents refer to the writer
  }
  writer_.reset();
}

Status StagingImpl::LockDirectory() {
  BKFS_TRY(MakeDirectories(options_.directory, 0700));
  const std::string path = options_.directory + "/lock";
  BKFS_ASSIGN(lock_file_, bkfs::OpenFile(path, O_RDWR | O_CREAT));
  if (::flock(lock_file_.get(), LOCK_EX | LOCK_NB) != 0) {
    char pid[32] = {};
    const ssize_t n = ::pread(lock_file_.get(), pid, sizeof pid - 1, 0);
    std::string holder = n > 0 ? std::string(pid, static_cast<size_t>(n)) : "another process";
    while (!holder.empty() && holder.back() == '\n') holder.pop_back();
    return {Code::kBusy, options_.directory + " is in use by a writable mount with pid " + holder +
                             "; mount with another cache_dir, or read-only"};
  }
  if (::ftruncate(lock_file_.get(), 0) != 0) return Status::FromErrno(errno, path);
  return PwriteAll(lock_file_.get(), AsBytes(std::to_string(::getpid()) + "\n"), 0, path);
}

Status StagingImpl::Start() {
  BKFS_TRY(LockDirectory());
  BKFS_ASSIGN(journal_, Journal::Open(options_.directory + "/journal", repo_.LocalKey("journal"),
                                      options_.journal_memory, repo_.log()));
  BKFS_ASSIGN(auto spool, DiskSpool::Open(options_.directory + "/spool", repo_.LocalKey("spool"),
                                          repo_.header().repo, repo_.log()));
  DiskSpool& recoverable = *spool;
  WriterOptions writing = options_.writer;
  writing.keep_trying = true;
  BKFS_ASSIGN(writer_, repo_.NewWriter(std::move(spool), writing));
  BKFS_ASSIGN(bool resumed, TakeLease());
  BKFS_TRY(recoverable.Recover(*writer_));
  repo_.blobs().SetPending(writer_.get());
  repo_.trees().SetLocal(&journal_->trees());
  {
    MutexLock lock(tree_mutex_);
    BKFS_TRY(LoadSeries());
    BKFS_TRY(DropOrphans());
    if (!resumed) {
      for (auto& [name, series] : series_) {
        if (series.record.changed) BKFS_TRY(DistrustStored(series, false));
      }
    }
  }
  // After a power cut the journal may name pieces of files that were closed and never synced.
  BKFS_TRY(Relieve(resumed ? "had not been synced before the power went" : kDeletedMeanwhile));
  {
    MutexLock lock(tree_mutex_);
    BKFS_TRY(AdoptFromRepository());
    BKFS_TRY(SweepTrees());
  }
  BKFS_TRY(StartLease());
  BKFS_TRY(ConfirmBases());
  BKFS_TRY(RememberLease(false));
  (void)TakeGone();  // nobody has seen the trees yet
  committer_ = std::thread([this] { CommitterLoop(); });
  return {};
}

NameHash StagingImpl::HashName(std::string_view name) const {
  const Hash256 full = KeyedHash(name_key_.view(), AsBytes(name));
  NameHash hash;
  std::copy_n(full.begin(), hash.size(), hash.begin());
  return hash;
}

Status StagingImpl::LoadSeries() {
  std::vector<SeriesRecord> records;
  BKFS_TRY(journal_->Scan(journal_keys::SeriesPrefix(), {},
                          [&](ByteView, ByteView value) -> Result<bool> {
                            BKFS_ASSIGN(SeriesRecord record, DecodeSeries(value));
                            records.push_back(std::move(record));
                            return true;
                          }));
  for (auto& record : records) {
    const std::string name = record.name;
    Series& series = series_[name];
    series.record = std::move(record);
    series.last_activity = repo_.clock().MonotonicNanos();
    if (series.record.ended) continue;
    generations_[GenerationOf(series.record.root)] = name;
    // What equals its snapshot need not stand in the journal node by node.
    if (!series.record.changed) BKFS_TRY(ResetSeries(series));
  }
  return {};
}

Status StagingImpl::DropTree(NodeId root, Journal::Batch& batch) {
  const NodeId first = GenerationOf(root) << kNodeBits;
  const NodeId last = first + (NodeId{1} << kNodeBits);
  batch.DeleteRange(journal_keys::NodeKey(first), journal_keys::NodeKey(last));
  batch.DeleteRange(journal_keys::DirPrefix(first), journal_keys::DirPrefix(last));
  batch.DeleteRange(journal_keys::LinkPrefix(first), journal_keys::LinkPrefix(last));
  batch.DeleteRange(journal_keys::GroupKey(GenerationOf(root), 0),
                    journal_keys::GroupKey(GenerationOf(root) + 1, 0));
  return {};
}

// Begins the series anew from its last snapshot.
Status StagingImpl::ResetSeries(Series& series) {
  Journal::Batch batch;
  BKFS_TRY(DropTree(series.record.root, batch));
  BKFS_TRY(journal_->Write(batch));
  generations_.erase(GenerationOf(series.record.root));
  if (series.record.last.root.empty()) return BeginTree(series, Entry{}, series.record.changed);
  BKFS_ASSIGN(Entry root, DecodeEntry(series.record.last.root));
  return BeginTree(series, root, false);
}

Result<uint64_t> StagingImpl::NewGeneration() {
  const Bytes key = journal_keys::MetaKey(kNextGeneration);
  BKFS_ASSIGN(auto stored, journal_->Get(key));
  const uint64_t generation =
      stored && stored->size() == 8 ? bkfs::Load<uint64_t>(stored->data()) : 1;
  Bytes next;
  AppendInt<uint64_t>(next, generation + 1);
  Journal::Batch batch;
  batch.Put(key, next);
  BKFS_TRY(journal_->Write(batch));
  return generation;
}

Result<NodeId> StagingImpl::NewNodeId(uint64_t generation) {
  auto [it, is_new] = next_node_.try_emplace(generation, 0);
  if (is_new) {
    // After a restart: go on behind the highest node there is.
    const NodeId first = generation << kNodeBits;
    NodeId highest = first;
    NodeId step = NodeId{1} << (kNodeBits - 1);
    // Binary search for the end of the numbers in use; gaps are no matter, since a scan from the
    // guess finds the next one.
    auto any_from = [&](NodeId from) -> Result<bool> {
      bool any = false;
      BKFS_TRY(journal_->Scan({{'n'}}, journal_keys::NodeKey(from),
                              [&](ByteView key, ByteView) -> Result<bool> {
                                uint64_t node = 0;
                                for (int i = 1; i <= 8; ++i) node = node << 8 | key[i];
                                any = GenerationOf(node) == generation;
                                return false;
                              }));
      return any;
    };
    for (; step > 0; step /= 2) {
      BKFS_ASSIGN(bool more, any_from(highest + step));
      if (more) highest += step;
    }
    it->second = highest + 1;
  }
  if (GenerationOf(it->second) != generation) {
    return Status(Code::kNoSpace, "a series cannot hold more than 268 million nodes");
  }
  return it->second++;
}

Status StagingImpl::BeginTree(Series& series, const Entry& root, bool changed) {
  BKFS_ASSIGN(uint64_t generation, NewGeneration());
  next_node_[generation] = (generation << kNodeBits) + 1;
  BKFS_ASSIGN(NodeId id, NewNodeId(generation));
  auto node = std::make_shared<Node>();
  node->id = id;
  node->entry = root;
  node->entry.name.clear();
  node->entry.kind = EntryKind::kDirectory;
  node->clean = !changed;
  node->loaded = root.directory.is_zero();
  series.record.root = id;
  series.record.inherited = {};
  series.record.ended = false;
  series.record.changed = changed;
  series.links_loaded = false;
  generations_[generation] = series.record.name;
  Journal::Batch batch;
  PutNode(node, batch);
  batch.Put(journal_keys::SeriesKey(HashName(series.record.name)), EncodeSeries(series.record));
  return journal_->Write(batch);
}

Status StagingImpl::SaveSeries(const Series& series) {
  Journal::Batch batch;
  batch.Put(journal_keys::SeriesKey(HashName(series.record.name)), EncodeSeries(series.record));
  return journal_->Write(batch);
}

Status StagingImpl::DropOrphans() {
  std::vector<NodeId> orphans;
  BKFS_TRY(
      journal_->Scan(journal_keys::OrphanPrefix(), {}, [&](ByteView key, ByteView) -> Result<bool> {
        NodeId node = 0;
        for (size_t i = 1; i < key.size(); ++i) node = node << 8 | key[i];
        orphans.push_back(node);
        return true;
      }));
  Journal::Batch batch;
  for (NodeId node : orphans) {
    batch.Delete(journal_keys::NodeKey(node));
    batch.Delete(journal_keys::OrphanKey(node));
  }
  if (batch.empty()) return {};
  return journal_->Write(batch);
}

// With a key that reads the log: this key's series are listed even on a machine that has lost its
// cache, and a series that another machine went on with continues from there.
Status StagingImpl::AdoptFromRepository() {
  if (!MayReadLog(repo_.key().type) || !MayReadTrees(repo_.key().type)) return {};
  BKFS_ASSIGN(SnapshotList list, repo_.snapshots().List());
  for (const auto& snapshot : list.snapshots) {
    if (snapshot->envelope.signer != repo_.key().id()) continue;
    if (series_.contains(snapshot->body.name)) continue;
    Series& series = series_[snapshot->body.name];
    series.record.name = snapshot->body.name;
  }
  for (auto& [name, series] : series_) {
    if (series.record.ended || series.record.changed) continue;
    BKFS_TRY(AdoptNewest(series, list));
  }
  return {};
}

Status StagingImpl::AdoptNewest(Series& series, const SnapshotList& list) {
  std::shared_ptr<const Snapshot> newest;
  for (const auto& snapshot : list.snapshots) {
    if (snapshot->body.name == series.record.name) newest = snapshot;
  }
  if (!newest) {
    return series.record.root == 0 ? BeginTree(series, Entry{}, true) : OkStatus();
  }
  if (newest->id == series.record.last.snapshot) return {};
  if (newest->body.time_ns < series.record.last_snapshot_ns) return {};
  auto root = repo_.snapshots().Root(*newest);
  if (!root.ok()) return root.status();
  if (series.record.root != 0) {
    Journal::Batch batch;
    BKFS_TRY(DropTree(series.record.root, batch));
    BKFS_TRY(journal_->Write(batch));
    generations_.erase(GenerationOf(series.record.root));
  }
  series.record.last = {newest->id, newest->body.lease, EncodeEntry(*root)};
  series.record.last_snapshot_ns = newest->body.time_ns;
  return BeginTree(series, *root, false);
}

Status StagingImpl::SweepTrees() {
  std::vector<Entry> roots;
  for (const auto& [name, series] : series_) {
    if (series.record.changed) return {};  // its nodes may refer to any of them
    if (series.record.last.root.empty()) continue;
    BKFS_ASSIGN(Entry root, DecodeEntry(series.record.last.root));
    roots.push_back(std::move(root));
  }
  return SweepUnreachableTrees(*journal_, roots);
}

StagingImpl::Series* StagingImpl::FindSeries(std::string_view name) {
  auto found = series_.find(name);
  if (found == series_.end() || found->second.record.ended) return nullptr;
  return &found->second;
}

StagingImpl::Series* StagingImpl::SeriesOfNode(NodeId node) {
  auto found = generations_.find(GenerationOf(node));
  return found == generations_.end() ? nullptr : FindSeries(found->second);
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/copy.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "engine/base/mutex.h"
#include "engine/crypto/secret.h"
#include "engine/repo/lease_holder.h"
#include "engine/repo/reader_lease.h"
#include "engine/transfer/copy_state.h"
#include "engine/transfer/directory_cursor.h"

namespace bkfs {

namespace {

constexpr size_t kAhead = 16;  // blobs of the source that are loaded ahead
constexpr int kMaxDepth = 8;   // of extent lists

// A directory on its way, and its place in the one above.
struct CopyDirectory {
  CopyDirectory(TreeSource& trees, Entry of, BlobWriter& blobs, ByteView chunker_key)
      : entry(std::move(of)), cursor(trees, entry.directory), out(blobs, chunker_key, nullptr) {}
  Entry entry;
  DirectoryCursor cursor;
  DirectoryWriter out;
};

class CopyRun {
 public:
  CopyRun(Repository& from, Repository& to, const CopyOptions& options, CopyObserver& observer)
      : from_(from), to_(to), options_(options), observer_(observer), from_lease_(from) {}
  Result<CopyResult> Run(const std::vector<SnapshotId>& which);

 private:
  using SnapshotPtr = std::shared_ptr<const Snapshot>;

  Status CheckRights() const;
  Status BeginTo();
  Status BeginFrom(const std::vector<SnapshotId>& which);
  Result<bool> StillCounts(const CopiedRecord& record);
  Status FindThere();
  std::optional<SnapshotId> CopyOf(const Snapshot& source) const;
  Status CopySnapshot(const Snapshot& source, CopyOutcome& outcome);
  Status CopyTree(Entry& root);
  Status CopyEntry(Entry entry);
  Status FinishDirectory(Entry& root);
  Status CopyContents(Entry& entry);
  Status CopyLists(const std::vector<ListRef>& lists, ExtentWriter& out, int depth);
  Status CopyExtents(const std::vector<Extent>& extents, ExtentWriter& out);
  Result<std::optional<BlobId>> Known(const BlobId& source);
  Result<BlobId> CopyBlob(const Extent& extent);
  Status CheckLease();
  Status CheckBases();
  Status Commit(const Snapshot& source, const Entry& root, CopyOutcome& outcome);
  Status Proceed();
  // Marks an error as one of what is stored in the source.
  Status InSource(const Status& status);
  std::string Path() const;

  Repository& from_;
  Repository& to_;
  const CopyOptions& options_;
  CopyObserver& observer_;
  std::unique_ptr<BlobWriter> writer_;
  std::unique_ptr<CopyState> state_;
  Mutex pins_mutex_;  // a leaf: the lease's thread reads them
  std::vector<BlobId> to_roots_ BKFS_GUARDED_BY(pins_mutex_);
  std::map<SnapshotId, SnapshotPtr> all_;         // of the source
  std::vector<SnapshotPtr> sources_;              // to be copied
  std::map<SnapshotId, CopiedRecord> copied_;     // by the source's id
  std::map<CopiedRecord::Tag, SnapshotId> tags_;  // trusted, and the source's id
  std::set<CopiedRecord::Tag> used_;              // those that directories were taken from
  std::map<std::tuple<std::string, std::string, int64_t>, SnapshotId> there_;
  std::vector<std::unique_ptr<CopyDirectory>> stack_;
  bool in_source_ = false;
  uint64_t stored_before_ = 0;
  CopyCounts counts_;
  ReaderLease from_lease_;
  std::unique_ptr<LeaseHolder> to_lease_;  // last: its thread uses everything above
};

Status CopyRun::CheckRights() const {
  if (from_.header().repo == to_.header().repo) {
    return {Code::kInvalid, "source and destination are the same repository"};
  }
  if (!MayReadContents(from_.key().type)) {
    return {Code::kDenied, "a " + std::string(KeyTypeName(from_.key().type)) +
                               " key cannot read contents; copy takes ReadOnly, ReadWrite or the "
                               "master key of the source"};
  }
  if (!MayWrite(to_.key().type)) {
    return {Code::kDenied, "a " + std::string(KeyTypeName(to_.key().type)) +
                               " key cannot write; copy takes WriteOnly, ReadWrite or the master "
                               "key of the destination"};
  }
  return {};
}

// Whether the destination's record still exists, as of the last look at its removals.
Result<bool> CopyRun::StillCounts(const CopiedRecord& record) {
  auto there = to_.store().Size(SnapshotName(record.copy));
  if (there.code() == Code::kNotFound) return false;
  if (!there.ok()) return there.status();
  return !to_.removals().IsRemoved(record.copy) &&
         to_.removals().CountsUnder(record.lease, record.copy);
}

// The lease, then what exists, which is pinned, then once more whether it does: a snapshot that is
// there when its root has been pinned loses nothing.
Status CopyRun::BeginTo() {
  BKFS_ASSIGN(writer_, to_.NewWriter(NewMemorySpool(), options_.writer));
  LeaseHolder::Options lease;
  lease.kind = LeaseKind::kWriter;
  lease.ttl_ns = options_.lease_ttl_ns;
  lease.host = options_.host;
  lease.program = "bkfs copy";
  BKFS_ASSIGN(to_lease_, LeaseHolder::Begin(to_, std::move(lease)));
  BKFS_ASSIGN(state_, CopyState::Open(to_, from_.header().repo));
  BKFS_ASSIGN(auto records, state_->Snapshots());
  BKFS_TRY(to_.removals().Refresh());
  for (const CopiedRecord& record : records) {
    BKFS_ASSIGN(const bool counts, StillCounts(record));
    if (!counts) continue;
    MutexLock lock(pins_mutex_);
    to_roots_.push_back(record.root);
  }
  BKFS_TRY(to_lease_->Start([this](const std::shared_ptr<const CondemnedPacks>& condemned) {
    LeasePins pins;
    pins.packs = writer_->Heed(condemned);
    pins.uncommitted = true;
    MutexLock lock(pins_mutex_);
    for (const BlobId& root : to_roots_) {
      if (!root.is_zero()) pins.roots.push_back(root);
    }
    return Result<LeasePins>(std::move(pins));
  }));
  BKFS_TRY(to_.removals().Refresh());
  for (const CopiedRecord& record : records) {
    BKFS_ASSIGN(const bool counts, StillCounts(record));
    if (!counts) continue;
    copied_[record.source] = record;
    tags_[record.tag] = record.source;
    state_->Trust(record.tag);
  }
  return FindThere();
}

// What the destination has by name, host and time. A key that cannot list has its memory alone.
Status CopyRun::FindThere() {
  if (!MayReadLog(to_.key().type)) return {};
  BKFS_ASSIGN(const SnapshotList list, to_.snapshots().List());
  for (const auto& snapshot : list.snapshots) {
    there_[{snapshot->body.name, snapshot->body.host, snapshot->body.time_ns}] = snapshot->id;
  }
  return {};
}

Status CopyRun::BeginFrom(const std::vector<SnapshotId>& which) {
  ReaderLease::Options lease;
  lease.ttl_ns = options_.lease_ttl_ns;
  lease.host = options_.host;
  lease.program = "bkfs copy";
  BKFS_TRY(from_lease_.Begin(lease));
  BKFS_ASSIGN(const SnapshotList list, from_.snapshots().List());
  for (const auto& snapshot : list.snapshots) all_[snapshot->id] = snapshot;
  for (const SnapshotId& id : which) {
    auto at = all_.find(id);
    if (at == all_.end()) {
      return {Code::kNotFound, "snapshot " + id.hex() + " is not there any more"};
    }
    const SnapshotPtr& snapshot = at->second;
    if (std::find(sources_.begin(), sources_.end(), snapshot) != sources_.end()) continue;
    sources_.push_back(snapshot);
    counts_.expected_bytes += snapshot->body.totals.bytes;
  }
  std::sort(sources_.begin(), sources_.end(), [](const auto& a, const auto& b) {
    return std::pair(a->body.time_ns, a->id) < std::pair(b->body.time_ns, b->id);
  });
  return from_lease_.Acquire(which).status();
}

Status CopyRun::Proceed() {
  observer_.Progress(counts_);
  if (observer_.Cancelled()) {
    return {Code::kInterrupted, "interrupted; snapshots copied before stay, run it again"};
  }
  return {};
}

Status CopyRun::InSource(const Status& status) {
  if (!status.ok()) in_source_ = true;
  return status;
}

std::string CopyRun::Path() const {
  std::string path;
  for (size_t i = 1; i < stack_.size(); ++i) path += "/" + stack_[i]->entry.name;
  return path;
}

// What an earlier copy made of a blob, if the destination still has that.
Result<std::optional<BlobId>> CopyRun::Known(const BlobId& source) {
  BKFS_ASSIGN(auto known, state_->FindContents(source));
  if (!known) return known;
  BKFS_ASSIGN(const bool there, writer_->Has(PackKind::kContents, *known));
  return there ? known : std::nullopt;
}

Result<BlobId> CopyRun::CopyBlob(const Extent& extent) {
  auto data = from_.blobs().Read(PackKind::kContents, extent.blob);
  if (!data.ok()) return InSource(data.status());
  if (data->bytes.size() < uint64_t{extent.offset} + extent.length) {
    return InSource({Code::kCorrupt, "blob " + extent.blob.hex() + " is too short"});
  }
  counts_.read_bytes += data->bytes.size();
  BKFS_ASSIGN(const BlobId copy, writer_->Add(PackKind::kContents, data->bytes));
  BKFS_TRY(state_->PutContents(extent.blob, copy));
  return copy;
}

Status CopyRun::CopyExtents(const std::vector<Extent>& extents, ExtentWriter& out) {
  std::vector<std::optional<BlobId>> known;
  for (size_t at = 0; at < extents.size(); ++at) {
    if (at % kAhead == 0) {
      known.clear();
      std::vector<BlobId> wanted;
      for (size_t i = at; i < std::min(at + kAhead, extents.size()); ++i) {
        std::optional<BlobId> copy;
        if (!extents[i].is_hole()) {
          BKFS_ASSIGN(copy, Known(extents[i].blob));
          if (!copy) wanted.push_back(extents[i].blob);
        }
        known.push_back(copy);
      }
      if (wanted.size() > 1) from_.blobs().Prefetch(PackKind::kContents, wanted);
    }
    Extent extent = extents[at];
    if (!extent.is_hole()) {
      const auto& copy = known[at % kAhead];
      if (copy) {
        extent.blob = *copy;
      } else {
        BKFS_TRY(Proceed());
        BKFS_ASSIGN(extent.blob, CopyBlob(extents[at]));
      }
    }
    counts_.bytes += extent.length;
    BKFS_TRY(out.Add(extent));
  }
  return {};
}

Status CopyRun::CopyLists(const std::vector<ListRef>& lists, ExtentWriter& out, int depth) {
  if (depth > kMaxDepth) {
    return InSource({Code::kCorrupt, "a file's extent lists are nested too deeply"});
  }
  for (const ListRef& ref : lists) {
    auto list = from_.trees().LoadList(ref.blob);
    if (!list.ok()) return InSource(list.status());
    const uint64_t before = out.bytes();
    BKFS_TRY((*list)->level == 0 ? CopyExtents((*list)->extents, out)
                                 : CopyLists((*list)->lists, out, depth + 1));
    if (out.bytes() - before != ref.bytes) {
      return InSource({Code::kCorrupt, "a file's extent lists do not cover it"});
    }
  }
  return {};
}

Status CopyRun::CopyContents(Entry& entry) {
  ExtentWriter out(*writer_, nullptr);
  BKFS_TRY(entry.lists.empty() ? CopyExtents(entry.extents, out) : CopyLists(entry.lists, out, 0));
  if (out.bytes() != entry.size) {
    return InSource({Code::kCorrupt, "the pieces of a file do not add up to its size"});
  }
  return out.Finish(entry);
}

// Puts an entry into the directory on top of the stack, or a directory that is to be gone through
// onto it.
Status CopyRun::CopyEntry(Entry entry) {
  if (entry.is_directory() && !entry.directory.is_zero()) {
    BKFS_ASSIGN(const auto known, state_->FindDirectory(entry.directory));
    if (!known) {
      stack_.push_back(std::make_unique<CopyDirectory>(from_.trees(), std::move(entry), *writer_,
                                                       to_.key().chunker_key.view()));
      return {};
    }
    used_.insert(known->tag);
    entry.directory = known->ref.blob;
    entry.totals = known->ref.totals;
    counts_.files += entry.totals.files;
    counts_.bytes += entry.totals.bytes;
  } else if (!entry.is_directory()) {
    ++counts_.files;
    if (entry.kind == EntryKind::kFile) {
      Status copied = CopyContents(entry);
      if (!copied.ok()) return copied.WithContext(Path() + "/" + entry.name);
    }
  }
  return stack_.back()->out.Add(entry);
}

// The directory on top is complete: it goes into the one below it, or is the root.
Status CopyRun::FinishDirectory(Entry& root) {
  BKFS_TRY(Proceed());
  const auto done = std::move(stack_.back());
  stack_.pop_back();
  BKFS_ASSIGN(const DirectoryRef ref, done->out.Finish());
  if (!done->entry.directory.is_zero()) {
    BKFS_TRY(state_->PutDirectory(done->entry.directory, ref));
  }
  done->entry.directory = ref.blob;
  done->entry.totals = ref.totals;
  if (!stack_.empty()) return stack_.back()->out.Add(done->entry);
  root = std::move(done->entry);
  return {};
}

// Depth first, in name order; memory is one piece of each directory on the way.
Status CopyRun::CopyTree(Entry& root) {
  stack_.clear();
  if (!root.is_directory()) return root.kind == EntryKind::kFile ? CopyContents(root) : OkStatus();
  BKFS_ASSIGN(const auto known, state_->FindDirectory(root.directory));
  if (known) {
    used_.insert(known->tag);
    root.directory = known->ref.blob;
    root.totals = known->ref.totals;
    counts_.files += root.totals.files;
    counts_.bytes += root.totals.bytes;
    return {};
  }
  stack_.push_back(
      std::make_unique<CopyDirectory>(from_.trees(), root, *writer_, to_.key().chunker_key.view()));
  while (!stack_.empty()) {
    auto more = stack_.back()->cursor.Next();
    if (!more.ok()) return InSource(more.status()).WithContext(Path() + "/");
    if (*more) {
      BKFS_TRY(CopyEntry(stack_.back()->cursor.entry()));
    } else {
      BKFS_TRY(FinishDirectory(root));
    }
  }
  return {};
}

Status CopyRun::CheckLease() {
  BKFS_ASSIGN(const bool ended, to_lease_->HasEnded());
  if (!ended) return {};
  return {Code::kUnavailable,
          "the destination's maintenance had given up waiting for this machine (was it asleep?), "
          "and may have deleted what this copy relied on: no snapshot was made, run it again"};
}

// Directories that were taken over as a whole lie in snapshots that must exist until this one does.
Status CopyRun::CheckBases() {
  BKFS_TRY(to_.removals().Refresh());
  for (const auto& tag : used_) {
    auto at = tags_.find(tag);
    if (at == tags_.end()) continue;  // copied by this run
    BKFS_ASSIGN(const bool counts, StillCounts(copied_.at(at->second)));
    if (counts) continue;
    return {Code::kUnavailable,
            "a snapshot of the destination that this one builds on was forgotten meanwhile: run it "
            "again"};
  }
  return {};
}

std::optional<SnapshotId> CopyRun::CopyOf(const Snapshot& source) const {
  if (auto at = copied_.find(source.id); at != copied_.end()) return at->second.copy;
  const SnapshotBody& body = source.body;
  if (auto at = there_.find({body.name, body.host, body.time_ns}); at != there_.end()) {
    return at->second;
  }
  return std::nullopt;
}

Status CopyRun::Commit(const Snapshot& source, const Entry& root, CopyOutcome& outcome) {
  SnapshotBody body = source.body;
  body.totals = root.totals;
  const uint64_t stored = writer_->stats().bytes_stored;
  body.added = stored - stored_before_;
  stored_before_ = stored;
  body.parent = SnapshotId();
  if (auto parent = all_.find(source.body.parent); parent != all_.end()) {
    body.parent = CopyOf(*parent->second).value_or(SnapshotId());
  }
  body.lease = to_lease_->id();
  body.sealed_root.clear();
  CopiedRecord record;
  record.source = source.id;
  record.root = root.directory;
  record.lease = body.lease;
  BKFS_TRY(CheckLease());
  BKFS_TRY(CheckBases());
  BKFS_ASSIGN(const auto snapshot, to_.snapshots().Commit(std::move(body), root));
  BKFS_TRY(CheckLease());  // else the record does not count
  record.copy = outcome.copy = snapshot->id;
  outcome.made = true;
  record.tag = state_->current();
  {
    MutexLock lock(pins_mutex_);
    to_roots_.push_back(record.root);
  }
  copied_[source.id] = record;
  tags_[record.tag] = source.id;
  there_[{source.body.name, source.body.host, source.body.time_ns}] = record.copy;
  return state_->PutSnapshot(record);
}

Status CopyRun::CopySnapshot(const Snapshot& source, CopyOutcome& outcome) {
  in_source_ = false;
  if (auto there = CopyOf(source)) {
    outcome.copy = *there;
    counts_.files += source.body.totals.files;
    counts_.bytes += source.body.totals.bytes;
    return {};
  }
  CopiedRecord::Tag tag;
  RandomBytes(tag);
  state_->Use(tag);
  used_.clear();
  auto root = from_.snapshots().Root(source);
  if (!root.ok()) return InSource(root.status());
  BKFS_TRY(CopyTree(*root));
  BKFS_TRY(writer_->Flush());
  BKFS_TRY(state_->Flush());
  BKFS_TRY(Proceed());
  return Commit(source, *root, outcome);
}

Result<CopyResult> CopyRun::Run(const std::vector<SnapshotId>& which) {
  BKFS_TRY(CheckRights());
  BKFS_TRY(BeginFrom(which));
  BKFS_TRY(BeginTo());
  CopyResult result;
  for (const auto& source : sources_) {
    CopyOutcome outcome;
    outcome.source = source->id;
    Status copied = CopySnapshot(*source, outcome);
    if (!copied.ok()) {
      // Damage in one snapshot keeps no other from being copied.
      if (!in_source_ || !copied.Is(Code::kCorrupt)) return copied;
      outcome.why = copied;
      ++counts_.failures;
    } else {
      ++counts_.snapshots;
    }
    observer_.Done(*source, outcome);
    result.snapshots.push_back(std::move(outcome));
  }
  observer_.Progress(counts_);
  result.counts = counts_;
  result.writer = writer_->stats();
  return result;
}

}  // namespace

Result<CopyResult> RunCopy(Repository& from, Repository& to, const std::vector<SnapshotId>& which,
                           const CopyOptions& options, CopyObserver& observer) {
  return CopyRun(from, to, options, observer).Run(which);
}

}  // namespace bkfs

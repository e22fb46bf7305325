// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "engine/base/fd.h"
#include "engine/base/mutex.h"
#include "engine/repo/lease_holder.h"
#include "engine/staging/content.h"
#include "engine/staging/disk_spool.h"
#include "engine/staging/journal.h"
#include "engine/staging/node.h"
#include "engine/staging/staging.h"

namespace bkfs {

// Why files are gone, for people.
constexpr std::string_view kDeletedMeanwhile =
    "referred to data that maintenance deletes, having given up waiting for this machine,";

Status Absent();  // kNotFound
// kNameTooLong, kInvalid.
Status CheckNewName(std::string_view name);

// Staging over journal, spool and writer. Split by concern: staging_open.cc (begin, recover,
// series), staging_names.cc, staging_rename.cc, staging_attrs.cc, staging_files.cc,
// staging_commit.cc, staging_lease.cc, staging_relief.cc.
//
// Lock order: commit_mutex_, an OpenFile's, tree_mutex_, files_mutex_. commit_mutex_ is held over a
// whole commit, store calls included. An OpenFile's is held while its contents are cut, which may
// wait for the writer. tree_mutex_ is held over journal reads and writes and while a commit reads
// the tree (not while it stores). Over the store's answer it is held only where the lease has
// ended, and where a file with several names changes whose others lie in directories not looked
// into yet.
class StagingImpl final : public Staging {
 public:
  StagingImpl(Repository& repo, Options options);
  ~StagingImpl() override;
  Status Start();

  Result<std::vector<SeriesInfo>> ListSeries() override;
  Result<NodeAttr> LookupSeries(std::string_view name) override;
  Result<NodeAttr> CreateSeries(std::string_view name, const NewNode& how) override;
  Status EndSeries(std::string_view name) override;
  Status RenameSeries(std::string_view name, std::string_view new_name) override;
  Result<std::string> SeriesOf(NodeId node) override;

  Result<NodeAttr> Lookup(NodeId parent, std::string_view name) override;
  Result<NodeAttr> Create(NodeId parent, std::string_view name, const NewNode& how) override;
  Result<NodeAttr> Link(NodeId node, NodeId parent, std::string_view name) override;
  Status Unlink(NodeId parent, std::string_view name) override;
  Status Rmdir(NodeId parent, std::string_view name) override;
  Status Rename(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name,
                unsigned flags) override;
  Status ReadDir(NodeId dir, uint64_t from, const DirVisitor& visit) override;
  Result<NodeId> Parent(NodeId dir) override;

  Result<NodeAttr> GetAttr(NodeId node) override;
  Result<NodeAttr> SetAttr(NodeId node, const AttrChange& change) override;
  Result<std::string> ReadLink(NodeId node) override;
  Result<std::string> GetXattr(NodeId node, std::string_view name) override;
  Result<std::vector<std::string>> ListXattrs(NodeId node) override;
  Status SetXattr(NodeId node, std::string_view name, std::string_view value,
                  XattrMode mode) override;
  Status RemoveXattr(NodeId node, std::string_view name) override;

  Status OpenFile(NodeId node, bool for_writing, bool truncate) override;
  void CloseFile(NodeId node, bool for_writing) override;
  Result<size_t> Read(NodeId node, uint64_t offset, MutableByteView out) override;
  Status Write(NodeId node, uint64_t offset, ByteView data) override;
  Result<uint64_t> Append(NodeId node, ByteView data) override;
  Status Allocate(NodeId node, int mode, uint64_t offset, uint64_t length) override;
  Result<uint64_t> SeekData(NodeId node, uint64_t offset) override;
  Result<uint64_t> SeekHole(NodeId node, uint64_t offset) override;
  Status Flush(NodeId node) override;
  Status Fsync(NodeId node) override;

  Result<SnapshotId> Commit(std::string_view series) override;
  Status CommitAll() override;
  void StopCommitting() override;
  Status RenewLease() override { return lease_->Renew(); }
  Result<std::string> State(NodeId node) override;
  Result<std::string> StatusText() override;
  uint64_t PendingBytes() override;
  std::vector<GoneName> TakeGone() override;

 private:
  // A file with handles, or with contents that the journal does not have yet.
  struct OpenFileState {
    explicit OpenFileState(NodeId node) : id(node) {}
    const NodeId id;
    Mutex mutex;
    uint32_t readers = 0;  // under files_mutex_, as is writers
    uint32_t writers = 0;
    std::unique_ptr<Content> content BKFS_GUARDED_BY(mutex);
    bool changed BKFS_GUARDED_BY(mutex) = false;            // content differs from the journal
    std::optional<Timestamp> mtime BKFS_GUARDED_BY(mutex);  // by writing, newer than the journal's
    Status lost BKFS_GUARDED_BY(mutex);  // unless OK, every use of the handles fails with it
  };
  using FilePtr = std::shared_ptr<OpenFileState>;  // shared by the table and operations under way

  struct Series {
    SeriesRecord record;
    uint64_t change_count = 0;  // grows with every change
    uint64_t lost_at = 0;       // change_count when record.lost grew last
    uint64_t open_writers = 0;
    int64_t last_activity = 0;  // monotonic
    int64_t retry_at = 0;       // after a failed commit
    bool links_loaded = false;
    Status last_error;
    uint64_t last_new_bytes = 0;  // of the last commit
    uint64_t last_stored_bytes = 0;
  };

  // -- staging_open.cc --
  Status LockDirectory();
  Status LoadSeries() BKFS_REQUIRES(tree_mutex_);
  Status ResetSeries(Series& series) BKFS_REQUIRES(tree_mutex_);
  Status DropTree(NodeId root, Journal::Batch& batch);
  Status AdoptFromRepository() BKFS_REQUIRES(tree_mutex_);
  Status AdoptNewest(Series& series, const SnapshotList& list) BKFS_REQUIRES(tree_mutex_);
  Status DropOrphans() BKFS_REQUIRES(tree_mutex_);
  Status SweepTrees() BKFS_REQUIRES(tree_mutex_);
  Status BeginTree(Series& series, const Entry& root, bool changed) BKFS_REQUIRES(tree_mutex_);
  Result<uint64_t> NewGeneration() BKFS_REQUIRES(tree_mutex_);
  Result<NodeId> NewNodeId(uint64_t generation) BKFS_REQUIRES(tree_mutex_);
  Series* FindSeries(std::string_view name) BKFS_REQUIRES(tree_mutex_);
  Series* SeriesOfNode(NodeId node) BKFS_REQUIRES(tree_mutex_);
  Status SaveSeries(const Series& series) BKFS_REQUIRES(tree_mutex_);
  void ForgetGeneration(uint64_t generation) BKFS_REQUIRES(tree_mutex_);
  // Empty, and never in a snapshot: a folder that somebody has just made.
  Result<bool> IsUntouched(const Series& series) BKFS_REQUIRES(tree_mutex_);
  NameHash HashName(std::string_view name) const;

  Status AdoptSeries(std::string_view name, const NewNode& how,
                     const std::optional<SnapshotList>& list) BKFS_EXCLUDES(tree_mutex_);

  // -- staging_lease.cc --
  Result<bool> TakeLease();
  Status ResumeLease(const LeaseHolder::Options& options);
  Status RememberLease(bool doubtful);
  Status StartLease();
  Result<LeasePins> Heed(const std::shared_ptr<const CondemnedPacks>& condemned)
      BKFS_EXCLUDES(tree_mutex_);
  Result<bool> BaseCounts(const TreeBase& base);
  Status ConfirmBases(std::string_view only = {}) BKFS_EXCLUDES(tree_mutex_);
  Result<bool> DistrustBase(const std::string& name, const TreeBase& base)
      BKFS_EXCLUDES(tree_mutex_);
  Status DistrustStored(Series& series, bool whole) BKFS_REQUIRES(tree_mutex_);
  Status ImportWhole(Series& series) BKFS_REQUIRES(tree_mutex_);
  // Makes sure that the lease holds and everything that the trees refer to is there.
  Status LookAfterLease() BKFS_REQUIRES(commit_mutex_);
  // Nothing is in /incoming that is in no snapshot.
  bool IsClean() BKFS_EXCLUDES(tree_mutex_);

  // -- staging_relief.cc --
  struct AbsentBlob {
    PackKind kind = PackKind::kContents;
    BlobId id;
  };
  using NodeVisitor = std::function<Result<bool>(Node node)>;  // false: no more
  using BlobVisitor = std::function<Result<bool>(PackKind kind, const BlobId& id)>;
  Status Relieve(std::string_view why) BKFS_EXCLUDES(tree_mutex_);
  Status StoreAgain() BKFS_EXCLUDES(tree_mutex_);
  Status RelieveOpenFiles(bool& stored) BKFS_EXCLUDES(tree_mutex_, files_mutex_);
  Status SettleUnlessLost(OpenFileState& file) BKFS_REQUIRES(file.mutex);
  Status StoreBlobAgain(PackKind kind, const BlobId& id) BKFS_EXCLUDES(tree_mutex_);
  Result<bool> NoteAbsent(const AbsentBlob& blob, std::vector<AbsentBlob>& absent);
  Result<bool> FindAbsent(const Series& series, NodeId& next, std::vector<AbsentBlob>& absent)
      BKFS_REQUIRES(tree_mutex_);
  // Nodes of the series' tree that the journal has, in order, from `from` on.
  Status ForEachNode(const Series& series, NodeId from, const NodeVisitor& visit)
      BKFS_REQUIRES(tree_mutex_);
  Result<bool> VisitContents(const Entry& entry, const BlobVisitor& visit);
  Result<bool> VisitLists(const std::vector<ListRef>& lists, const BlobVisitor& visit, int depth);
  Result<bool> VisitPieces(const std::vector<Extent>& extents, const BlobVisitor& visit);
  Result<bool> HasContents(const Entry& entry);
  Status DropUnstored(std::string_view why) BKFS_REQUIRES(tree_mutex_);
  Status DropFiles(Series& series, const std::vector<NodeId>& files, std::string_view why)
      BKFS_REQUIRES(tree_mutex_);
  Status DropNames(const Node& node, Journal::Batch& batch) BKFS_REQUIRES(tree_mutex_);
  Result<std::string> PathOf(const Node& node) BKFS_REQUIRES(tree_mutex_);

  // -- staging_names.cc --
  Result<NodePtr> Load(NodeId node) BKFS_REQUIRES(tree_mutex_);
  Result<NodePtr> LoadDirectoryNode(NodeId node) BKFS_REQUIRES(tree_mutex_);
  Status Fetch(NodeId dir) BKFS_EXCLUDES(tree_mutex_);
  Status Import(const NodePtr& dir) BKFS_REQUIRES(tree_mutex_);
  Status ImportEntry(const NodePtr& dir, Entry entry, Journal::Batch& batch)
      BKFS_REQUIRES(tree_mutex_);
  Status LoadLinked(NodeId dir) BKFS_REQUIRES(tree_mutex_);
  Status PrepareLinkChange(const Node& node) BKFS_REQUIRES(tree_mutex_);
  Result<std::optional<Dirent>> FindDirent(NodeId dir, std::string_view name)
      BKFS_REQUIRES(tree_mutex_);
  void PutNode(const NodePtr& node, Journal::Batch& batch) BKFS_REQUIRES(tree_mutex_);
  void PutDirent(NodeId dir, std::string_view name, const Node& node, Journal::Batch& batch)
      BKFS_REQUIRES(tree_mutex_);
  // Marks a directory and those above it as no longer what was stored.
  Status MarkDirty(NodeId dir, Journal::Batch& batch) BKFS_REQUIRES(tree_mutex_);
  // The same for every directory that names the node.
  Status MarkParentsDirty(const Node& node, Journal::Batch& batch) BKFS_REQUIRES(tree_mutex_);
  Status TouchDirectory(const NodePtr& dir, Journal::Batch& batch) BKFS_REQUIRES(tree_mutex_);
  Status DropName(const NodePtr& parent, const Dirent& dirent, Journal::Batch& batch)
      BKFS_REQUIRES(tree_mutex_);
  Status MoveName(const NodePtr& node, NodeId from, std::string_view name, NodeId to,
                  std::string_view new_name, Journal::Batch& batch) BKFS_REQUIRES(tree_mutex_);
  struct Renaming {
    NodePtr from;  // directories
    NodePtr to;
    Dirent source;
    std::optional<Dirent> target;
  };
  Result<Renaming> FindRenaming(NodeId parent, std::string_view name, NodeId new_parent,
                                std::string_view new_name, unsigned flags)
      BKFS_REQUIRES(tree_mutex_);
  Status CheckNotBelow(NodeId directory, const Dirent& moved) BKFS_REQUIRES(tree_mutex_);
  Status CheckReplace(const Dirent& moved, const Dirent& target) BKFS_REQUIRES(tree_mutex_);
  Result<bool> IsBelow(NodeId dir, NodeId ancestor) BKFS_REQUIRES(tree_mutex_);
  Result<bool> IsEmpty(NodeId dir) BKFS_REQUIRES(tree_mutex_);
  Status Save(Journal::Batch& batch) BKFS_REQUIRES(tree_mutex_);
  void Forget(NodeId node) BKFS_REQUIRES(tree_mutex_);

  // -- staging_attrs.cc --
  NodeAttr Attr(const Node& node) const;
  Result<NodeAttr> AttrOf(NodeId node, const FilePtr& file);
  Timestamp Now() const;
  template <typename Change>
  Status ChangeNode(NodeId node, const Change& change) BKFS_EXCLUDES(tree_mutex_);

  // -- staging_files.cc --
  FilePtr FindFile(NodeId node) BKFS_EXCLUDES(files_mutex_);
  FilePtr GetFile(NodeId node) BKFS_EXCLUDES(files_mutex_);
  void DropFileIfIdle(const FilePtr& file) BKFS_EXCLUDES(files_mutex_);
  Status LoadContent(OpenFileState& file) BKFS_REQUIRES(file.mutex);
  Status Settle(OpenFileState& file) BKFS_REQUIRES(file.mutex);
  void MarkWritten(OpenFileState& file) BKFS_REQUIRES(file.mutex);
  template <typename Operation>
  Status WithContent(NodeId node, const Operation& operation);
  Status Truncate(NodeId node, uint64_t size);

  // -- staging_commit.cc --
  void CommitterLoop();
  bool IsStopping() BKFS_EXCLUDES(stop_mutex_);
  Status WaitForCommitOf(std::string_view name, std::string_view other = {})
      BKFS_REQUIRES(tree_mutex_);
  Code LastErrorOf(const std::string& name) BKFS_EXCLUDES(tree_mutex_);
  std::string StoreText() BKFS_EXCLUDES(tree_mutex_);
  Status SettleSeries(std::string_view series);
  Result<SnapshotId> CommitSeries(const std::string& name) BKFS_REQUIRES(commit_mutex_);
  Result<SnapshotId> TryCommitSeries(const std::string& name) BKFS_REQUIRES(commit_mutex_);
  Result<Entry> StoreDirectory(const NodePtr& dir, Journal::Batch& batch, int depth)
      BKFS_REQUIRES(tree_mutex_);
  Result<Entry> StoredEntry(const Dirent& dirent, Journal::Batch& batch, int depth)
      BKFS_REQUIRES(tree_mutex_);
  Result<SnapshotId> FinishCommit(const std::string& name, const Entry& root, uint64_t generation)
      BKFS_REQUIRES(commit_mutex_);

  Repository& repo_;
  const Options options_;
  const Secret name_key_;
  const Chunker chunker_;
  UniqueFd lock_file_;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<BlobWriter> writer_;
  std::unique_ptr<LeaseHolder> lease_;
  LeaseState held_;  // pins of the lease that was resumed; set before any thread is

  Mutex commit_mutex_;
  // The lease before was ended by maintenance, and what the trees refer to has not been looked at
  // to the end. In the journal too.
  bool lease_doubtful_ BKFS_GUARDED_BY(commit_mutex_) = false;
  WriterStats counted_ BKFS_GUARDED_BY(commit_mutex_);  // as of the last snapshot
  Mutex tree_mutex_;
  std::string committing_ BKFS_GUARDED_BY(tree_mutex_);  // the series; empty: none
  CondVar committed_;
  std::map<std::string, Series, std::less<>> series_ BKFS_GUARDED_BY(tree_mutex_);
  std::map<uint64_t, std::string> generations_ BKFS_GUARDED_BY(tree_mutex_);  // -> series name
  std::map<uint64_t, NodeId> next_node_ BKFS_GUARDED_BY(tree_mutex_);         // per generation
  std::vector<GoneName> gone_ BKFS_GUARDED_BY(tree_mutex_);                   // since TakeGone
  // Recently used nodes, most recent first.
  std::list<NodePtr> node_order_ BKFS_GUARDED_BY(tree_mutex_);
  std::unordered_map<NodeId, std::list<NodePtr>::iterator> nodes_ BKFS_GUARDED_BY(tree_mutex_);
  Mutex files_mutex_;
  std::unordered_map<NodeId, FilePtr> files_ BKFS_GUARDED_BY(files_mutex_);

  Mutex stop_mutex_;
  CondVar stop_signal_;
  bool stopping_ BKFS_GUARDED_BY(stop_mutex_) = false;
  std::thread committer_;
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/backup.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>

#include "engine/base/fd.h"
#include "engine/crypto/hash.h"
#include "engine/repo/lease_holder.h"
#include "engine/transfer/backup_items.h"
#include "engine/transfer/backup_meter.h"
#include "engine/transfer/backup_reader.h"
#include "engine/transfer/file_contents.h"
#include "engine/transfer/local_state.h"

namespace bkfs {

namespace {

constexpr size_t kWindow = 1024;  // entries that wait for their contents or their place
constexpr size_t kQueue = 64;     // of them, files that wait for a thread

// One thread walks the source, depth first in name order; files that must be read go to a pool.
// Entries wait in their directory until they are settled, and go into its blobs in order; the walk
// is ahead of that by a window, so that small directories do not stop the readers.
class BackupRun {
 public:
  BackupRun(Repository& repo, const BackupOptions& options, BackupObserver& observer)
      : repo_(repo),
        options_(options),
        chunker_(repo.key().chunker_key.view(), repo.header().chunks),
        meter_(observer, repo.clock()) {}
  Result<BackupResult> Run();

 private:
  Status Start(const SourcePlan& plan);
  Status OpenRoot(const SourcePlan& plan);
  Status Walk();
  Status Examine(const DirPtr& dir, const std::string& name);
  void ExamineDirectory(const DirPtr& dir, const ItemPtr& item, const SourceNode* way);
  SharedFd OpenDirectory(BackupDirectory& below, int dir, const std::string& name, bool enter);
  bool ReadDirectory(BackupItem& item, int fd);
  void FillDirectory(BackupDirectory& dir);
  Status ExamineFile(BackupDirectory& dir, const ItemPtr& item);
  Result<bool> TakeUnchanged(BackupDirectory& dir, BackupItem& item);
  std::optional<Entry> Previous(BackupDirectory& dir, const std::string& name);
  Status Advance(BackupDirectory& start);
  Status Resolve(BackupItem& item);
  Result<bool> SettleOldest();
  bool IsSettled(const BackupItem& item) BKFS_EXCLUDES(mutex_);
  bool IsDone(const BackupItem& item) BKFS_REQUIRES(mutex_) {
    return item.done && (!item.first || item.first->done);
  }
  DirPtr NewDirectory() {
    return std::make_shared<BackupDirectory>(*writer_, repo_.key().chunker_key.view(),
                                             previous_->trees());
  }
  uint64_t LinkGroup(const FileIdentity& identity);
  Status BeginLease();
  Status CheckLease();
  Result<SnapshotId> Commit(const SourcePlan& plan, const Entry& root, int64_t start,
                            const WriterStats& written);

  Repository& repo_;
  const BackupOptions& options_;
  const Chunker chunker_;
  BackupMeter meter_;
  AccountNames accounts_;
  std::unique_ptr<PreviousState> previous_;
  std::unique_ptr<BlobWriter> writer_;
  std::unique_ptr<LeaseHolder> lease_;  // its thread uses the writer
  std::unique_ptr<ContentsStorer> contents_;
  std::unique_ptr<BackupReader> reader_;

  // Of the walking thread.
  std::set<FileIdentity> never_;
  std::map<dev_t, uint64_t> devices_;  // numbered as they are met: st_dev may change with a reboot
  struct Linked {
    ItemPtr first;
    uint64_t more = 0;  // names it has that were not seen yet
  };
  std::map<FileIdentity, Linked> linked_;
  Entry root_entry_;
  DirPtr root_;
  std::vector<DirPtr> stack_;  // the directory being walked, and those above it
  size_t waiting_ = 0;         // items in all directories

  Mutex mutex_;  // guards `done` of the items; a leaf
  CondVar done_;
  std::unique_ptr<ThreadPool> pool_;  // last: its threads use everything above
};

// A file that has several names keeps its group from one snapshot to the next.
uint64_t BackupRun::LinkGroup(const FileIdentity& identity) {
  Bytes what;
  AppendInt<uint64_t>(what, devices_.try_emplace(identity.device, devices_.size()).first->second);
  AppendInt<uint64_t>(what, identity.inode);
  const Hash256 hash = KeyedHash(repo_.key().chunker_key.view(), what);
  return Load<uint64_t>(hash.data()) | 1;
}

// The entry of that name in the last snapshot.
std::optional<Entry> BackupRun::Previous(BackupDirectory& dir, const std::string& name) {
  if (dir.previous.is_zero()) return std::nullopt;
  auto before = repo_.trees().Lookup(dir.previous, name);
  if (before.ok()) return std::move(before).value();
  if (before.code() != Code::kNotFound) {
    repo_.log().Warning("the last snapshot's state of " + dir.path +
                        " is not used: " + before.status().message());
    dir.previous = BlobId();
  }
  return std::nullopt;
}

// Takes contents and attributes of the previous state when nothing about the file has changed.
// Whether the many pieces of a large one are all still stored, a reading thread looks up.
Result<bool> BackupRun::TakeUnchanged(BackupDirectory& dir, BackupItem& item) {
  auto before = Previous(dir, item.entry.name);
  if (!before || !LooksUnchanged(*before, item.entry)) return false;
  if (before->lists.empty()) return reader_->TakeStored(item, *before);
  item.before = std::move(before);
  return false;
}

Status BackupRun::ExamineFile(BackupDirectory& dir, const ItemPtr& item) {
  const bool regular = item->entry.kind == EntryKind::kFile;
  meter_.Count([&](BackupCounts& counts) {
    ++counts.files;
    if (regular) counts.bytes += item->entry.size;
  });
  if (item->entry.nlink > 1) {
    item->entry.link_group = LinkGroup(item->identity);
    auto [it, is_new] = linked_.try_emplace(item->identity, Linked{item, item->entry.nlink});
    if (!is_new) item->first = it->second.first;
    if (--it->second.more == 0) linked_.erase(it);  // all its names have been seen
  }
  dir.waiting.push_back(item);
  ++waiting_;
  item->dir = dir.fd;
  if (item->first) return {};
  BKFS_ASSIGN(bool taken, TakeUnchanged(dir, *item));
  if (!taken && regular) {
    item->done = false;
    pool_->Submit([this, item] {
      meter_.Stop(reader_->Complete(*item));
      item->dir.reset();
      MutexLock lock(mutex_);
      item->done = true;
      done_.NotifyAll();
    });
    return {};
  }
  if (!taken) BKFS_TRY(reader_->Complete(*item));
  item->dir.reset();
  return {};
}

void BackupRun::FillDirectory(BackupDirectory& dir) {
  if (dir.way) {
    for (const auto& [name, node] : dir.way->children) dir.names.Add(name);
  } else {
    Status listed = dir.names.AddAll(dir.fd->get());
    if (!listed.ok()) meter_.Failed(dir.path, listed);
  }
  dir.names.Sort();
}

// Opens a directory to list it, or, where it is not to be entered or cannot be, to look at it: it
// is in the snapshot all the same, empty. Null: it is gone.
SharedFd BackupRun::OpenDirectory(BackupDirectory& below, int dir, const std::string& name,
                                  bool enter) {
  auto fd = std::make_shared<UniqueFd>();
  if (enter && !below.way) {
    *fd = OpenSource(dir, name, O_DIRECTORY);
    const int error = errno;
    if (fd->valid()) {
      below.fd = fd;
      return fd;
    }
    if (error == ENOENT) return nullptr;
    meter_.Failed(below.path, Status::FromErrno(error, "open"));
    if (error == ENOTDIR || error == ELOOP) return nullptr;  // it was replaced
  }
  auto look = OpenForAttributes(dir, name);
  if (!look.ok()) return nullptr;
  *fd = std::move(*look);
  if (below.way) below.fd = fd;  // names below it are known without listing it
  return fd;
}

// The directory as it is now that it is open. False: it is not to be in the snapshot.
bool BackupRun::ReadDirectory(BackupItem& item, int fd) {
  auto file = ReadLocal(fd, accounts_);
  Status usable = file.ok() ? CheckAttributes(file->entry) : file.status();
  if (usable.ok() && !file->entry.is_directory()) {
    usable = Status(Code::kIo, "it was replaced while being backed up");
  }
  if (!usable.ok()) {
    meter_.Failed(item.path, usable);
    return false;
  }
  file->entry.name = std::move(item.entry.name);
  item.entry = std::move(file->entry);
  return true;
}

void BackupRun::ExamineDirectory(const DirPtr& dir, const ItemPtr& item, const SourceNode* way) {
  meter_.Count([](BackupCounts& counts) { ++counts.directories; });
  const bool enter = way || !options_.one_file_system || item->identity.device == dir->device;
  DirPtr below = NewDirectory();
  below->parent = dir.get();
  below->path = item->path;
  below->relative =
      dir->relative.empty() ? item->entry.name : dir->relative + "/" + item->entry.name;
  below->device = way ? item->identity.device : dir->device;
  below->way = way && !way->is_source ? way : nullptr;
  const SharedFd fd = OpenDirectory(*below, dir->fd->get(), item->entry.name, enter);
  if (!fd || !ReadDirectory(*item, fd->get())) return;
  auto before = Previous(*dir, item->entry.name);
  if (before && before->is_directory()) below->previous = before->directory;
  devices_.try_emplace(item->identity.device, devices_.size());
  if (below->fd) FillDirectory(*below);
  item->below = below;
  dir->waiting.push_back(item);
  ++waiting_;
  stack_.push_back(std::move(below));
}

// One name of a directory.
Status BackupRun::Examine(const DirPtr& dir, const std::string& name) {
  auto item = std::make_shared<BackupItem>();
  item->path = dir->path == "/" ? "/" + name : dir->path + "/" + name;
  auto file = StatLocal(dir->fd->get(), name, accounts_);
  if (file.code() == Code::kNotFound && !dir->way) return {};  // gone since the listing
  if (!file.ok()) {
    meter_.Failed(item->path, file.status());
    return {};
  }
  item->entry = std::move(file->entry);
  item->entry.name = name;
  item->identity = file->identity;
  if (never_.contains(item->identity)) return {};
  const SourceNode* way = dir->way ? &dir->way->children.at(name) : nullptr;
  if (!way && !options_.excludes.empty()) {
    const std::string relative = dir->relative.empty() ? name : dir->relative + "/" + name;
    if (options_.excludes.Excludes(relative, item->path, item->entry.is_directory())) return {};
  }
  if (!item->entry.is_directory()) return ExamineFile(*dir, item);
  ExamineDirectory(dir, item, way);
  return {};
}

// What an entry still lacks when it is its turn to go into its directory.
Status BackupRun::Resolve(BackupItem& item) {
  if (item.below) {
    item.entry.directory = item.below->ref.blob;
    item.entry.totals = item.below->ref.totals;
    item.below.reset();
  }
  if (!item.first) return {};
  const ItemPtr first = std::move(item.first);
  if (first->failure.ok() && !first->replaced) {
    std::string name = std::move(item.entry.name);
    item.entry = first->entry;
    item.entry.name = std::move(name);
  } else {
    // The earlier name is gone, or another file's by now. This one may still be there.
    BKFS_TRY(reader_->Complete(item));
  }
  item.dir.reset();
  return {};
}

bool BackupRun::IsSettled(const BackupItem& item) {
  if (item.below) return item.below->finished;
  MutexLock lock(mutex_);
  return IsDone(item);
}

// Puts entries that are settled into their directory, in order, and a directory that is complete
// into the one above.
Status BackupRun::Advance(BackupDirectory& start) {
  for (BackupDirectory* dir = &start; dir; dir = dir->parent) {
    while (!dir->waiting.empty()) {
      const ItemPtr item = dir->waiting.front();
      if (!IsSettled(*item)) return {};
      BKFS_TRY(meter_.Stopped());
      BKFS_TRY(Resolve(*item));
      if (item->failure.ok()) BKFS_TRY(dir->out.Add(item->entry));
      dir->waiting.pop_front();
      --waiting_;
    }
    if (!dir->closed) return {};
    BKFS_ASSIGN(dir->ref, dir->out.Finish());
    dir->finished = true;
  }
  return {};
}

// Waits for the first of the files that others wait behind. False: nothing is waiting.
Result<bool> BackupRun::SettleOldest() {
  BackupDirectory* dir = root_.get();
  while (!dir->waiting.empty()) {
    const ItemPtr item = dir->waiting.front();
    if (item->below && !item->below->finished) {
      dir = item->below.get();
      continue;
    }
    {
      MutexLock lock(mutex_);
      while (!IsDone(*item)) done_.Wait(mutex_);
    }
    BKFS_TRY(Advance(*dir));
    return true;
  }
  return false;
}

Status BackupRun::Walk() {
  while (!stack_.empty()) {
    BKFS_TRY(meter_.Stopped());
    const DirPtr dir = stack_.back();
    if (dir->next < dir->names.size()) {
      BKFS_TRY(Examine(dir, dir->names[dir->next++]));
    } else {
      dir->closed = true;
      dir->names.Clear();
      dir->fd.reset();
      stack_.pop_back();
      BKFS_TRY(Advance(*dir));
    }
    while (waiting_ > kWindow) {
      BKFS_ASSIGN(bool settled, SettleOldest());
      if (!settled) break;
    }
  }
  while (!root_->finished) {
    BKFS_ASSIGN(bool settled, SettleOldest());
    BKFS_CHECK(settled);
  }
  return meter_.Stopped();
}

Status BackupRun::OpenRoot(const SourcePlan& plan) {
  root_ = NewDirectory();
  root_->path = plan.root_path;
  root_->way = plan.root.is_source ? nullptr : &plan.root;
  const int access = root_->way ? O_PATH : O_RDONLY;
  BKFS_ASSIGN(UniqueFd fd, OpenFile(plan.root_path, access | O_DIRECTORY | O_NOFOLLOW));
  root_->fd = std::make_shared<UniqueFd>(std::move(fd));
  if (previous_->root()) root_->previous = previous_->root()->directory;
  for (const auto& path : options_.never) {
    auto file = StatLocal(AT_FDCWD, path, accounts_);
    if (file.ok()) never_.insert(file->identity);
  }
  auto file = ReadLocal(root_->fd->get(), accounts_);
  Status usable = file.ok() ? CheckAttributes(file->entry) : file.status();
  if (!usable.ok()) return usable.WithContext(plan.root_path);
  if (!root_->way && never_.contains(file->identity)) {
    return {Code::kInvalid, plan.root_path + " is the repository itself, or a cache of bkfs"};
  }
  root_entry_ = std::move(file->entry);
  root_->device = file->identity.device;
  devices_.try_emplace(root_->device, 0);
  FillDirectory(*root_);
  stack_.push_back(root_);
  return {};
}

// Everything the snapshot will refer to goes through the writer, unchanged files too: what the
// writer has relied on is all there is to pin.
Status BackupRun::BeginLease() {
  LeaseHolder::Options options;
  options.kind = LeaseKind::kWriter;
  options.ttl_ns = options_.lease_ttl_ns;
  options.host = options_.host;
  options.program = "bkfs backup";
  BKFS_ASSIGN(lease_, LeaseHolder::Begin(repo_, std::move(options)));
  return lease_->Start([this](const std::shared_ptr<const CondemnedPacks>& condemned) {
    LeasePins pins;
    pins.packs = writer_->Heed(condemned);
    pins.uncommitted = true;
    return Result<LeasePins>(std::move(pins));
  });
}

Status BackupRun::CheckLease() {
  BKFS_ASSIGN(bool ended, lease_->HasEnded());
  if (!ended) return {};
  return {
      Code::kUnavailable,
      "maintenance had given up waiting for this machine (was it asleep?), and may have deleted "
      "what this backup relied on: no snapshot was made, run it again"};
}

Status BackupRun::Start(const SourcePlan& plan) {
  BKFS_ASSIGN(writer_, repo_.NewWriter(NewMemorySpool(), options_.writer));
  BKFS_TRY(BeginLease());
  BKFS_ASSIGN(previous_, PreviousState::Open(repo_, options_.name, options_.host));
  if (previous_->root()) {
    const uint64_t bytes = previous_->root()->totals.bytes;
    meter_.Count([&](BackupCounts& counts) { counts.expected_bytes = bytes; });
  }
  contents_ = std::make_unique<ContentsStorer>(*writer_, chunker_, previous_->trees());
  reader_ = std::make_unique<BackupReader>(repo_, *contents_, accounts_, meter_);
  pool_ = std::make_unique<ThreadPool>(options_.threads, kQueue);
  return OpenRoot(plan);
}

Result<SnapshotId> BackupRun::Commit(const SourcePlan& plan, const Entry& root, int64_t start,
                                     const WriterStats& written) {
  SnapshotBody body;
  body.name = options_.name;
  body.host = options_.host;
  body.user = options_.user;
  body.time_ns = start;
  body.end_ns = repo_.clock().WallNanos();
  body.totals = root.totals;
  body.added = written.bytes_stored;
  body.tags = options_.tags;
  body.paths = plan.paths;
  body.parent = previous_->snapshot();
  body.program = "bkfs " BKFS_VERSION;
  body.lease = lease_->id();
  BKFS_TRY(CheckLease());
  BKFS_ASSIGN(auto snapshot, repo_.snapshots().Commit(std::move(body), root));
  BKFS_TRY(CheckLease());  // else the record does not count
  previous_->Remember(root, snapshot->id);
  return snapshot->id;
}

// Everything a snapshot refers to is in the store before its record is.
Result<BackupResult> BackupRun::Run() {
  BKFS_TRY(CheckSeriesName(options_.name));
  const int64_t start = repo_.clock().WallNanos();
  BKFS_ASSIGN(SourcePlan plan, PlanSources(options_.paths));
  BKFS_TRY(Start(plan));
  Status walked = Walk();
  pool_.reset();  // what it still reads, it ends
  BKFS_TRY(walked);
  BKFS_TRY(writer_->Flush());
  BKFS_TRY(meter_.Stopped());
  root_entry_.directory = root_->ref.blob;
  root_entry_.totals = root_->ref.totals;
  BackupResult result;
  result.totals = root_entry_.totals;
  result.writer = writer_->stats();
  BKFS_ASSIGN(result.snapshot, Commit(plan, root_entry_, start, result.writer));
  result.counts = meter_.Finish();
  return result;
}

}  // namespace

Result<BackupResult> RunBackup(Repository& repo, const BackupOptions& options,
                               BackupObserver& observer) {
  // Before anything is made of keys that it does not have.
  if (!MayWrite(repo.key().type)) {
    return Status(Code::kDenied,
                  "a " + std::string(KeyTypeName(repo.key().type)) + " key cannot make snapshots");
  }
  return BackupRun(repo, options, observer).Run();
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/backup.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <filesystem>
#include <map>
#include <set>

#include "engine/base/fd.h"
#include "engine/crypto/hash.h"
#include "engine/repo/tree_writer.h"
#include "engine/transfer/local_state.h"
#include "engine/transfer/local_tree.h"

namespace bkfs {

namespace {

constexpr size_t kWindow = 1024;  // entries of a directory that wait for their contents
constexpr size_t kReadSize = 1 << 20;
constexpr int kMaxDepth = 2000;  // a descriptor and a stack frame each

using SharedFd = std::shared_ptr<UniqueFd>;  // a directory, until the last file in it has been read

// One directory entry on its way: its contents may still be being read.
struct Item {
  Entry entry;
  struct stat st {};
  std::string path;
  SharedFd dir;
  bool done = true;
  bool dropped = false;  // could not be read: not in the snapshot
  Status fatal;          // of the repository
};
using ItemPtr = std::shared_ptr<Item>;

// Where a path given by the user lies below the snapshot's root.
struct SourceNode {
  std::map<std::string, SourceNode> children;
  bool is_source = false;
};

class BackupRun {
 public:
  BackupRun(Repository& repo, const BackupOptions& options, BackupObserver& observer)
      : repo_(repo),
        options_(options),
        observer_(observer),
        chunker_(repo.key().chunker_key.view(), repo.header().chunks) {}
  Result<BackupResult> Run();

 private:
  Result<Entry> StoreSources();
  Result<Entry> StoreVirtual(const SourceNode& node, const std::string& path,
                             const std::string& relative, const BlobId& previous);
  Result<DirectoryRef> StoreDirectory(const SharedFd& dir, const std::string& path,
                                      const std::string& relative, const BlobId& previous,
                                      dev_t device, int depth);
  Result<ItemPtr> Examine(const SharedFd& dir, const std::string& path, const std::string& relative,
                          const std::string& name, const BlobId& previous, dev_t device, int depth);
  Status StoreSubdirectory(Item& item, const std::string& relative, const BlobId& previous,
                           dev_t device, int depth);
  void StartReading(const ItemPtr& item);
  void ReadFile(Item& item);
  Status ReadContents(Item& item, int fd);
  Status ReadRange(Item& item, int fd, uint64_t from, uint64_t to, std::vector<Extent>& extents);
  bool ReuseContents(Item& item, const Entry& before);
  Status Flush(std::deque<ItemPtr>& window, size_t keep, DirectoryWriter& out);
  bool IsLeftOut(const std::string& path, const std::string& relative, bool is_directory) const;
  void Failed(const std::string& path, const Status& why);
  template <typename Change>
  void Count(const Change& change);
  Status CheckCancelled() const {
    if (observer_.Cancelled()) return {Code::kInterrupted, "interrupted; no snapshot was made"};
    return {};
  }

  Repository& repo_;
  const BackupOptions& options_;
  BackupObserver& observer_;
  const Chunker chunker_;
  AccountNames accounts_;
  std::unique_ptr<PreviousState> previous_;
  std::unique_ptr<BlobWriter> writer_;
  std::unique_ptr<ThreadPool> pool_;
  Mutex mutex_;
  CondVar done_;
  BackupCounts counts_ BKFS_GUARDED_BY(mutex_);
  std::map<std::pair<dev_t, ino_t>, ItemPtr> linked_;  // first name seen of files with several
};

template <typename Change>
void BackupRun::Count(const Change& change) {
  BackupCounts now;
  {
    MutexLock lock(mutex_);
    change(counts_);
    now = counts_;
  }
  observer_.Progress(now);
}

void BackupRun::Failed(const std::string& path, const Status& why) {
  observer_.SourceFailed(path, why);
  Count([](BackupCounts& counts) { ++counts.failures; });
}

bool BackupRun::IsLeftOut(const std::string& path, const std::string& relative,
                          bool is_directory) const {
  if (std::find(options_.never.begin(), options_.never.end(), path) != options_.never.end()) {
    return true;
  }
  return !options_.excludes.empty() && options_.excludes.Excludes(relative, path, is_directory);
}

// Takes the contents of the previous state when nothing about the file has changed.
bool BackupRun::ReuseContents(Item& item, const Entry& before) {
  const Entry& now = item.entry;
  if (before.kind != EntryKind::kFile || before.size != now.size || before.mtime != now.mtime ||
      before.ctime != now.ctime) {
    return false;
  }
  item.entry.extents = before.extents;
  item.entry.lists = before.lists;
  return true;
}

Status BackupRun::ReadRange(Item& item, int fd, uint64_t from, uint64_t to,
                            std::vector<Extent>& extents) {
  Bytes buffer;
  uint64_t at = from;
  bool at_end = false;
  while (at < to || !buffer.empty()) {
    BKFS_TRY(CheckCancelled());
    if (at < to && !at_end && buffer.size() < chunker_.sizes().max) {
      const size_t before = buffer.size();
      const size_t want = std::min<uint64_t>(kReadSize, to - at);
      buffer.resize(before + want);
      const ssize_t n = ::pread(fd, buffer.data() + before, want, static_cast<off_t>(at));
      if (n < 0) return Status::FromErrno(errno, "read");
      buffer.resize(before + static_cast<size_t>(n));
      at += static_cast<uint64_t>(n);
      at_end = n == 0;
      if (at_end) to = at;  // the file became shorter
      Count([&](BackupCounts& counts) { counts.read_bytes += static_cast<uint64_t>(n); });
      continue;
    }
    size_t used = 0;
    while (buffer.size() - used >= chunker_.sizes().max || (at >= to && used < buffer.size())) {
      const size_t length = chunker_.Cut(ByteView(buffer).subspan(used));
      Extent extent;
      extent.length = length;
      auto id = writer_->Add(PackKind::kContents, ByteView(buffer).subspan(used, length));
      if (!id.ok()) {
        item.fatal = id.status();
        return id.status();
      }
      extent.blob = *id;
      extents.push_back(extent);
      used += length;
    }
    buffer.erase(buffer.begin(), buffer.begin() + static_cast<ptrdiff_t>(used));
  }
  return {};
}

Status BackupRun::ReadContents(Item& item, int fd) {
  std::vector<Extent> extents;
  const auto size = static_cast<off_t>(item.st.st_size);
  off_t at = 0;
  while (at < size) {
    off_t data = ::lseek(fd, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) data = size;  // nothing but a hole follows
    if (data < 0) data = at;                      // the filesystem cannot tell
    data = std::min(data, size);
    if (data > at) extents.push_back({static_cast<uint64_t>(data - at), 0, {}});
    if (data >= size) break;
    off_t hole = ::lseek(fd, data, SEEK_HOLE);
    if (hole < 0 || hole > size) hole = size;
    BKFS_TRY(
        ReadRange(item, fd, static_cast<uint64_t>(data), static_cast<uint64_t>(hole), extents));
    at = hole;
  }
  uint64_t total = 0;
  for (const auto& extent : extents) total += extent.length;
  item.entry.size = total;
  Status set = SetExtents(item.entry, extents, *writer_, previous_->trees());
  if (!set.ok()) item.fatal = set;
  return set;
}

// On a pool thread.
void BackupRun::ReadFile(Item& item) {
  Status status;
  UniqueFd fd(::openat(item.dir->get(), item.entry.name.c_str(),
                       O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd.valid()) status = Status::FromErrno(errno, "open");
  struct stat now {};
  if (status.ok() && (::fstat(fd.get(), &now) != 0 || !S_ISREG(now.st_mode))) {
    status = Status(Code::kIo, "it was replaced while being backed up");
  }
  if (status.ok()) {
    item.st = now;
    status = ReadContents(item, fd.get());
  }
  if (!item.fatal.ok() || status.Is(Code::kInterrupted)) {
    item.fatal = status;
  } else if (!status.ok()) {
    item.dropped = true;
    Failed(item.path, status);
  } else {
    struct stat after {};
    if (::fstat(fd.get(), &after) != 0 || after.st_size != now.st_size ||
        after.st_mtim.tv_sec != now.st_mtim.tv_sec ||
        after.st_mtim.tv_nsec != now.st_mtim.tv_nsec ||
        static_cast<uint64_t>(after.st_size) != item.entry.size) {
      Failed(item.path, Status(Code::kIo, "it changed while it was read; what was read is kept"));
      item.entry.ctime = {};  // never taken for unchanged
    }
    Count([](BackupCounts& counts) { ++counts.read_files; });
  }
  MutexLock lock(mutex_);
  item.done = true;
  item.dir.reset();
  done_.NotifyAll();
}

void BackupRun::StartReading(const ItemPtr& item) {
  item->done = false;
  pool_->Submit([this, item] { ReadFile(*item); });
}

Status BackupRun::StoreSubdirectory(Item& item, const std::string& relative, const BlobId& previous,
                                    dev_t device, int depth) {
  if (options_.one_file_system && item.st.st_dev != device) return {};  // kept empty
  auto fd = std::make_shared<UniqueFd>(::openat(item.dir->get(), item.entry.name.c_str(),
                                                O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd->valid()) {
    Failed(item.path, Status::FromErrno(errno, "open"));
    return {};
  }
  BlobId before;
  if (!previous.is_zero()) {
    auto entry = repo_.trees().Lookup(previous, item.entry.name);
    if (entry.ok() && entry->is_directory()) before = entry->directory;
  }
  BKFS_ASSIGN(DirectoryRef ref,
              StoreDirectory(fd, item.path, relative, before, item.st.st_dev, depth + 1));
  item.entry.directory = ref.blob;
  item.entry.totals = ref.totals;
  return {};
}

// One name of a directory; null when it is left out.
Result<ItemPtr> BackupRun::Examine(const SharedFd& dir, const std::string& path,
                                   const std::string& relative, const std::string& name,
                                   const BlobId& previous, dev_t device, int depth) {
  auto item = std::make_shared<Item>();
  item->path = path == "/" ? "/" + name : path + "/" + name;
  item->dir = dir;
  const std::string below = relative.empty() ? name : relative + "/" + name;
  auto entry = ReadEntry(dir->get(), name, accounts_, item->st);
  if (entry.code() == Code::kNotFound) return ItemPtr();  // gone since the listing
  if (!entry.ok()) {
    Failed(item->path, entry.status());
    return ItemPtr();
  }
  item->entry = std::move(entry).value();
  item->entry.name = name;
  if (IsLeftOut(item->path, below, item->entry.is_directory())) return ItemPtr();
  if (item->entry.is_directory()) {
    Count([](BackupCounts& counts) { ++counts.directories; });
    BKFS_TRY(StoreSubdirectory(*item, below, previous, device, depth));
    item->dir.reset();
    return item;
  }
  Count([&](BackupCounts& counts) {
    ++counts.files;
    if (item->entry.kind == EntryKind::kFile) counts.bytes += item->entry.size;
  });
  ItemPtr first;
  if (item->st.st_nlink > 1) {
    auto [it, is_new] = linked_.try_emplace({item->st.st_dev, item->st.st_ino}, item);
    if (!is_new) first = it->second;
    Bytes identity;
    AppendInt<uint64_t>(identity, item->st.st_dev);
    AppendInt<uint64_t>(identity, item->st.st_ino);
    const Hash256 hash = KeyedHash(repo_.key().chunker_key.view(), identity);
    item->entry.link_group = Load<uint64_t>(hash.data()) | 1;
  }
  if (item->entry.kind != EntryKind::kFile) return item;
  if (first) {
    // Another name of a file that is being read or has been: the same contents.
    MutexLock lock(mutex_);
    while (!first->done) done_.Wait(mutex_);
    const std::string kept = item->entry.name;
    item->entry = first->entry;
    item->entry.name = kept;
    item->dropped = first->dropped;
    item->dir.reset();
    return item;
  }
  if (!previous.is_zero()) {
    auto before = repo_.trees().Lookup(previous, name);
    if (before.ok() && ReuseContents(*item, *before)) return item;
    if (!before.ok() && before.code() != Code::kNotFound) {
      repo_.log().Warning("previous state not used: " + before.status().message());
    }
  }
  if (item->entry.size > 0 || item->st.st_size > 0) {
    StartReading(item);
  } else {
    item->dir.reset();
  }
  return item;
}

// Adds finished entries, in order, until at most `keep` are waiting.
Status BackupRun::Flush(std::deque<ItemPtr>& window, size_t keep, DirectoryWriter& out) {
  while (window.size() > keep) {
    ItemPtr item = std::move(window.front());
    window.pop_front();
    {
      MutexLock lock(mutex_);
      while (!item->done) done_.Wait(mutex_);
    }
    BKFS_TRY(item->fatal);
    if (!item->dropped) BKFS_TRY(out.Add(item->entry));
  }
  return {};
}

Result<DirectoryRef> BackupRun::StoreDirectory(const SharedFd& dir, const std::string& path,
                                               const std::string& relative, const BlobId& previous,
                                               dev_t device, int depth) {
  if (depth > kMaxDepth) return Status(Code::kTooLarge, path + ": nested too deeply");
  std::vector<std::string> names;
  DIR* listing = ::fdopendir(::fcntl(dir->get(), F_DUPFD_CLOEXEC, 0));
  if (!listing) {
    Failed(path, Status::FromErrno(errno, "list"));
    return DirectoryRef{};
  }
  errno = 0;
  while (const dirent* entry = ::readdir(listing)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
    errno = 0;
  }
  if (errno != 0) Failed(path, Status::FromErrno(errno, "list"));
  ::closedir(listing);
  std::sort(names.begin(), names.end());
  DirectoryWriter out(*writer_, repo_.key().chunker_key.view(), previous_->trees());
  std::deque<ItemPtr> window;
  Status status;
  for (const auto& name : names) {
    status = CheckCancelled();
    if (!status.ok()) break;
    auto item = Examine(dir, path, relative, name, previous, device, depth);
    status = item.status();
    if (!status.ok()) break;
    if (*item) window.push_back(*item);
    status = Flush(window, kWindow, out);
    if (!status.ok()) break;
  }
  BKFS_TRY(status);
  BKFS_TRY(Flush(window, 0, out));
  return out.Finish();
}

// A directory that holds sources, or leads to them.
Result<Entry> BackupRun::StoreVirtual(const SourceNode& node, const std::string& path,
                                      const std::string& relative, const BlobId& previous) {
  struct stat st {};
  auto entry = ReadEntryAt(path, accounts_, st);
  if (!entry.ok()) return entry.status().WithContext(path);
  auto dir = std::make_shared<UniqueFd>(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir->valid()) return Status::FromErrno(errno, path);
  if (node.is_source) {
    BKFS_ASSIGN(DirectoryRef ref, StoreDirectory(dir, path, relative, previous, st.st_dev, 0));
    entry->directory = ref.blob;
    entry->totals = ref.totals;
    return entry;
  }
  DirectoryWriter out(*writer_, repo_.key().chunker_key.view(), previous_->trees());
  for (const auto& [name, child] : node.children) {
    const std::string child_path = path == "/" ? "/" + name : path + "/" + name;
    const std::string below = relative.empty() ? name : relative + "/" + name;
    struct stat child_st {};
    if (::lstat(child_path.c_str(), &child_st) != 0) return Status::FromErrno(errno, child_path);
    if (S_ISDIR(child_st.st_mode)) {
      BlobId before;
      if (!previous.is_zero()) {
        auto known = repo_.trees().Lookup(previous, name);
        if (known.ok() && known->is_directory()) before = known->directory;
      }
      BKFS_ASSIGN(Entry stored, StoreVirtual(child, child_path, below, before));
      stored.name = name;
      BKFS_TRY(out.Add(stored));
      continue;
    }
    BKFS_ASSIGN(ItemPtr item, Examine(dir, path, relative, name, previous, st.st_dev, 0));
    std::deque<ItemPtr> window;
    if (item) window.push_back(std::move(item));
    BKFS_TRY(Flush(window, 0, out));
  }
  BKFS_ASSIGN(DirectoryRef ref, out.Finish());
  entry->directory = ref.blob;
  entry->totals = ref.totals;
  return entry;
}

Result<Entry> BackupRun::StoreSources() {
  std::vector<std::string> paths;
  for (const auto& given : options_.paths) {
    std::error_code error;
    std::string path = std::filesystem::absolute(given, error).lexically_normal().string();
    if (error) return Status::FromErrno(error.value(), given);
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    struct stat st {};
    if (::stat(path.c_str(), &st) != 0) return Status::FromErrno(errno, given);
    paths.push_back(std::move(path));
  }
  const BlobId previous = previous_->root() ? previous_->root()->directory : BlobId();
  struct stat st {};
  if (paths.size() == 1 && ::stat(paths[0].c_str(), &st) == 0) {
    // One directory is the root; a link given by the user is followed to it. One file stands in a
    // root of its own.
    std::error_code error;
    const std::string real = std::filesystem::canonical(paths[0], error).string();
    if (S_ISDIR(st.st_mode)) {
      SourceNode root;
      root.is_source = true;
      return StoreVirtual(root, error ? paths[0] : real, "", previous);
    }
    SourceNode parent;
    const std::filesystem::path file(paths[0]);
    parent.children[file.filename().string()].is_source = true;
    return StoreVirtual(parent, file.parent_path().string(), "", previous);
  }
  SourceNode root;
  for (const auto& path : paths) {
    SourceNode* at = &root;
    for (const auto& part : std::filesystem::path(path).relative_path()) {
      at = &at->children[part.string()];
    }
    at->is_source = true;
  }
  return StoreVirtual(root, "/", "", previous);
}

Result<BackupResult> BackupRun::Run() {
  BKFS_TRY(CheckSeriesName(options_.name));
  SnapshotBody body;
  body.time_ns = repo_.clock().WallNanos();
  BKFS_ASSIGN(writer_, repo_.NewWriter(NewMemorySpool(), options_.writer));
  BKFS_ASSIGN(previous_, PreviousState::Open(repo_, options_.name, options_.host));
  pool_ = std::make_unique<ThreadPool>(options_.threads, 64);
  auto stored = StoreSources();
  pool_.reset();  // what still reads uses this object
  if (!stored.ok()) return stored.status();
  Entry root = std::move(stored).value();
  root.name.clear();
  BKFS_TRY(CheckCancelled());
  BKFS_TRY(writer_->Flush());
  BackupResult result;
  Count([&](const BackupCounts& counts) { result.counts = counts; });
  result.totals = root.totals;
  result.writer = writer_->stats();
  body.name = options_.name;
  body.host = options_.host;
  body.user = options_.user;
  body.end_ns = repo_.clock().WallNanos();
  body.totals = root.totals;
  body.added = result.writer.bytes_stored;
  body.tags = options_.tags;
  body.paths = options_.paths;
  body.parent = previous_->snapshot();
  body.program = "bkfs " BKFS_VERSION;
  BKFS_ASSIGN(auto snapshot, repo_.snapshots().Commit(std::move(body), root));
  result.snapshot = snapshot->id;
  BKFS_TRY(previous_->Remember(root, snapshot->id));
  return result;
}

}  // namespace

Result<BackupResult> RunBackup(Repository& repo, const BackupOptions& options,
                               BackupObserver& observer) {
  return BackupRun(repo, options, observer).Run();
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/restore.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <set>

#include "engine/base/thread_pool.h"
#include "engine/transfer/directory_cursor.h"
#include "engine/transfer/local_tree.h"
#include "engine/transfer/name_list.h"
#include "engine/transfer/restore_node.h"
#include "engine/transfer/restore_places.h"

namespace bkfs {

namespace {

constexpr int64_t kTellEvery = 50'000'000;  // ns
constexpr size_t kQueue = 64;

// One thread walks the snapshot and makes directories; a pool restores what is in them.
class RestoreRun {
 public:
  RestoreRun(Repository& repo, const std::string& destination, const RestoreOptions& options,
             RestoreObserver& observer)
      : repo_(repo), destination_(destination), options_(options), observer_(observer) {}
  Result<RestoreCounts> Run(const Entry& source);

 private:
  // A stored directory on its way, and where it goes.
  struct Level {
    Level(PlaceRef to, TreeSource& trees, const BlobId& dir)
        : place(std::move(to)), cursor(trees, dir) {}
    PlaceRef place;
    DirectoryCursor cursor;
  };

  Result<UniqueFd> OpenDestination();
  Status Walk();
  void EnterDirectory(const PlaceRef& parent, Entry entry);
  Result<UniqueFd> MakeDirectory(const PlaceRef& parent, const Entry& entry, bool& made);
  void RemoveOthers(const Place& place);
  void FinishDirectory(Place& place);
  void RestoreEntry(const PlaceRef& place, Entry entry);
  void RestoreFirst(const PlaceRef& place, const Entry& entry);
  Status RestoreOne(const Place& place, const Entry& entry, FileIdentity& identity);
  Status RestoreFile(const Place& place, const Entry& entry, FileIdentity& identity);
  Result<bool> KeepFile(const Place& place, const Entry& entry, FileReader& reader,
                        FileIdentity& identity);
  Status WriteFile(const Place& place, const Entry& entry, FileReader& reader,
                   FileIdentity& identity);
  Status RestoreSpecial(const Place& place, const Entry& entry, FileIdentity& identity);
  Status RestoreLink(const Place& place, const Entry& entry, const LinkTable::Target& target);
  Status PlaceLink(const Place& place, const Entry& entry, const LinkTable::Target& target);
  Status MoveIntoPlace(int dir, const std::string& temporary, const std::string& name);
  void Report(const std::string& path, const Status& status);
  template <typename Change>
  void Count(const Change& change);
  Tick BytesDone() {
    return [this](uint64_t bytes) -> Status {
      Count([&](RestoreCounts& counts) { counts.done_bytes += bytes; });
      return CheckCancelled();
    };
  }
  Status CheckCancelled() const {
    if (observer_.Cancelled()) return {Code::kInterrupted, "interrupted; some files are restored"};
    return {};
  }

  Repository& repo_;
  const std::string destination_;
  const RestoreOptions options_;
  RestoreObserver& observer_;
  AccountNames accounts_;
  std::set<FileIdentity> never_;
  const std::function<void(Place&)> finish_ = [this](Place& place) { FinishDirectory(place); };
  const std::function<void(Place&)> leave_ = [](Place&) {};
  LinkTable links_;
  int root_ = -1;  // the destination; -1: a dry run, and it is not there
  std::vector<std::unique_ptr<Level>> stack_;
  Mutex mutex_;  // a leaf
  RestoreCounts counts_ BKFS_GUARDED_BY(mutex_);
  int64_t next_tell_ BKFS_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<ThreadPool> pool_;  // last: its threads use everything above
};

template <typename Change>
void RestoreRun::Count(const Change& change) {
  RestoreCounts now;
  {
    MutexLock lock(mutex_);
    change(counts_);
    const int64_t time = repo_.clock().MonotonicNanos();
    if (time < next_tell_) return;
    next_tell_ = time + kTellEvery;
    now = counts_;
  }
  observer_.Progress(now);
}

void RestoreRun::Report(const std::string& path, const Status& status) {
  // What an interruption left undone is no failure of each single file.
  if (status.ok() || status.Is(Code::kInterrupted)) return;
  observer_.Failed(path.empty() ? destination_ : destination_ + "/" + path, status);
  Count([&](RestoreCounts& counts) {
    ++counts.failures;
    if (status.Is(Code::kCorrupt)) ++counts.damaged;
  });
}

// ---- one file, on the pool's threads ----

Status RestoreRun::MoveIntoPlace(int dir, const std::string& temporary, const std::string& name) {
  if (::renameat(dir, temporary.c_str(), dir, name.c_str()) == 0) return {};
  if (errno != EISDIR && errno != ENOTEMPTY && errno != EEXIST) {
    return Status::FromErrno(errno, "rename");
  }
  // A directory stands where a file belongs. It goes only when that was asked for.
  if (!options_.remove_others) {
    return {Code::kIsDirectory, "a directory is in the way (--delete removes it)"};
  }
  BKFS_TRY(RemoveBelow(dir, name, never_));
  if (::renameat(dir, temporary.c_str(), dir, name.c_str()) == 0) return {};
  return Status::FromErrno(errno, "rename");
}

// Whether the file that is there is what it should be, but for attributes, which it then gets.
Result<bool> RestoreRun::KeepFile(const Place& place, const Entry& entry, FileReader& reader,
                                  FileIdentity& identity) {
  if (!place.fd.valid()) return false;
  auto fd = OpenForAttributes(place.fd.get(), entry.name);
  if (!fd.ok()) return false;
  BKFS_ASSIGN(LocalFile there, StatOpen(fd->get(), accounts_));
  if (there.entry.kind != EntryKind::kFile || there.entry.size != entry.size) return false;
  bool same = there.entry.mtime == entry.mtime;
  if (options_.verify) {
    UniqueFd readable(::openat(place.fd.get(), entry.name.c_str(),
                               O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    if (!readable.valid()) return false;
    BKFS_ASSIGN(same,
                SameContents(reader, readable.get(), [&](uint64_t) { return CheckCancelled(); }));
  }
  if (!same) return false;
  // A file with other names than it should have would be changed under all of them.
  if (there.entry.nlink > 1 &&
      (entry.link_group == 0 || !links_.Claim(there.identity, entry.link_group))) {
    return false;
  }
  identity = there.identity;
  Count([&](RestoreCounts& counts) {
    ++counts.kept;
    counts.done_bytes += entry.size;
  });
  if (HasMetadata(fd->get(), entry, accounts_)) return true;
  observer_.Changed(place.PathOf(entry.name), "update");
  if (!options_.dry_run) Report(place.PathOf(entry.name), ApplyEntry(fd->get(), entry));
  return true;
}

Status RestoreRun::WriteFile(const Place& place, const Entry& entry, FileReader& reader,
                             FileIdentity& identity) {
  const int dir = place.fd.get();
  const std::string temporary = TemporaryName();
  UniqueFd fd(
      ::openat(dir, temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return Status::FromErrno(errno, "create");
  Status status = WriteContents(reader, fd.get(), BytesDone());
  if (status.ok() && options_.verify) {
    auto same = SameContents(reader, fd.get(), [&](uint64_t) { return CheckCancelled(); });
    status = same.status();
    if (status.ok() && !*same)
      status = Status(Code::kIo, "what was written reads back differently");
  }
  // Contents without an attribute that this filesystem does not take are better than no contents.
  Status attributes;
  if (status.ok()) attributes = ApplyEntry(fd.get(), entry);
  if (status.ok()) {
    auto made = StatOpen(fd.get(), accounts_);
    status = made.status();
    if (made.ok()) identity = made->identity;
  }
  if (status.ok()) status = MoveIntoPlace(dir, temporary, entry.name);
  if (!status.ok()) {
    ::unlinkat(dir, temporary.c_str(), 0);
    return status;
  }
  Report(place.PathOf(entry.name), attributes);
  return {};
}

Status RestoreRun::RestoreFile(const Place& place, const Entry& entry, FileIdentity& identity) {
  BKFS_ASSIGN(auto map, FileMap::Open(repo_.trees(), entry));
  FileReader reader(repo_.blobs(), std::move(map));
  BKFS_ASSIGN(bool kept, KeepFile(place, entry, reader, identity));
  if (kept) return {};
  observer_.Changed(place.PathOf(entry.name), "write");
  if (!options_.dry_run) BKFS_TRY(WriteFile(place, entry, reader, identity));
  Count([&](RestoreCounts& counts) {
    ++counts.written;
    counts.bytes += entry.size;
  });
  return {};
}

Status RestoreRun::RestoreSpecial(const Place& place, const Entry& entry, FileIdentity& identity) {
  const int dir = place.fd.get();
  if (place.fd.valid()) {
    auto fd = OpenForAttributes(dir, entry.name);
    auto there = fd.ok() ? StatOpen(fd->get(), accounts_) : Result<LocalFile>(fd.status());
    const bool alone =
        there.ok() && (there->entry.nlink == 1 ||
                       (entry.link_group != 0 && links_.Claim(there->identity, entry.link_group)));
    if (alone && HasMetadata(fd->get(), entry, accounts_)) {
      identity = there->identity;
      Count([](RestoreCounts& counts) { ++counts.kept; });
      return {};
    }
  }
  observer_.Changed(place.PathOf(entry.name), "write");
  Status attributes;
  if (!options_.dry_run) {
    const std::string temporary = TemporaryName();
    BKFS_TRY(MakeSpecial(dir, temporary, entry));
    auto fd = OpenForAttributes(dir, temporary);
    auto made = fd.ok() ? StatOpen(fd->get(), accounts_) : Result<LocalFile>(fd.status());
    Status status = made.status();
    if (status.ok() && made->entry.kind != entry.kind) {
      status = Status(Code::kIo, "somebody else changes files here");
    }
    if (status.ok()) {
      identity = made->identity;
      attributes = ApplyEntry(fd->get(), entry);
      status = MoveIntoPlace(dir, temporary, entry.name);
    }
    if (!status.ok()) {
      ::unlinkat(dir, temporary.c_str(), 0);
      return status;
    }
  }
  Report(place.PathOf(entry.name), attributes);
  Count([](RestoreCounts& counts) { ++counts.written; });
  return {};
}

Status RestoreRun::RestoreOne(const Place& place, const Entry& entry, FileIdentity& identity) {
  BKFS_TRY(CheckCancelled());
  return entry.kind == EntryKind::kFile ? RestoreFile(place, entry, identity)
                                        : RestoreSpecial(place, entry, identity);
}

// A file that has no other name, or the first of its names and then those that waited for it.
void RestoreRun::RestoreFirst(const PlaceRef& place, const Entry& entry) {
  LinkTable::Target target;
  target.path = place->PathOf(entry.name);
  target.made = RestoreOne(*place, entry, target.identity);
  Report(target.path, target.made);
  if (entry.link_group == 0) return;
  for (const auto& later : links_.Done(entry.link_group, target)) {
    Report(later.place->PathOf(later.entry.name), RestoreLink(*later.place, later.entry, target));
  }
}

Status RestoreRun::PlaceLink(const Place& place, const Entry& entry,
                             const LinkTable::Target& target) {
  const size_t slash = target.path.rfind('/');
  const std::string parent = slash == std::string::npos ? "" : target.path.substr(0, slash);
  const std::string name = target.path.substr(slash == std::string::npos ? 0 : slash + 1);
  BKFS_ASSIGN(UniqueFd from, OpenBelow(root_, parent));
  const std::string temporary = TemporaryName();
  if (::linkat(from.get(), name.c_str(), place.fd.get(), temporary.c_str(), 0) != 0) {
    return Status::FromErrno(errno, "link to " + target.path);
  }
  struct stat st {};
  Status status;
  if (::fstatat(place.fd.get(), temporary.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0 ||
      FileIdentity{st.st_dev, st.st_ino} != target.identity) {
    status = Status(Code::kIo, target.path + " was replaced by somebody else");
  }
  if (status.ok()) status = MoveIntoPlace(place.fd.get(), temporary, entry.name);
  if (!status.ok()) ::unlinkat(place.fd.get(), temporary.c_str(), 0);
  return status;
}

Status RestoreRun::RestoreLink(const Place& place, const Entry& entry,
                               const LinkTable::Target& target) {
  BKFS_TRY(CheckCancelled());
  if (!target.made.ok()) return target.made.WithContext("it is the same file as " + target.path);
  struct stat st {};
  if (place.fd.valid() &&
      ::fstatat(place.fd.get(), entry.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
      FileIdentity{st.st_dev, st.st_ino} == target.identity) {
    Count([](RestoreCounts& counts) { ++counts.kept; });
    return {};
  }
  observer_.Changed(place.PathOf(entry.name), "link");
  if (!options_.dry_run) {
    Status linked = PlaceLink(place, entry, target);
    if (linked.system_errno() == EMLINK || linked.Is(Code::kNotPermitted) ||
        linked.Is(Code::kUnsupported)) {
      // A filesystem that cannot link (so) gets a file of its own, and the user is told.
      FileIdentity own;
      Entry alone = entry;
      alone.link_group = 0;
      Report(place.PathOf(entry.name), linked);
      return RestoreOne(place, alone, own);
    }
    BKFS_TRY(linked);
  }
  Count([](RestoreCounts& counts) { ++counts.written; });
  return {};
}

// ---- directories, on the walking thread ----

void RestoreRun::RestoreEntry(const PlaceRef& place, Entry entry) {
  if (entry.is_directory()) {
    EnterDirectory(place, std::move(entry));
    return;
  }
  Count([](RestoreCounts& counts) { ++counts.files; });
  LinkTable::Target target;
  const auto turn =
      entry.link_group == 0 ? LinkTable::Turn::kFirst : links_.Ask(place, entry, target);
  if (turn == LinkTable::Turn::kLater) return;
  if (turn == LinkTable::Turn::kFirst) {
    pool_->Submit([this, place, entry = std::move(entry)] { RestoreFirst(place, entry); });
    return;
  }
  pool_->Submit([this, place, entry = std::move(entry), target = std::move(target)] {
    Report(place->PathOf(entry.name), RestoreLink(*place, entry, target));
  });
}

// Opens the directory, made if need be. Invalid in a dry run that would make it.
Result<UniqueFd> RestoreRun::MakeDirectory(const PlaceRef& parent, const Entry& entry, bool& made) {
  made = true;
  if (!parent->fd.valid()) return UniqueFd();
  const int dir = parent->fd.get();
  struct stat st {};
  const bool there = ::fstatat(dir, entry.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
  made = !there || !S_ISDIR(st.st_mode);
  if (there && made) {
    if (!options_.remove_others) {
      return Status(Code::kNotDirectory, "no directory stands there (--delete removes it)");
    }
    if (!options_.dry_run) BKFS_TRY(RemoveBelow(dir, entry.name, never_));
  }
  if (made) {
    observer_.Changed(parent->PathOf(entry.name), "mkdir");
    if (options_.dry_run) return UniqueFd();
    if (::mkdirat(dir, entry.name.c_str(), 0700) != 0) return Status::FromErrno(errno, "mkdir");
  } else if (never_.contains({st.st_dev, st.st_ino})) {
    return Status(Code::kNotPermitted, "it is the repository or a cache of bkfs: left alone");
  } else if (!options_.dry_run && ::geteuid() != 0 && (st.st_mode & 0700) != 0700) {
    // Its owner needs to get in for the moment.
    (void)::fchmodat(dir, entry.name.c_str(), (st.st_mode & 07777) | 0700, AT_SYMLINK_NOFOLLOW);
  }
  UniqueFd fd(::openat(dir, entry.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return Status::FromErrno(errno, "open");
  return fd;
}

void RestoreRun::EnterDirectory(const PlaceRef& parent, Entry entry) {
  const std::string path = parent->PathOf(entry.name);
  bool made = false;
  auto fd = MakeDirectory(parent, entry, made);
  if (!fd.ok()) {
    Report(path, fd.status());
    return;
  }
  const BlobId directory = entry.directory;
  PlaceRef place = PlaceRef::Make(parent, path, std::move(fd).value(), std::move(entry), finish_);
  if (!made && options_.remove_others) RemoveOthers(*place);
  stack_.push_back(std::make_unique<Level>(std::move(place), repo_.trees(), directory));
}

// Before anything is put there: what a run that was killed left behind goes too.
void RestoreRun::RemoveOthers(const Place& place) {
  NameList names;
  Status listed = names.AddAll(place.fd.get());
  Report(place.path, listed);
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string name = names[i];
    auto wanted = repo_.trees().Lookup(place.entry.directory, name);
    // A directory that cannot be read tells nothing about what belongs there.
    if (wanted.code() != Code::kNotFound) continue;
    observer_.Changed(place.PathOf(name), "delete");
    Status removed = options_.dry_run ? OkStatus() : RemoveBelow(place.fd.get(), name, never_);
    Report(place.PathOf(name), removed);
    if (removed.ok()) Count([](RestoreCounts& counts) { ++counts.removed; });
  }
}

// On the thread that was the last to do anything in it.
void RestoreRun::FinishDirectory(Place& place) {
  if (!place.fd.valid() || options_.dry_run) return;
  if (HasMetadata(place.fd.get(), place.entry, accounts_)) return;
  Report(place.path, ApplyEntry(place.fd.get(), place.entry));
}

Status RestoreRun::Walk() {
  while (!stack_.empty()) {
    BKFS_TRY(CheckCancelled());
    Level& level = *stack_.back();
    auto more = level.cursor.Next();
    if (!more.ok()) {
      // A damaged piece of a directory is told; what stands behind it comes all the same.
      Report(level.place->path, more.status());
    } else if (!*more) {
      stack_.pop_back();
    } else {
      RestoreEntry(level.place, level.cursor.entry());
    }
  }
  return {};
}

Result<UniqueFd> RestoreRun::OpenDestination() {
  for (const auto& path : options_.never) {
    auto file = StatLocal(AT_FDCWD, path, accounts_);
    if (file.ok()) never_.insert(file->identity);
  }
  struct stat st {};
  if (::stat(destination_.c_str(), &st) != 0) {
    if (errno != ENOENT) return Status::FromErrno(errno, destination_);
    if (options_.dry_run) return UniqueFd();
    BKFS_TRY(MakeDirectories(destination_, 0755));
  } else if (!S_ISDIR(st.st_mode)) {
    return Status(Code::kInvalid, destination_ + " is not a directory: name one to restore into");
  }
  BKFS_ASSIGN(UniqueFd fd, OpenFile(destination_, O_RDONLY | O_DIRECTORY));
  if (LiesWithin(fd.get(), never_)) {
    return Status(Code::kInvalid, destination_ + " lies in the repository or in a cache of bkfs");
  }
  return fd;
}

Result<RestoreCounts> RestoreRun::Run(const Entry& source) {
  BKFS_ASSIGN(UniqueFd fd, OpenDestination());
  UniqueFd root(fd.valid() ? ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0) : -1);
  root_ = root.get();
  pool_ = std::make_unique<ThreadPool>(options_.threads, kQueue);
  Status walked;
  if (source.is_directory()) {
    PlaceRef place = PlaceRef::Make({}, "", std::move(fd), source, finish_);
    if (options_.remove_others && place->fd.valid()) RemoveOthers(*place);
    stack_.push_back(std::make_unique<Level>(std::move(place), repo_.trees(), source.directory));
    walked = Walk();
  } else {
    // What the directory around it shall be like is not asked: it stays as it is.
    RestoreEntry(PlaceRef::Make({}, "", std::move(fd), {}, leave_), source);
  }
  stack_.clear();
  pool_.reset();  // and with it the last directories
  BKFS_TRY(walked);
  BKFS_TRY(CheckCancelled());
  if (root.valid() && !options_.dry_run && ::syncfs(root.get()) != 0) {
    Report("", Status::FromErrno(errno, "sync"));
  }
  MutexLock lock(mutex_);
  return counts_;
}

}  // namespace

Result<RestoreCounts> RunRestore(Repository& repo, const Entry& source,
                                 const std::string& destination, const RestoreOptions& options,
                                 RestoreObserver& observer) {
  auto counts = RestoreRun(repo, destination, options, observer).Run(source);
  if (counts.ok()) observer.Progress(*counts);
  return counts;
}

}  // namespace bkfs

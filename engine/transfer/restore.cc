// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/restore.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <set>

#include "engine/base/thread_pool.h"
#include "engine/transfer/local_tree.h"
#include "engine/transfer/restore_node.h"

namespace bkfs {

namespace {

using SharedFd = std::shared_ptr<UniqueFd>;  // a directory, until the last file in it is written

std::string Join(const std::string& path, std::string_view name) {
  return path.empty() ? std::string(name) : path + "/" + std::string(name);
}

class RestoreRun {
 public:
  RestoreRun(Repository& repo, const std::string& destination, const RestoreOptions& options,
             RestoreObserver& observer)
      : repo_(repo), destination_(destination), options_(options), observer_(observer) {}
  Result<RestoreCounts> Run(const Entry& source);

 private:
  struct LateDirectory {
    std::string path;
    Entry entry;
  };
  struct LateLink {
    std::string path;
    Entry entry;
    std::string first;  // path of the name restored first
  };

  Status Prepare();
  Status RestoreDirectory(const Entry& dir, const SharedFd& fd, const std::string& path, int depth);
  Status RestoreEntry(Entry entry, const SharedFd& fd, const std::string& path, int depth);
  Status EnterDirectory(const Entry& entry, const SharedFd& fd, const std::string& path, int depth);
  void RestoreFile(const Entry& entry, int dir, const std::string& path);
  Status PlaceFile(const Entry& entry, int dir, const std::string& path);
  Status PlaceSpecial(const Entry& entry, int dir, const std::string& path);
  Status PlaceLink(const LateLink& link);
  Status MoveIntoPlace(int dir, const std::string& temporary, const std::string& name);
  Status RemoveOthers(int dir, const std::string& path, const std::set<std::string>& wanted);
  void FinishDirectories();
  void Report(const std::string& path, const Status& status);
  template <typename Change>
  void Count(const Change& change);
  Status CheckCancelled() const {
    if (observer_.Cancelled()) return {Code::kInterrupted, "interrupted; some files are restored"};
    return {};
  }

  Repository& repo_;
  const std::string destination_;
  const RestoreOptions options_;
  RestoreObserver& observer_;
  AccountNames accounts_;
  SharedFd root_;
  std::unique_ptr<ThreadPool> pool_;
  std::map<uint64_t, std::string> first_names_;  // link group -> path
  std::vector<LateLink> links_;
  std::vector<LateDirectory> directories_;
  Mutex mutex_;
  RestoreCounts counts_ BKFS_GUARDED_BY(mutex_);
};

template <typename Change>
void RestoreRun::Count(const Change& change) {
  RestoreCounts now;
  {
    MutexLock lock(mutex_);
    change(counts_);
    now = counts_;
  }
  observer_.Progress(now);
}

void RestoreRun::Report(const std::string& path, const Status& status) {
  if (status.ok()) return;
  observer_.Failed(destination_ + "/" + path, status);
  Count([&](RestoreCounts& counts) {
    ++counts.failures;
    if (status.Is(Code::kCorrupt)) ++counts.damaged;
  });
}

Status RestoreRun::Prepare() {
  struct stat st {};
  if (::stat(destination_.c_str(), &st) != 0) {
    if (errno != ENOENT) return Status::FromErrno(errno, destination_);
    if (options_.dry_run) return {};
    BKFS_TRY(MakeDirectories(destination_, 0755));
  } else if (!S_ISDIR(st.st_mode)) {
    return {Code::kInvalid, destination_ + " is not a directory: name one to restore into"};
  }
  BKFS_ASSIGN(UniqueFd fd, OpenFile(destination_, O_RDONLY | O_DIRECTORY));
  root_ = std::make_shared<UniqueFd>(std::move(fd));
  return {};
}

Status RestoreRun::MoveIntoPlace(int dir, const std::string& temporary, const std::string& name) {
  if (::renameat(dir, temporary.c_str(), dir, name.c_str()) == 0) return {};
  if (errno == EISDIR || errno == ENOTEMPTY || errno == EEXIST) {
    // A directory stands where a file belongs. It goes only when that was asked for.
    if (options_.remove_others) {
      BKFS_TRY(RemoveBelow(dir, name));
      if (::renameat(dir, temporary.c_str(), dir, name.c_str()) == 0) return {};
    } else {
      return {Code::kIsDirectory, "a directory is in the way (--delete removes it)"};
    }
  }
  return Status::FromErrno(errno, "rename");
}

Status RestoreRun::PlaceFile(const Entry& entry, int dir, const std::string& path) {
  BKFS_ASSIGN(auto map, FileMap::Open(repo_.trees(), entry));
  FileReader reader(repo_.blobs(), std::move(map));
  struct stat st {};
  if (dir >= 0 && ::fstatat(dir, entry.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
      S_ISREG(st.st_mode) && static_cast<uint64_t>(st.st_size) == entry.size) {
    bool same =
        Timestamp{st.st_mtim.tv_sec, static_cast<uint32_t>(st.st_mtim.tv_nsec)} == entry.mtime;
    if (options_.verify) {
      BKFS_ASSIGN(same, SameContents(reader, dir, entry.name));
    }
    // A file with other names than it should have would be changed under all of them.
    if (same && (entry.link_group != 0 || st.st_nlink == 1)) {
      Count([](RestoreCounts& counts) { ++counts.kept; });
      if (HasMetadata(dir, entry.name, entry, accounts_)) return {};
      observer_.Changed(path, "update");
      return options_.dry_run ? OkStatus() : ApplyEntry(dir, entry.name, entry);
    }
  }
  observer_.Changed(path, "write");
  if (!options_.dry_run) {
    const std::string temporary = TemporaryName();
    UniqueFd fd(
        ::openat(dir, temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd.valid()) return Status::FromErrno(errno, "create");
    Status status = WriteContents(reader, fd.get(), "contents");
    if (status.ok() && options_.verify) {
      auto same = SameContents(reader, dir, temporary);
      status = same.status();
      if (status.ok() && !*same) status = Status(Code::kIo, "reads back differently");
    }
    fd.Reset();
    if (status.ok()) status = ApplyEntry(dir, temporary, entry);
    if (status.ok()) status = MoveIntoPlace(dir, temporary, entry.name);
    if (!status.ok()) {
      ::unlinkat(dir, temporary.c_str(), 0);
      return status;
    }
  }
  Count([&](RestoreCounts& counts) {
    ++counts.written;
    counts.bytes += entry.size;
  });
  return {};
}

Status RestoreRun::PlaceSpecial(const Entry& entry, int dir, const std::string& path) {
  if (dir >= 0 && HasMetadata(dir, entry.name, entry, accounts_)) {
    Count([](RestoreCounts& counts) { ++counts.kept; });
    return {};
  }
  observer_.Changed(path, "write");
  Count([](RestoreCounts& counts) { ++counts.written; });
  if (options_.dry_run) return {};
  const std::string temporary = TemporaryName();
  Status status = MakeSpecial(dir, temporary, entry);
  if (status.ok()) status = ApplyEntry(dir, temporary, entry);
  if (status.ok()) status = MoveIntoPlace(dir, temporary, entry.name);
  if (!status.ok()) ::unlinkat(dir, temporary.c_str(), 0);
  return status;
}

Status RestoreRun::PlaceLink(const LateLink& link) {
  const size_t slash = link.path.rfind('/');
  const std::string parent = slash == std::string::npos ? "" : link.path.substr(0, slash);
  const size_t first_slash = link.first.rfind('/');
  const std::string first_parent =
      first_slash == std::string::npos ? "" : link.first.substr(0, first_slash);
  const std::string first_name =
      first_slash == std::string::npos ? link.first : link.first.substr(first_slash + 1);
  BKFS_ASSIGN(UniqueFd from, OpenBelow(root_->get(), first_parent));
  BKFS_ASSIGN(UniqueFd to, OpenBelow(root_->get(), parent));
  struct stat first {};
  struct stat here {};
  if (::fstatat(from.get(), first_name.c_str(), &first, AT_SYMLINK_NOFOLLOW) != 0) {
    return Status::FromErrno(errno, "its first name " + link.first);
  }
  if (::fstatat(to.get(), link.entry.name.c_str(), &here, AT_SYMLINK_NOFOLLOW) == 0 &&
      here.st_dev == first.st_dev && here.st_ino == first.st_ino) {
    Count([](RestoreCounts& counts) { ++counts.kept; });
    return {};
  }
  observer_.Changed(link.path, "link");
  const std::string temporary = TemporaryName();
  if (::linkat(from.get(), first_name.c_str(), to.get(), temporary.c_str(), 0) != 0) {
    return Status::FromErrno(errno, "link");
  }
  Status status = MoveIntoPlace(to.get(), temporary, link.entry.name);
  if (!status.ok()) ::unlinkat(to.get(), temporary.c_str(), 0);
  Count([](RestoreCounts& counts) { ++counts.written; });
  return status;
}

void RestoreRun::RestoreFile(const Entry& entry, int dir, const std::string& path) {
  Report(path, entry.kind == EntryKind::kFile ? PlaceFile(entry, dir, path)
                                              : PlaceSpecial(entry, dir, path));
}

Status RestoreRun::EnterDirectory(const Entry& entry, const SharedFd& fd, const std::string& path,
                                  int depth) {
  if (!fd) return RestoreDirectory(entry, nullptr, path, depth + 1);  // dry run, not there
  struct stat st {};
  const bool there = ::fstatat(fd->get(), entry.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
  if (there && !S_ISDIR(st.st_mode)) {
    if (!options_.remove_others && !options_.dry_run) {
      Report(path, {Code::kNotDirectory, "a file is in the way (--delete removes it)"});
      return {};
    }
    if (!options_.dry_run) Report(path, RemoveBelow(fd->get(), entry.name));
  }
  if (!there || !S_ISDIR(st.st_mode)) {
    observer_.Changed(path, "mkdir");
    if (options_.dry_run) return RestoreDirectory(entry, nullptr, path, depth + 1);
    if (::mkdirat(fd->get(), entry.name.c_str(), 0700) != 0) {
      Report(path, Status::FromErrno(errno, "mkdir"));
      return {};
    }
  }
  auto below = std::make_shared<UniqueFd>(
      ::openat(fd->get(), entry.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!below->valid()) {
    Report(path, Status::FromErrno(errno, "open"));
    return {};
  }
  // Its times and mode come last: filling it changes the one and may need the other.
  LateDirectory late{path, entry};
  late.entry.extents.clear();
  directories_.push_back(std::move(late));
  return RestoreDirectory(entry, below, path, depth + 1);
}

Status RestoreRun::RestoreEntry(Entry entry, const SharedFd& fd, const std::string& path,
                                int depth) {
  if (entry.is_directory()) return EnterDirectory(entry, fd, path, depth);
  Count([](RestoreCounts& counts) { ++counts.files; });
  if (entry.link_group != 0) {
    auto [it, is_first] = first_names_.try_emplace(entry.link_group, path);
    if (!is_first) {
      links_.push_back({path, std::move(entry), it->second});
      return {};
    }
  }
  pool_->Submit([this, entry = std::move(entry), fd, path] {
    RestoreFile(entry, fd ? fd->get() : -1, path);
  });
  return {};
}

Status RestoreRun::RemoveOthers(int dir, const std::string& path,
                                const std::set<std::string>& wanted) {
  DIR* listing = ::fdopendir(::fcntl(dir, F_DUPFD_CLOEXEC, 0));
  if (!listing) return Status::FromErrno(errno, "list");
  ::rewinddir(listing);
  std::vector<std::string> others;
  while (const dirent* entry = ::readdir(listing)) {
    const std::string name = entry->d_name;
    if (name != "." && name != ".." && !wanted.contains(name) &&
        !name.starts_with(".bkfs-restore-")) {
      others.push_back(name);
    }
  }
  ::closedir(listing);
  for (const auto& name : others) {
    observer_.Changed(Join(path, name), "delete");
    Count([](RestoreCounts& counts) { ++counts.removed; });
    if (!options_.dry_run) Report(Join(path, name), RemoveBelow(dir, name));
  }
  return {};
}

Status RestoreRun::RestoreDirectory(const Entry& dir, const SharedFd& fd, const std::string& path,
                                    int depth) {
  if (depth > 2000) return {Code::kTooLarge, path + ": nested too deeply"};
  std::set<std::string> wanted;
  Status walked = repo_.trees().ForEach(
      dir.directory, 0, [&](uint64_t, const DirectoryPtr& leaf, size_t index) -> Result<bool> {
        BKFS_TRY(CheckCancelled());
        Entry entry = leaf->entry(index);
        if (options_.remove_others) wanted.insert(entry.name);
        const std::string below = Join(path, entry.name);
        BKFS_TRY(RestoreEntry(std::move(entry), fd, below, depth));
        return true;
      });
  if (walked.Is(Code::kInterrupted)) return walked;
  if (!walked.ok()) {
    // A damaged directory: its name is told, the others go on. Nothing is deleted on its account.
    Report(path.empty() ? "." : path, walked);
    return {};
  }
  if (options_.remove_others && fd) BKFS_TRY(RemoveOthers(fd->get(), path, wanted));
  return {};
}

void RestoreRun::FinishDirectories() {
  for (auto it = directories_.rbegin(); it != directories_.rend(); ++it) {
    const size_t slash = it->path.rfind('/');
    const std::string parent = slash == std::string::npos ? "" : it->path.substr(0, slash);
    auto fd = OpenBelow(root_->get(), parent);
    Status status = fd.status();
    if (status.ok() && !HasMetadata(fd->get(), it->entry.name, it->entry, accounts_)) {
      status = ApplyEntry(fd->get(), it->entry.name, it->entry);
    }
    Report(it->path, status);
  }
}

Result<RestoreCounts> RestoreRun::Run(const Entry& source) {
  BKFS_TRY(Prepare());
  pool_ = std::make_unique<ThreadPool>(options_.threads, 64);
  Status status = source.is_directory() ? RestoreDirectory(source, root_, "", 0)
                                        : RestoreEntry(source, root_, source.name, 0);
  pool_->Drain();
  pool_.reset();
  BKFS_TRY(status);
  if (!options_.dry_run) {
    for (const auto& link : links_) Report(link.path, PlaceLink(link));
    FinishDirectories();
    if (source.is_directory()) Report(".", ApplyEntry(root_->get(), ".", source));
  }
  MutexLock lock(mutex_);
  return counts_;
}

}  // namespace

Result<RestoreCounts> RunRestore(Repository& repo, const Entry& source,
                                 const std::string& destination, const RestoreOptions& options,
                                 RestoreObserver& observer) {
  return RestoreRun(repo, destination, options, observer).Run(source);
}

}  // namespace bkfs

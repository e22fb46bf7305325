// SPDX-License-Identifier: Apache-2.0
#include "backends/local/local_backend.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <unordered_set>
#include <utility>
#include <vector>

#include "backends/local/files.h"
#include "backends/local/hot_files.h"
#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/mutex.h"
#include "engine/base/transfer.h"

namespace bkfs {

namespace {
constexpr char kTemporary[] = "_tmp";
constexpr int64_t kLeftoverSeconds = 24 * 3600;
constexpr size_t kHotFiles = 64;
constexpr size_t kSettledFolders = 4096;
constexpr int kRead = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;  // not stuck on a FIFO
constexpr int kFolder = O_RDONLY | O_DIRECTORY;
// Far above what the format allows; so a damaged or sparse file does not take all memory.
constexpr uint64_t kMaxObject = uint64_t{1} << 30;

struct SplitName {
  std::string folder;  // "" for the root
  std::string leaf;
};

SplitName Split(const std::string& name) {
  size_t slash = name.rfind('/');
  if (slash == std::string::npos) return {"", name};
  return {name.substr(0, slash), name.substr(slash + 1)};
}

std::string RandomFileName() {
  std::array<uint8_t, 16> raw{};
  while (::getrandom(raw.data(), raw.size(), 0) != static_cast<ssize_t>(raw.size())) {
  }
  return ToHex(raw);
}

// A file in "_tmp/" that goes away with this object unless it was renamed.
class TemporaryFile {
 public:
  TemporaryFile(int folder, std::string name, UniqueFd fd)
      : folder_(folder), name_(std::move(name)), fd_(std::move(fd)) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (!moved_) ::unlinkat(folder_, name_.c_str(), 0);
  }
  int fd() const { return fd_.get(); }
  Status MoveTo(int folder, const std::string& leaf, const std::string& path) {
    BKFS_TRY(RenameIfAbsent(folder_, name_, folder, leaf, path));
    moved_ = true;
    return {};
  }

 private:
  const int folder_;
  const std::string name_;
  const UniqueFd fd_;
  bool moved_ = false;
};

class LocalBackend final : public Backend {
 public:
  LocalBackend(std::string path, UniqueFd root)
      : path_(std::move(path)), root_(std::move(root)), hot_(kHotFiles) {}

  void RemoveLeftovers();

  Result<Bytes> Get(const std::string& name) override;
  Status ReadAt(const std::string& name, uint64_t offset, MutableByteView out) override;
  Status Put(const std::string& name, std::span<const ByteView> parts) override;
  Result<uint64_t> Size(const std::string& name) override;
  Result<int64_t> ModifiedAt(const std::string& name) override;
  Status List(const std::string& prefix,
              const std::function<Status(const std::string& name, uint64_t size)>& visit) override;
  Status Remove(const std::string& name) override;
  Result<StoreSpace> Space() override;
  std::string Describe() const override { return path_; }

 private:
  using Visit = std::function<Status(const std::string& name, uint64_t size)>;
  struct OpenObject {
    HotFiles::File file;
    uint64_t size = 0;
  };

  std::string PathOf(const std::string& name) const { return path_ + "/" + name; }
  Result<OpenObject> Open(const std::string& name);
  Result<UniqueFd> FolderForPut(const std::string& folder, const std::string& path)
      BKFS_EXCLUDES(mutex_);
  Status PutInto(const std::string& leaf, int folder, std::span<const ByteView> parts,
                 const std::string& path);
  Status ListFolder(UniqueFd folder, const std::string& prefix, const Visit& visit);
  Status ListEntry(int folder, const char* leaf, const std::string& name, const Visit& visit);

  const std::string path_;
  const UniqueFd root_;
  HotFiles hot_;
  Mutex mutex_;  // a leaf
  // Folders whose own entries this process has synced, so that Put need not do it each time.
  std::unordered_set<std::string> settled_ BKFS_GUARDED_BY(mutex_);
};

// The size of an open object; kNotFound for what is no file (an object's name may be a folder's).
Result<uint64_t> FileSize(int fd, const std::string& path) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return LocalError(errno, path);
  if (!S_ISREG(st.st_mode) || st.st_nlink == 0) return Status(Code::kNotFound, path + ": no file");
  return static_cast<uint64_t>(st.st_size);
}

Result<LocalBackend::OpenObject> LocalBackend::Open(const std::string& name) {
  BKFS_TRY(CheckObjectName(name));
  const std::string path = PathOf(name);
  if (HotFiles::File file = hot_.Find(name)) {
    Result<uint64_t> size = FileSize(file->get(), path);
    if (size.ok()) return OpenObject{std::move(file), *size};
    hot_.Drop(name);  // somebody else removed it
  }
  BKFS_ASSIGN(UniqueFd fd, OpenBelow(root_.get(), name, kRead, path));
  BKFS_ASSIGN(uint64_t size, FileSize(fd.get(), path));
  return OpenObject{std::make_shared<const UniqueFd>(std::move(fd)), size};
}

Result<Bytes> LocalBackend::Get(const std::string& name) {
  BKFS_ASSIGN(OpenObject object, Open(name));
  if (object.size > kMaxObject) {
    return Status(Code::kTooLarge, PathOf(name) + " is larger than any object of a repository");
  }
  Bytes data(object.size);
  BKFS_TRY(PreadAll(object.file->get(), data, 0, PathOf(name)));
  BKFS_TRY(TellReceivedAll(data.size()));
  return data;
}

Status LocalBackend::ReadAt(const std::string& name, uint64_t offset, MutableByteView out) {
  BKFS_ASSIGN(OpenObject object, Open(name));
  if (offset > object.size || out.size() > object.size - offset) {
    return {Code::kCorrupt, PathOf(name) + " ends too early: it has been cut"};
  }
  BKFS_TRY(PreadAll(object.file->get(), out, offset, PathOf(name)));
  hot_.Keep(name, std::move(object.file));
  return TellReceivedAll(out.size());
}

Result<uint64_t> LocalBackend::Size(const std::string& name) {
  BKFS_ASSIGN(OpenObject object, Open(name));
  return object.size;
}

Result<int64_t> LocalBackend::ModifiedAt(const std::string& name) {
  BKFS_ASSIGN(OpenObject object, Open(name));
  struct stat st {};
  if (::fstat(object.file->get(), &st) != 0) return LocalError(errno, PathOf(name));
  return int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec;
}

Result<UniqueFd> LocalBackend::FolderForPut(const std::string& folder, const std::string& path) {
  bool settled = false;
  {
    MutexLock lock(mutex_);
    settled = settled_.contains(folder);
  }
  if (settled) {
    Result<UniqueFd> open = OpenBelow(root_.get(), folder.empty() ? "." : folder, kFolder, path);
    if (open.code() != Code::kNotFound) return open;  // else somebody removed it: make it again
  }
  BKFS_ASSIGN(UniqueFd made, MakeFolderBelow(root_.get(), folder, path));
  MutexLock lock(mutex_);
  if (settled_.size() >= kSettledFolders) settled_.clear();
  settled_.insert(folder);
  return made;
}

Status LocalBackend::Put(const std::string& name, std::span<const ByteView> parts) {
  BKFS_TRY(CheckObjectName(name));
  const std::string path = PathOf(name);
  const auto [folder_name, leaf] = Split(name);
  BKFS_ASSIGN(UniqueFd folder, FolderForPut(folder_name, path));
  struct stat st {};
  Status status(Code::kExists, path + " is there already");
  // Asked first to save the writing; RenameIfAbsent is what decides.
  if (::fstatat(folder.get(), leaf.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    status = PutInto(leaf, folder.get(), parts, path);
  } else if (S_ISDIR(st.st_mode)) {
    return {Code::kIsDirectory, path + " is a folder of other objects"};
  }
  if (!status.ok() && !status.Is(Code::kExists)) return status;
  // Also for kExists: the caller will rely on the object, and who put it may not have synced yet.
  BKFS_TRY(SyncFolder(folder.get(), path));
  return status;
}

Status LocalBackend::PutInto(const std::string& leaf, int folder, std::span<const ByteView> parts,
                             const std::string& path) {
  BKFS_ASSIGN(UniqueFd temporary, FolderForPut(kTemporary, path));
  std::string name = RandomFileName();
  int fd = ::openat(temporary.get(), name.c_str(),
                    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return LocalError(errno, path);
  TemporaryFile file(temporary.get(), std::move(name), UniqueFd(fd));
  BKFS_TRY(WriteParts(file.fd(), parts, path));
  if (::fdatasync(file.fd()) != 0) return LocalError(errno, path);
  return file.MoveTo(folder, leaf, path);
}

Status LocalBackend::Remove(const std::string& name) {
  BKFS_TRY(CheckObjectName(name));
  const std::string path = PathOf(name);
  const auto [folder_name, leaf] = Split(name);
  BKFS_ASSIGN(UniqueFd folder,
              OpenBelow(root_.get(), folder_name.empty() ? "." : folder_name, kFolder, path));
  struct stat st {};
  if (::fstatat(folder.get(), leaf.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    return LocalError(errno, path);
  }
  if (S_ISLNK(st.st_mode)) return LocalError(ELOOP, path);
  if (!S_ISREG(st.st_mode)) return {Code::kNotFound, path + ": no file"};
  hot_.Drop(name);
  if (::unlinkat(folder.get(), leaf.c_str(), 0) != 0) return LocalError(errno, path);
  return SyncFolder(folder.get(), path);
}

Status LocalBackend::List(const std::string& prefix, const Visit& visit) {
  BKFS_TRY(CheckObjectPrefix(prefix));
  const std::string folder = prefix.empty() ? "." : prefix.substr(0, prefix.size() - 1);
  Result<UniqueFd> fd = OpenBelow(root_.get(), folder, kFolder, PathOf(prefix));
  if (fd.code() == Code::kNotFound) return {};
  if (!fd.ok()) return fd.status();
  return ListFolder(std::move(*fd), prefix, visit);
}

// Recurses no deeper than a name has words, with one descriptor a level.
Status LocalBackend::ListFolder(UniqueFd folder, const std::string& prefix, const Visit& visit) {
  const std::string path = PathOf(prefix);
  BKFS_ASSIGN(UniqueDir dir, OpenDir(std::move(folder), path));
  for (;;) {
    BKFS_ASSIGN(const char* leaf, NextName(dir.get(), path));
    if (leaf == nullptr) return {};
    std::string name = prefix + leaf;
    if (!CheckObjectName(name).ok()) continue;  // "_tmp" and whatever people put there
    BKFS_TRY(ListEntry(::dirfd(dir.get()), leaf, name, visit));
  }
}

Status LocalBackend::ListEntry(int folder, const char* leaf, const std::string& name,
                               const Visit& visit) {
  struct stat st {};
  if (::fstatat(folder, leaf, &st, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return {};  // removed meanwhile
    return LocalError(errno, PathOf(name));
  }
  if (S_ISREG(st.st_mode)) return visit(name, static_cast<uint64_t>(st.st_size));
  if (!S_ISDIR(st.st_mode)) return {};
  Result<UniqueFd> below = OpenBelow(folder, leaf, kFolder, PathOf(name));
  if (below.code() == Code::kNotFound) return {};
  if (!below.ok()) return below.status();
  return ListFolder(std::move(*below), name + "/", visit);
}

Result<StoreSpace> LocalBackend::Space() {
  struct statvfs st {};
  if (::fstatvfs(root_.get(), &st) != 0) return LocalError(errno, path_);
  return StoreSpace{.total = uint64_t{st.f_blocks} * st.f_frsize,
                    .available = uint64_t{st.f_bavail} * st.f_frsize};
}

// What goes wrong here is of no consequence: the next open tries again.
void LocalBackend::RemoveLeftovers() {
  auto folder = OpenBelow(root_.get(), kTemporary, kFolder, path_);
  if (!folder.ok()) return;
  auto dir = OpenDir(std::move(*folder), path_);
  if (!dir.ok()) return;
  const int64_t now = SystemClock().WallNanos() / 1'000'000'000;
  for (;;) {
    auto name = NextName(dir->get(), path_);
    if (!name.ok() || *name == nullptr) return;
    struct stat st {};
    int fd = ::dirfd(dir->get());
    if (::fstatat(fd, *name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)) continue;
    if (now - st.st_mtim.tv_sec > kLeftoverSeconds) ::unlinkat(fd, *name, 0);
  }
}

// Makes the folder and what is missing above it, durable in the parent of each.
Status MakeRoot(const std::string& path) {
  std::vector<std::string> made;
  std::error_code error;
  std::filesystem::path at = std::filesystem::absolute(path, error);
  if (error) return LocalError(error.value(), path);
  at = at.lexically_normal();
  while (at.has_relative_path() && !std::filesystem::exists(at, error)) {
    made.push_back(at.parent_path().string());
    at = at.parent_path();
  }
  BKFS_TRY(MakeDirectories(path, 0700));
  for (const std::string& parent : made) BKFS_TRY(SyncDirectory(parent));
  return {};
}
}  // namespace

Result<std::unique_ptr<Backend>> OpenLocalBackend(const std::string& path, bool create) {
  if (create) BKFS_TRY(MakeRoot(path));
  Result<UniqueFd> root = OpenFile(path, kFolder);
  if (root.code() == Code::kNotFound) {
    return Status(Code::kNoRepository, path + " is not there");
  }
  if (!root.ok()) return root.status();
  auto backend = std::make_unique<LocalBackend>(path, std::move(*root));
  if (::access(path.c_str(), W_OK) == 0) backend->RemoveLeftovers();
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace bkfs

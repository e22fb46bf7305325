// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "engine/base/fd.h"
#include "fs/fuse/session.h"
#include "tests/fs/tree_under_test.h"

namespace bkfs {

namespace {

int Outcome(int64_t result) { return result < 0 ? errno : 0; }

class MountedTree final : public TreeUnderTest {
 public:
  MountedTree(FileSystem& fs, Logger& log, bool read_only) {
    FuseSession::Options options;
    options.source = "test";
    options.mountpoint = folder_.path();
    options.read_only = read_only;
    options.threads = 3;
    auto session = FuseSession::Mount(fs, options, log);
    EXPECT_TRUE(IsOk(session));
    session_ = std::move(*session);
    Mutex mutex;
    CondVar changed;
    bool ready = false;
    runner_ = std::thread([&, this] {
      EXPECT_TRUE(IsOk(session_->Run([&] {
        MutexLock lock(mutex);
        ready = true;
        changed.NotifyAll();
      })));
    });
    MutexLock lock(mutex);
    while (!ready) changed.Wait(mutex);
  }
  ~MountedTree() override {
    session_->Stop();
    runner_.join();
    session_.reset();
  }

  int MakeDir(const std::string& path, uint32_t mode) override {
    return Outcome(::mkdir(At(path).c_str(), mode));
  }
  int WriteFile(const std::string& path, ByteView data) override {
    return WriteOpen(path, O_CREAT | O_TRUNC, 0, data);
  }
  int WriteAt(const std::string& path, uint64_t offset, ByteView data) override {
    return WriteOpen(path, 0, offset, data);
  }
  int ReadFile(const std::string& path, Bytes& out) override {
    struct stat st {};
    if (::stat(At(path).c_str(), &st) != 0) return errno;
    return ReadAt(path, 0, static_cast<size_t>(st.st_size), out);
  }
  int ReadAt(const std::string& path, uint64_t offset, size_t size, Bytes& out) override {
    const UniqueFd fd(::open(At(path).c_str(), O_RDONLY));
    if (!fd.valid()) return errno;
    out.resize(size);
    size_t done = 0;
    while (done < size) {
      const ssize_t n =
          ::pread(fd.get(), out.data() + done, size - done, static_cast<off_t>(offset + done));
      if (n < 0) return errno;
      if (n == 0) break;
      done += static_cast<size_t>(n);
    }
    out.resize(done);
    return 0;
  }
  int Truncate(const std::string& path, uint64_t size) override {
    return Outcome(::truncate(At(path).c_str(), static_cast<off_t>(size)));
  }
  int Rename(const std::string& from, const std::string& to, unsigned flags) override {
    return Outcome(::renameat2(AT_FDCWD, At(from).c_str(), AT_FDCWD, At(to).c_str(), flags));
  }
  int Link(const std::string& from, const std::string& to) override {
    return Outcome(::link(At(from).c_str(), At(to).c_str()));
  }
  int Symlink(const std::string& target, const std::string& path) override {
    return Outcome(::symlink(target.c_str(), At(path).c_str()));
  }
  int ReadLink(const std::string& path, std::string& out) override {
    char buffer[5000];
    const ssize_t n = ::readlink(At(path).c_str(), buffer, sizeof buffer);
    if (n >= 0) out.assign(buffer, static_cast<size_t>(n));
    return Outcome(n);
  }
  int Unlink(const std::string& path) override { return Outcome(::unlink(At(path).c_str())); }
  int Rmdir(const std::string& path) override { return Outcome(::rmdir(At(path).c_str())); }
  int List(const std::string& path, std::vector<std::string>& out) override {
    DIR* dir = ::opendir(At(path).c_str());
    if (!dir) return errno;
    errno = 0;
    while (const dirent* entry = ::readdir(dir)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") out.push_back(name);
      errno = 0;
    }
    const int error = errno;
    ::closedir(dir);
    std::sort(out.begin(), out.end());
    return error;
  }
  int GetStat(const std::string& path, Stat& out) override {
    struct stat st {};
    if (::lstat(At(path).c_str(), &st) != 0) return errno;
    out.ino = st.st_ino;
    out.kind = S_ISDIR(st.st_mode)   ? EntryKind::kDirectory
               : S_ISLNK(st.st_mode) ? EntryKind::kSymlink
                                     : EntryKind::kFile;
    out.mode = st.st_mode & 07777;
    out.nlink = static_cast<uint32_t>(st.st_nlink);
    out.size = static_cast<uint64_t>(st.st_size);
    out.mtime = {st.st_mtim.tv_sec, static_cast<uint32_t>(st.st_mtim.tv_nsec)};
    return 0;
  }
  int Chmod(const std::string& path, uint32_t mode) override {
    return Outcome(::chmod(At(path).c_str(), mode));
  }
  int SetTime(const std::string& path, Timestamp mtime) override {
    const timespec time{mtime.seconds, static_cast<long>(mtime.nanos)};
    const timespec times[2] = {time, time};
    return Outcome(::utimensat(AT_FDCWD, At(path).c_str(), times, AT_SYMLINK_NOFOLLOW));
  }
  int SetXattr(const std::string& path, const std::string& name, const std::string& value,
               XattrMode mode) override {
    const int flags = mode == XattrMode::kCreate    ? XATTR_CREATE
                      : mode == XattrMode::kReplace ? XATTR_REPLACE
                                                    : 0;
    return Outcome(::setxattr(At(path).c_str(), name.c_str(), value.data(), value.size(), flags));
  }
  int GetXattr(const std::string& path, const std::string& name, std::string& out) override {
    out.resize(70000);
    const ssize_t n = ::getxattr(At(path).c_str(), name.c_str(), out.data(), out.size());
    out.resize(n < 0 ? 0 : static_cast<size_t>(n));
    return Outcome(n);
  }
  int RemoveXattr(const std::string& path, const std::string& name) override {
    return Outcome(::removexattr(At(path).c_str(), name.c_str()));
  }
  int Allocate(const std::string& path, int mode, uint64_t offset, uint64_t length) override {
    const UniqueFd fd(::open(At(path).c_str(), O_WRONLY));
    if (!fd.valid()) return errno;
    return Outcome(
        ::fallocate(fd.get(), mode, static_cast<off_t>(offset), static_cast<off_t>(length)));
  }
  int Seek(const std::string& path, bool hole, uint64_t offset, uint64_t& out) override {
    const UniqueFd fd(::open(At(path).c_str(), O_RDONLY));
    if (!fd.valid()) return errno;
    const off_t at = ::lseek(fd.get(), static_cast<off_t>(offset), hole ? SEEK_HOLE : SEEK_DATA);
    out = static_cast<uint64_t>(at);
    return Outcome(at);
  }
  int Sync(const std::string& directory) override {
    const UniqueFd fd(::open(At(directory).c_str(), O_RDONLY | O_DIRECTORY));
    if (!fd.valid()) return errno;
    return Outcome(::fsync(fd.get()));
  }

 private:
  std::string At(const std::string& path) const { return folder_.path() + path; }
  int WriteOpen(const std::string& path, int flags, uint64_t offset, ByteView data) {
    UniqueFd fd(::open(At(path).c_str(), O_WRONLY | flags, 0644));
    if (!fd.valid()) return errno;
    size_t done = 0;
    while (done < data.size()) {
      const ssize_t n = ::pwrite(fd.get(), data.data() + done, data.size() - done,
                                 static_cast<off_t>(offset + done));
      if (n < 0) return errno;
      done += static_cast<size_t>(n);
    }
    return Outcome(::close(fd.Release()));
  }

  ScratchFolder folder_;
  std::unique_ptr<FuseSession> session_;
  std::thread runner_;
};

}  // namespace

std::unique_ptr<TreeUnderTest> NewMountedTree(FileSystem& fs, Logger& log, bool read_only) {
  return std::make_unique<MountedTree>(fs, log, read_only);
}

}  // namespace bkfs

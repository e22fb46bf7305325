// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "fs/fuse/errno.h"
#include "tests/fs/tree_under_test.h"

namespace bkfs {

namespace {

int ErrnoOf(const Status& status) { return status.ok() ? 0 : bkfs::ErrnoOf(status.code()); }
constexpr Caller kRootUser{0, 0, 022};

// The part of the kernel, as far as paths go: each lookup is given back when the call is done.
class InProcessTree final : public TreeUnderTest {
 public:
  explicit InProcessTree(FileSystem& fs) : fs_(fs) {}

  int MakeDir(const std::string& path, uint32_t mode) override {
    return Make(path, {.kind = EntryKind::kDirectory, .mode = static_cast<uint16_t>(mode)});
  }
  int Symlink(const std::string& target, const std::string& path) override {
    return Make(path, {.kind = EntryKind::kSymlink, .mode = 0777, .target = target});
  }
  int WriteFile(const std::string& path, ByteView data) override {
    Walk walk(fs_);
    Ino dir = 0;
    std::string name;
    if (int error = walk.Parent(path, dir, name)) return error;
    auto node = fs_.Lookup(kRootUser, dir, name);
    OpenRequest how{.write = true, .truncate = node.ok()};
    if (node.code() == Code::kNotFound) {
      node = fs_.Create(kRootUser, dir, name, {.mode = 0644});
    }
    if (!node.ok()) return ErrnoOf(node.status());
    walk.Keep(node->attr.ino);
    return WriteOpen(node->attr.ino, how, 0, data);
  }
  int WriteAt(const std::string& path, uint64_t offset, ByteView data) override {
    return With(path, [&](Ino ino) { return WriteOpen(ino, {.write = true}, offset, data); });
  }
  int ReadFile(const std::string& path, Bytes& out) override {
    Stat stat;
    if (int error = GetStat(path, stat)) return error;
    return ReadAt(path, 0, stat.size, out);
  }
  int ReadAt(const std::string& path, uint64_t offset, size_t size, Bytes& out) override {
    return With(path, [&](Ino ino) {
      auto opened = fs_.Open(kRootUser, ino, {});
      if (!opened.ok()) return ErrnoOf(opened.status());
      out.resize(size);
      auto n = fs_.Read(ino, opened->handle, offset, out);
      fs_.Release(ino, opened->handle);
      if (n.ok()) out.resize(*n);
      return ErrnoOf(n.status());
    });
  }
  int Truncate(const std::string& path, uint64_t size) override {
    SetAttrRequest request;
    request.change.size = size;
    return Set(path, request);
  }
  int Chmod(const std::string& path, uint32_t mode) override {
    SetAttrRequest request;
    request.change.mode = static_cast<uint16_t>(mode);
    return Set(path, request);
  }
  int SetTime(const std::string& path, Timestamp mtime) override {
    SetAttrRequest request;
    request.change.mtime = mtime;
    return Set(path, request);
  }
  int Rename(const std::string& from, const std::string& to, unsigned flags) override {
    Walk walk(fs_);
    Ino dir = 0;
    Ino new_dir = 0;
    std::string name;
    std::string new_name;
    if (int error = walk.Parent(from, dir, name)) return error;
    if (int error = walk.Parent(to, new_dir, new_name)) return error;
    return ErrnoOf(fs_.Rename(dir, name, new_dir, new_name, flags));
  }
  int Link(const std::string& from, const std::string& to) override {
    Walk walk(fs_);
    Ino ino = 0;
    Ino dir = 0;
    std::string name;
    if (int error = walk.Find(from, ino)) return error;
    if (int error = walk.Parent(to, dir, name)) return error;
    auto node = fs_.Link(ino, dir, name);
    if (node.ok()) walk.Keep(node->attr.ino);
    return ErrnoOf(node.status());
  }
  int ReadLink(const std::string& path, std::string& out) override {
    return With(
        path, [&](Ino ino) { return Take(fs_.ReadLink(ino), out); }, false);
  }
  int Unlink(const std::string& path) override {
    return AtName(path,
                  [&](Ino dir, const std::string& name) { return ErrnoOf(fs_.Unlink(dir, name)); });
  }
  int Rmdir(const std::string& path) override {
    return AtName(path,
                  [&](Ino dir, const std::string& name) { return ErrnoOf(fs_.Rmdir(dir, name)); });
  }
  // In small pieces, each beginning where the one before ended.
  int List(const std::string& path, std::vector<std::string>& out) override {
    return With(path, [&](Ino ino) {
      auto opened = fs_.OpenDir(ino);
      if (!opened.ok()) return ErrnoOf(opened.status());
      uint64_t from = 0;
      for (bool with_nodes = false;; with_nodes = !with_nodes) {
        int room = 7;
        bool any = false;
        Status status = fs_.ReadDir(ino, from, with_nodes, [&](const DirItem& item) {
          if (room-- == 0) return false;
          any = true;
          from = item.next;
          if (item.node != nullptr) fs_.Forget(item.node->attr.ino, 1);
          if (item.name != "." && item.name != "..") out.emplace_back(item.name);
          return true;
        });
        if (!status.ok() || !any) {
          std::sort(out.begin(), out.end());
          return ErrnoOf(status);
        }
      }
    });
  }
  int GetStat(const std::string& path, Stat& out) override {
    return With(
        path,
        [&](Ino ino) {
          auto node = fs_.GetAttr(ino);
          if (!node.ok()) return ErrnoOf(node.status());
          const Attr& attr = node->attr;
          out = {attr.ino, attr.kind, attr.mode, attr.nlink, attr.size, attr.mtime};
          return 0;
        },
        false);
  }
  int SetXattr(const std::string& path, const std::string& name, const std::string& value,
               XattrMode mode) override {
    return With(path,
                [&](Ino ino) { return ErrnoOf(fs_.SetXattr(kRootUser, ino, name, value, mode)); });
  }
  int GetXattr(const std::string& path, const std::string& name, std::string& out) override {
    return With(path, [&](Ino ino) { return Take(fs_.GetXattr(ino, name), out); });
  }
  int RemoveXattr(const std::string& path, const std::string& name) override {
    return With(path, [&](Ino ino) { return ErrnoOf(fs_.RemoveXattr(ino, name)); });
  }
  int Allocate(const std::string& path, int mode, uint64_t offset, uint64_t length) override {
    return With(path, [&](Ino ino) {
      auto opened = fs_.Open(kRootUser, ino, {.write = true});
      if (!opened.ok()) return ErrnoOf(opened.status());
      Status status = fs_.Allocate(kRootUser, ino, opened->handle, mode, offset, length);
      if (status.ok()) status = fs_.Flush(ino, opened->handle);
      fs_.Release(ino, opened->handle);
      return ErrnoOf(status);
    });
  }
  int Seek(const std::string& path, bool hole, uint64_t offset, uint64_t& out) override {
    return With(path, [&](Ino ino) {
      const int error = Take(hole ? fs_.SeekHole(ino, offset) : fs_.SeekData(ino, offset), out);
      return error == ENOENT ? ENXIO : error;  // as the FUSE operation has it
    });
  }
  int Sync(const std::string& directory) override {
    return With(directory, [&](Ino ino) { return ErrnoOf(fs_.SyncDir(ino)); });
  }

 private:
  class Walk {
   public:
    explicit Walk(FileSystem& fs) : fs_(fs) {}
    ~Walk() {
      for (Ino ino : kept_) fs_.Forget(ino, 1);
    }
    void Keep(Ino ino) { kept_.push_back(ino); }
    // Follows symlinks on the way, and with `follow` a last one.
    int Find(std::string path, Ino& out, bool follow = false) {
      for (int links = 0; links < 10; ++links) {
        std::string rest;
        std::string target;
        if (int error = Step(path, follow, out, rest, target)) return error;
        if (target.empty()) return 0;
        path = std::filesystem::path(rest).lexically_normal().string();
      }
      return ELOOP;
    }
    int Parent(const std::string& path, Ino& dir, std::string& name) {
      const size_t slash = path.rfind('/');
      name = path.substr(slash + 1);
      if (int error = Find(path.substr(0, slash), dir, true)) return error;
      auto node = fs_.GetAttr(dir);
      if (!node.ok()) return ErrnoOf(node.status());
      return node->attr.kind == EntryKind::kDirectory ? 0 : ENOTDIR;
    }

   private:
    // As far as the first symlink to follow: its target then, and in `rest` the whole path with it
    // put in.
    int Step(const std::string& path, bool follow, Ino& out, std::string& rest,
             std::string& target) {
      out = kRootIno;
      for (size_t at = 0; at < path.size();) {
        const size_t end = std::min(path.find('/', at + 1), path.size());
        const std::string name = path.substr(at + 1, end - at - 1);
        if (!name.empty()) {
          auto node = fs_.Lookup(kRootUser, out, name);
          if (!node.ok()) return ErrnoOf(node.status());
          Keep(node->attr.ino);
          if (node->attr.kind == EntryKind::kSymlink && (follow || end < path.size())) {
            auto link = fs_.ReadLink(node->attr.ino);
            if (!link.ok()) return ErrnoOf(link.status());
            target = *link;
            rest = path.substr(0, at + 1) + target + path.substr(end);
            return 0;
          }
          if (end < path.size() && node->attr.kind != EntryKind::kDirectory) return ENOTDIR;
          out = node->attr.ino;
        }
        at = end;
      }
      return 0;
    }

    FileSystem& fs_;
    std::vector<Ino> kept_;
  };

  template <typename T>
  static int Take(Result<T> result, T& out) {
    if (!result.ok()) return ErrnoOf(result.status());
    out = std::move(result).value();
    return 0;
  }
  template <typename Body>
  int With(const std::string& path, const Body& body, bool follow = true) {
    Walk walk(fs_);
    Ino ino = 0;
    if (int error = walk.Find(path, ino, follow)) return error;
    return body(ino);
  }
  template <typename Body>
  int AtName(const std::string& path, const Body& body) {
    Walk walk(fs_);
    Ino dir = 0;
    std::string name;
    if (int error = walk.Parent(path, dir, name)) return error;
    return body(dir, name);
  }
  int Make(const std::string& path, const NewNode& how) {
    Walk walk(fs_);
    Ino dir = 0;
    std::string name;
    if (int error = walk.Parent(path, dir, name)) return error;
    auto node = fs_.Create(kRootUser, dir, name, how);
    if (node.ok()) walk.Keep(node->attr.ino);
    return ErrnoOf(node.status());
  }
  int Set(const std::string& path, const SetAttrRequest& request) {
    return With(path,
                [&](Ino ino) { return ErrnoOf(fs_.SetAttr(kRootUser, ino, request).status()); });
  }
  int WriteOpen(Ino ino, const OpenRequest& how, uint64_t offset, ByteView data) {
    auto opened = fs_.Open(kRootUser, ino, how);
    if (!opened.ok()) return ErrnoOf(opened.status());
    Status status = fs_.Write(kRootUser, ino, opened->handle, offset, data);
    if (status.ok()) status = fs_.Flush(ino, opened->handle);
    fs_.Release(ino, opened->handle);
    return ErrnoOf(status);
  }

  FileSystem& fs_;
};

}  // namespace

std::unique_ptr<TreeUnderTest> NewInProcessTree(FileSystem& fs) {
  return std::make_unique<InProcessTree>(fs);
}

TreeStack::TreeStack(bool mounted) : mounted_(mounted), faulty_(store_), test_(faulty_) {}
TreeStack::~TreeStack() { Down(); }

void TreeStack::Up(KeyMaterial key, const std::string& cache) {
  Down();
  const bool may_write = MayWrite(key.type);
  auto repo = test_.Open(std::move(key), test_.folder() + "/" + cache);
  ASSERT_TRUE(IsOk(repo));
  repo_ = std::move(*repo);
  lease_ = std::make_unique<ReaderLease>(*repo_, 16);
  if (may_write) {
    Staging::Options options;
    options.directory = repo_->local_directory() + "/staging";
    options.commit_idle_ns = 0;
    options.host = "host";
    options.readers = lease_.get();
    options.writer.keep_trying = true;  // as a mount has it
    auto staging = Staging::Open(*repo_, std::move(options));
    ASSERT_TRUE(IsOk(staging));
    staging_ = std::move(*staging);
  } else {
    ASSERT_TRUE(IsOk(lease_->Begin({})));
  }
  FileSystem::Options shown;
  shown.lease = lease_.get();
  fs_ = std::make_unique<FileSystem>(*repo_, staging_.get(), shown);
  tree_ = mounted_ ? NewMountedTree(*fs_, test_.log(), !may_write) : NewInProcessTree(*fs_);
}

void TreeStack::Down() {
  tree_.reset();
  fs_.reset();
  staging_.reset();
  lease_.reset();
  repo_.reset();
}

}  // namespace bkfs

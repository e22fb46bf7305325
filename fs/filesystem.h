// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/base/mutex.h"
#include "engine/repo/reader_lease.h"
#include "engine/repo/repository.h"
#include "engine/staging/staging.h"
#include "fs/catalog_keeper.h"
#include "fs/gone_names.h"
#include "fs/view.h"

namespace bkfs {

class IncomingView;
class SnapshotsView;
class LinksView;

// The whole mounted tree: /snapshots, /latest, /by-name and, if something may be written,
// /incoming. Its interface is View's; it finds the view that an inode belongs to and presents what
// that says. Knows nothing of FUSE: the same suite tests it in process and mounted. Thread-safe.
class FileSystem final : public View {
 public:
  struct Options {
    Caller owner;  // of the directories that are in no snapshot
    // Shown instead of what is stored.
    std::optional<uint32_t> uid;
    std::optional<uint32_t> gid;
    std::optional<uint16_t> umask;
    // Keeps what is open in /snapshots; null: nothing does. Outlives the filesystem.
    ReaderLease* lease = nullptr;
  };
  // `staging` is null when nothing can be written. References must outlive it.
  FileSystem(Repository& repo, Staging* staging, const Options& options);
  ~FileSystem() override;

  // Starts to watch for new snapshots; `notifier` may be null and must outlive Stop.
  void Start(KernelNotifier* notifier);
  void Stop();
  // The directory that is the daemon's own; empty when nothing can be written.
  std::string own_place() const;

  Result<Node> Lookup(const Caller& caller, Ino dir, std::string_view name) override;
  void Forget(Ino ino, uint64_t lookups) override;
  uint32_t KeepAbsence(Ino dir) override;
  Result<Node> GetAttr(Ino ino) override;
  Result<Node> SetAttr(const Caller& caller, Ino ino, const SetAttrRequest& request) override;
  Result<std::string> ReadLink(Ino ino) override;
  Status CheckWritable(Ino ino) override;
  Result<Node> Create(const Caller& caller, Ino dir, std::string_view name,
                      const NewNode& how) override;
  Result<Node> Link(Ino ino, Ino dir, std::string_view name) override;
  Status Unlink(Ino dir, std::string_view name) override;
  Status Rmdir(Ino dir, std::string_view name) override;
  Status Rename(Ino dir, std::string_view name, Ino new_dir, std::string_view new_name,
                unsigned flags) override;
  Result<Opened> OpenDir(Ino dir) override;
  void ReleaseDir(Ino dir, uint64_t handle) override;
  Status ReadDir(Ino dir, uint64_t from, bool with_nodes, const DirSink& sink) override;
  Status SyncDir(Ino dir) override;
  Result<Opened> Open(const Caller& caller, Ino ino, const OpenRequest& request) override;
  void Release(Ino ino, uint64_t handle) override;
  Result<size_t> Read(Ino ino, uint64_t handle, uint64_t offset, MutableByteView out) override;
  Status Write(const Caller& caller, Ino ino, uint64_t handle, uint64_t offset,
               ByteView data) override;
  Status Flush(Ino ino, uint64_t handle) override;
  Status Fsync(Ino ino, uint64_t handle) override;
  Status Allocate(const Caller& caller, Ino ino, uint64_t handle, int mode, uint64_t offset,
                  uint64_t length) override;
  Result<uint64_t> SeekData(Ino ino, uint64_t offset) override;
  Result<uint64_t> SeekHole(Ino ino, uint64_t offset) override;
  Result<std::string> GetXattr(Ino ino, std::string_view name) override;
  Result<std::vector<std::string>> ListXattrs(Ino ino) override;
  Status SetXattr(const Caller& caller, Ino ino, std::string_view name, std::string_view value,
                  XattrMode mode) override;
  Status RemoveXattr(Ino ino, std::string_view name) override;

  // Makes a snapshot of the series that an inode below /incoming belongs to.
  Result<SnapshotId> Commit(Ino ino);
  Result<SpaceInfo> Space() BKFS_EXCLUDES(space_mutex_);
  bool writable() const { return incoming_ != nullptr; }
  // Opening is never refused and never remembered, so the kernel need not ask. The answer is the
  // same each time.
  bool opens_are_free() const;
  Logger& log() { return repo_.log(); }

 private:
  View& ViewOf(Ino ino);
  Result<Node> Present(Result<Node> node) const;
  void Override(Attr& attr) const;

  Repository& repo_;
  Staging* const staging_;
  const Options options_;
  CatalogKeeper catalog_;
  std::unique_ptr<View> top_;
  std::unique_ptr<View> none_;  // for numbers that belong to no view
  std::unique_ptr<SnapshotsView> snapshots_;
  std::unique_ptr<LinksView> links_;
  std::unique_ptr<IncomingView> incoming_;
  std::unique_ptr<GoneNames> gone_;  // null when nothing can be written
  Mutex space_mutex_;                // a leaf
  Result<StoreSpace> AskSpace();

  SpaceInfo space_ BKFS_GUARDED_BY(space_mutex_);
  int64_t space_asked_ns_ BKFS_GUARDED_BY(space_mutex_) = 0;
};

// The checks of names that every operation starts with: kNameTooLong above 255 bytes, kInvalid for
// what no directory can hold.
Status CheckName(std::string_view name);

}  // namespace bkfs

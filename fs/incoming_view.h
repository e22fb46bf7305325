// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <unordered_map>

#include "engine/base/mutex.h"
#include "engine/staging/staging.h"
#include "fs/catalog_keeper.h"
#include "fs/view.h"

namespace bkfs {

// The xattr that says how durable a node is; never listed, so that copying tools leave it.
constexpr std::string_view kStateXattr = "user.bkfs.state";

// /incoming: the series being staged, each a real filesystem. A thin layer over Staging, which adds
// what the kernel leaves to a filesystem: ACLs and the mode they mean, inheritance from the
// directory, and the loss of setuid, setgid and capabilities when somebody writes.
//
// At its top only directories live, each a series: mkdir begins one, rmdir ends its staging. fsync
// of a series' directory makes a snapshot.
class IncomingView final : public View {
 public:
  // `owner` owns the top. References must outlive it.
  IncomingView(Repository& repo, Staging& staging, CatalogKeeper& catalog, const Caller& owner);

  Result<Node> Lookup(const Caller& caller, Ino dir, std::string_view name) override;
  uint32_t KeepAbsence(Ino dir) override;
  Result<Node> GetAttr(Ino ino) override;
  Result<Node> SetAttr(const Caller& caller, Ino ino, const SetAttrRequest& request) override;
  Result<std::string> ReadLink(Ino ino) override;
  Status CheckWritable(Ino) override { return {}; }
  Result<Node> Create(const Caller& caller, Ino dir, std::string_view name,
                      const NewNode& how) override;
  Result<Node> Link(Ino ino, Ino dir, std::string_view name) override;
  Status Unlink(Ino dir, std::string_view name) override;
  Status Rmdir(Ino dir, std::string_view name) override;
  Status Rename(Ino dir, std::string_view name, Ino new_dir, std::string_view new_name,
                unsigned flags) override;
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

  // Makes a snapshot of the series that the node belongs to.
  Result<SnapshotId> Commit(Ino ino);

 private:
  // An open file. Shared between the table and operations at work on it.
  struct Handle {
    NodeId node = 0;
    bool writes = false;
    std::string text;                     // of .status, as it was when opened
    std::atomic<bool> dirty{false};       // written to since the last flush
    std::atomic<uint64_t> cleared_at{0};  // privileges_ when its file was last found without any
    std::atomic<bool> cleared_for_users{false};
  };
  using HandlePtr = std::shared_ptr<Handle>;

  Node TopNode();
  Node StatusNode();
  Status EndSeries(std::string_view name);
  Result<Node> CreateSeries(const Caller& caller, std::string_view name, const NewNode& how);
  Status ReadTop(uint64_t from, const DirSink& sink);
  Result<Opened> OpenStatus(const OpenRequest& request);
  uint64_t AddHandle(HandlePtr handle) BKFS_EXCLUDES(handles_mutex_);
  HandlePtr FindHandle(uint64_t handle) BKFS_EXCLUDES(handles_mutex_);

  static constexpr Ino kStatusIno = MakeIno(ViewTag::kIncoming, uint64_t{1} << 59);
  // Whether it is a node of a series' tree; the others are the top and .status.
  static bool IsNode(Ino ino) { return ino != kIncomingIno && ino != kStatusIno; }
  Status CheckNode(Ino ino) const;
  Status CheckDir(Ino dir) const;

  Status Inherit(const Caller& caller, const NodeAttr& parent, NewNode& how,
                 std::string& access_acl, std::string& default_acl);
  Status SetAcls(NodeId node, const std::string& access_acl, const std::string& default_acl);
  Status SetAccessAcl(const Caller& caller, const NodeAttr& attr, std::string_view value,
                      XattrMode mode);
  Status ChmodStoredAcl(const NodeAttr& attr, uint16_t mode);
  Status DropPrivileges(const Caller& caller, NodeId node);
  Status DropPrivilegesOnce(const Caller& caller, Handle& handle);
  Status DropCapabilities(const NodeAttr& attr);

  Repository& repo_;
  Staging& staging_;
  CatalogKeeper& catalog_;
  const Caller owner_;
  // Counts the changes that may have given a file setuid, setgid or capabilities, so that a handle
  // looks for them once and not before each write.
  std::atomic<uint64_t> privileges_{1};
  Mutex handles_mutex_;  // a leaf
  std::unordered_map<uint64_t, HandlePtr> handles_ BKFS_GUARDED_BY(handles_mutex_);
  uint64_t next_handle_ BKFS_GUARDED_BY(handles_mutex_) = 1;
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fs/types.h"

namespace bkfs {

// A part of the mounted tree, by inode number. What a view does not implement is refused as on a
// read-only filesystem. Operations are thread-safe and may block on the store; none answers later
// than it returns. Errors are POSIX's; an unknown inode is kStale.
//
// Lookups are counted: each successful Lookup, Create, Link and each DirItem with a node is one,
// which Forget takes back.
class View {
 public:
  virtual ~View() = default;

  virtual Result<Node> Lookup(const Caller& caller, Ino dir, std::string_view name) = 0;
  virtual void Forget(Ino ino, uint64_t lookups);
  // For how long "no such name" in this directory holds.
  virtual uint32_t KeepAbsence(Ino dir);
  virtual Result<Node> GetAttr(Ino ino) = 0;
  virtual Result<Node> SetAttr(const Caller& caller, Ino ino, const SetAttrRequest& request);
  virtual Result<std::string> ReadLink(Ino ino);
  virtual Status CheckWritable(Ino ino);  // for access(2)

  // Files, directories, links and special files; `how` comes with the caller's ids and the mode
  // before the umask.
  virtual Result<Node> Create(const Caller& caller, Ino dir, std::string_view name,
                              const NewNode& how);
  virtual Result<Node> Link(Ino ino, Ino dir, std::string_view name);
  virtual Status Unlink(Ino dir, std::string_view name);
  virtual Status Rmdir(Ino dir, std::string_view name);
  virtual Status Rename(Ino dir, std::string_view name, Ino new_dir, std::string_view new_name,
                        unsigned flags);

  virtual Result<Opened> OpenDir(Ino dir);
  virtual void ReleaseDir(Ino dir, uint64_t handle);
  virtual Status ReadDir(Ino dir, uint64_t from, bool with_nodes, const DirSink& sink) = 0;
  // fsync(2) of a directory.
  virtual Status SyncDir(Ino dir);

  virtual Result<Opened> Open(const Caller& caller, Ino ino, const OpenRequest& request);
  virtual void Release(Ino ino, uint64_t handle);
  virtual Result<size_t> Read(Ino ino, uint64_t handle, uint64_t offset, MutableByteView out);
  virtual Status Write(const Caller& caller, Ino ino, uint64_t handle, uint64_t offset,
                       ByteView data);
  virtual Status Flush(Ino ino, uint64_t handle);
  virtual Status Fsync(Ino ino, uint64_t handle);
  virtual Status Allocate(const Caller& caller, Ino ino, uint64_t handle, int mode, uint64_t offset,
                          uint64_t length);
  virtual Result<uint64_t> SeekData(Ino ino, uint64_t offset);
  virtual Result<uint64_t> SeekHole(Ino ino, uint64_t offset);

  virtual Result<std::string> GetXattr(Ino ino, std::string_view name);
  virtual Result<std::vector<std::string>> ListXattrs(Ino ino);
  virtual Status SetXattr(const Caller& caller, Ino ino, std::string_view name,
                          std::string_view value, XattrMode mode);
  virtual Status RemoveXattr(Ino ino, std::string_view name);
};

Status StaleInode(Ino ino);

// "." and "..", which take the cursors 1 and 2. False when the sink is full.
bool EmitDots(uint64_t from, Ino self, Ino parent, const DirSink& sink);
constexpr uint64_t kDots = 2;

}  // namespace bkfs

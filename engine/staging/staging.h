// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/format/tree.h"
#include "engine/repo/reader_lease.h"
#include "engine/repo/repository.h"

namespace bkfs {

// Number of a node in the staging trees. Never reused while the journal lives; 1..2^48.
using NodeId = uint64_t;

struct NodeAttr {
  NodeId id = 0;
  EntryKind kind = EntryKind::kFile;
  uint16_t mode = 0;  // low 12 bits
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 1;
  uint64_t size = 0;
  uint64_t allocated = 0;  // bytes that are not holes
  uint64_t rdev = 0;
  Timestamp atime;  // = mtime: access times are not kept
  Timestamp mtime;
  Timestamp ctime;
  Timestamp btime;
  bool has_xattrs = false;
};

// What setattr changes; absent fields stay.
struct AttrChange {
  std::optional<uint16_t> mode;
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::optional<uint64_t> size;
  std::optional<Timestamp> mtime;
  std::optional<Timestamp> ctime;  // otherwise now
};

// Who creates something and how.
struct NewNode {
  EntryKind kind = EntryKind::kFile;
  uint16_t mode = 0644;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t rdev = 0;
  std::string target = {};  // of a symlink
};

struct SeriesInfo {
  std::string name;
  NodeId root = 0;
  bool changed = false;           // differs from its last snapshot
  uint64_t open_for_writing = 0;  // files
  SnapshotId last_snapshot;       // zero: none
  int64_t last_snapshot_ns = 0;
  Status last_error;  // of the last attempt to make a snapshot
};

enum class XattrMode { kAny, kCreate, kReplace };

// The trees under /incoming: real filesystem semantics over the repository, journalled so that
// kill -9 loses nothing closed (design: Writing). Nodes live in the journal on disk; memory holds a
// bounded number of them and the unsettled bytes of files open for writing.
//
// Contents flow: Write buffers -> pieces are cut and given to the BlobWriter while writing goes on
// -> Flush (close) settles the rest, protects it and journals the file. Errors of storing are
// returned by Write, Flush, Fsync and Commit. Thread-safe.
//
// Errors as POSIX has them; kDenied where a WriteOnly key would have to read stored contents,
// kStale for a node that is no more; kIo for a file that was open while what had been
// written into it was deleted by maintenance.
class Staging {
 public:
  struct Options {
    std::string directory;  // journal and spool; made if missing, one process at a time
    int64_t commit_idle_ns = 10'000'000'000;  // 0: only when asked
    uint64_t journal_memory = 32ULL << 20;
    uint64_t dirty_limit = 64ULL << 20;  // unsettled bytes over all files
    // How long what is in no snapshot yet is kept from maintenance while this machine is off.
    int64_t lease_ttl_ns = 7LL * 24 * 3600 * 1'000'000'000;
    bool fsync_to_store = false;  // Fsync of a file waits for the store (fsync=store)
    std::string host;
    std::string user;
    WriterOptions writer;
    // Who reads snapshots of the same repository relies on this lease. May be null; outlives it.
    ReaderLease* readers = nullptr;
  };
  // kBusy when another process has the directory (the message says its pid). Recovers journal and
  // spool.
  static Result<std::unique_ptr<Staging>> Open(Repository& repo, Options options);
  virtual ~Staging() = default;

  // -- Series: the directories in /incoming --
  virtual Result<std::vector<SeriesInfo>> ListSeries() = 0;
  virtual Result<NodeAttr> LookupSeries(std::string_view name) = 0;
  // Begins a series, or adopts a known one with its latest state. kExists if it is staged already.
  virtual Result<NodeAttr> CreateSeries(std::string_view name, const NewNode& how) = 0;
  // Ends the staging of a series; snapshots stay. kNotEmpty when it holds changes that are in no
  // snapshot, kBusy when files of it are open for writing.
  virtual Status EndSeries(std::string_view name) = 0;
  // The tree goes on under another name, and its next snapshot is of that series; snapshots under
  // the old name stay. kNotEmpty when the new name is staged, unless as an empty directory that
  // never was in a snapshot.
  virtual Status RenameSeries(std::string_view name, std::string_view new_name) = 0;
  // The series a node belongs to.
  virtual Result<std::string> SeriesOf(NodeId node) = 0;

  // -- Names --
  virtual Result<NodeAttr> Lookup(NodeId parent, std::string_view name) = 0;
  virtual Result<NodeAttr> Create(NodeId parent, std::string_view name, const NewNode& how) = 0;
  virtual Result<NodeAttr> Link(NodeId node, NodeId parent, std::string_view name) = 0;
  virtual Status Unlink(NodeId parent, std::string_view name) = 0;
  virtual Status Rmdir(NodeId parent, std::string_view name) = 0;
  enum RenameFlags : unsigned { kNoReplace = 1, kExchange = 2 };  // as renameat2(2)
  virtual Status Rename(NodeId parent, std::string_view name, NodeId new_parent,
                        std::string_view new_name, unsigned flags) = 0;
  // Calls visit for entries after cursor `from` (0: from the start) until it returns false. Entries
  // added or removed meanwhile may or may not be seen; others exactly once. The parent directory is
  // `parent` below.
  using DirVisitor =
      std::function<bool(uint64_t next_cursor, std::string_view name, const NodeAttr&)>;
  virtual Status ReadDir(NodeId dir, uint64_t from, const DirVisitor& visit) = 0;
  virtual Result<NodeId> Parent(NodeId dir) = 0;  // 0 for a series' root

  // -- Attributes --
  virtual Result<NodeAttr> GetAttr(NodeId node) = 0;
  virtual Result<NodeAttr> SetAttr(NodeId node, const AttrChange& change) = 0;
  virtual Result<std::string> ReadLink(NodeId node) = 0;
  virtual Result<std::string> GetXattr(NodeId node, std::string_view name) = 0;
  virtual Result<std::vector<std::string>> ListXattrs(NodeId node) = 0;
  virtual Status SetXattr(NodeId node, std::string_view name, std::string_view value,
                          XattrMode mode) = 0;
  virtual Status RemoveXattr(NodeId node, std::string_view name) = 0;

  // -- Contents. A node with open handles stays usable after its last name is gone. --
  virtual Status OpenFile(NodeId node, bool for_writing, bool truncate) = 0;
  virtual void CloseFile(NodeId node, bool for_writing) = 0;
  virtual Result<size_t> Read(NodeId node, uint64_t offset, MutableByteView out) = 0;
  virtual Status Write(NodeId node, uint64_t offset, ByteView data) = 0;
  // O_APPEND: at the end, whatever it is; returns the offset.
  virtual Result<uint64_t> Append(NodeId node, ByteView data) = 0;
  // fallocate(2) with `mode` its FALLOC_FL_ flags; allocation reserves nothing, sizes and holes are
  // true.
  virtual Status Allocate(NodeId node, int mode, uint64_t offset, uint64_t length) = 0;
  virtual Result<uint64_t> SeekData(NodeId node, uint64_t offset) = 0;
  virtual Result<uint64_t> SeekHole(NodeId node, uint64_t offset) = 0;
  // close(2) of a handle: everything written through this node survives kill -9 when it returns.
  virtual Status Flush(NodeId node) = 0;
  virtual Status Fsync(NodeId node) = 0;

  // -- Snapshots --
  // Makes a snapshot of the series if it changed; returns its id, or the last one's if nothing did.
  // Durable in the store when it returns. Files open for writing are taken as they are now.
  virtual Result<SnapshotId> Commit(std::string_view series) = 0;
  // Commits every changed series and stores everything; at unmount.
  virtual Status CommitAll() = 0;
  // From now on snapshots are made by the calls above only; one that is being made by itself, and
  // waits for the store, is given up. By the thread that owns this.
  virtual void StopCommitting() = 0;
  // Heeds the maintenance log now; it is done by itself every ten minutes.
  virtual Status RenewLease() = 0;
  // "open" (has unsettled bytes), "spooled", "stored" (contents in the store), "snapshot" (in the
  // last snapshot too).
  virtual Result<std::string> State(NodeId node) = 0;
  // The text of /incoming/.status. Files that are gone because maintenance has deleted their data
  // (doc/maintenance.md, W4), or a power cut has, stand under "lost" of their series until the
  // first snapshot of it for which something was written after that.
  virtual Result<std::string> StatusText() = 0;
  // Bytes in use: for statfs.
  virtual uint64_t PendingBytes() = 0;
  // Names that have gone by themselves since the last call (see "lost" in StatusText): whoever
  // keeps names must forget them. None from before Open returned.
  struct GoneName {
    NodeId dir = 0;
    std::string name;
  };
  virtual std::vector<GoneName> TakeGone() = 0;
};

}  // namespace bkfs

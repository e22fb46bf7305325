// SPDX-License-Identifier: Apache-2.0
#include "fs/incoming_view.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "fs/posix_acl.h"

namespace bkfs {

namespace {
constexpr std::string_view kStatusName = ".status";

Ino InoOf(NodeId node) { return MakeIno(ViewTag::kIncoming, node); }

Node Shown(const NodeAttr& from) {
  Node node;
  Attr& attr = node.attr;
  attr.ino = InoOf(from.id);
  attr.kind = from.kind;
  attr.mode = from.mode;
  attr.uid = from.uid;
  attr.gid = from.gid;
  attr.nlink = from.nlink;
  attr.size = from.size;
  attr.allocated = from.allocated;
  attr.rdev = from.rdev;
  attr.atime = from.atime;
  attr.mtime = from.mtime;
  attr.ctime = from.ctime;
  attr.btime = from.btime;
  return node;
}

Result<Node> ShownResult(const Result<NodeAttr>& attr) {
  if (!attr.ok()) return attr.status();
  return Shown(*attr);
}

Status NotHere() {
  return {Code::kNotPermitted, "/incoming holds series, which are directories; nothing else"};
}
}  // namespace

IncomingView::IncomingView(Repository& repo, Staging& staging, CatalogKeeper& catalog,
                           const Caller& owner)
    : repo_(repo), staging_(staging), catalog_(catalog), owner_(owner) {}

Node IncomingView::TopNode() {
  Node node;
  node.keep_ms = kKeepShort;
  node.attr.ino = kIncomingIno;
  node.attr.kind = EntryKind::kDirectory;
  node.attr.mode = 0755;
  node.attr.nlink = 1;
  node.attr.uid = owner_.uid;
  node.attr.gid = owner_.gid;
  node.attr.mtime.seconds = repo_.clock().WallNanos() / 1'000'000'000;
  node.attr.atime = node.attr.ctime = node.attr.mtime;
  return node;
}

Node IncomingView::StatusNode() {
  Node node = TopNode();
  node.attr.ino = kStatusIno;
  node.attr.kind = EntryKind::kFile;
  node.attr.mode = 0444;
  return node;  // size 0: reads are direct and end where the text does, as in /proc
}

Status IncomingView::CheckNode(Ino ino) const {
  if (!IsNode(ino)) return NotHere();
  return {};
}

Status IncomingView::CheckDir(Ino dir) const {
  if (dir == kStatusIno) return {Code::kNotDirectory, "not a directory"};
  return CheckNode(dir);
}

// -- Names --

Result<Node> IncomingView::Lookup(const Caller&, Ino dir, std::string_view name) {
  if (dir != kIncomingIno) return ShownResult(staging_.Lookup(NumberOf(dir), name));
  if (name == kStatusName) return StatusNode();
  return ShownResult(staging_.LookupSeries(name));
}

uint32_t IncomingView::KeepAbsence(Ino dir) { return dir == kIncomingIno ? 0 : kKeepForever; }

Result<Node> IncomingView::CreateSeries(const Caller& caller, std::string_view name,
                                        const NewNode& how) {
  if (how.kind != EntryKind::kDirectory) return NotHere();
  NewNode made = how;
  made.mode &= static_cast<uint16_t>(~caller.umask);
  return ShownResult(staging_.CreateSeries(name, made));
}

Result<Node> IncomingView::Create(const Caller& caller, Ino dir, std::string_view name,
                                  const NewNode& how) {
  if (dir == kIncomingIno) return CreateSeries(caller, name, how);
  BKFS_TRY(CheckDir(dir));
  BKFS_ASSIGN(NodeAttr parent, staging_.GetAttr(NumberOf(dir)));
  NewNode made = how;
  std::string access_acl;
  std::string default_acl;
  BKFS_TRY(Inherit(caller, parent, made, access_acl, default_acl));
  BKFS_ASSIGN(NodeAttr attr, staging_.Create(parent.id, name, made));
  if (made.mode & (S_ISUID | S_ISGID)) ++privileges_;
  if (access_acl.empty() && default_acl.empty()) return Shown(attr);
  Status set = SetAcls(attr.id, access_acl, default_acl);
  if (!set.ok()) {
    // Better no node than one with other rights than it should have.
    Status undone = how.kind == EntryKind::kDirectory ? staging_.Rmdir(parent.id, name)
                                                      : staging_.Unlink(parent.id, name);
    if (!undone.ok()) repo_.log().Warning("cannot undo a creation: " + undone.message());
    return set;
  }
  return ShownResult(staging_.GetAttr(attr.id));
}

Result<Node> IncomingView::Link(Ino ino, Ino dir, std::string_view name) {
  BKFS_TRY(CheckDir(dir));
  BKFS_TRY(CheckNode(ino));
  return ShownResult(staging_.Link(NumberOf(ino), NumberOf(dir), name));
}

Status IncomingView::Unlink(Ino dir, std::string_view name) {
  BKFS_TRY(CheckDir(dir));
  return staging_.Unlink(NumberOf(dir), name);
}

Status IncomingView::Rmdir(Ino dir, std::string_view name) {
  if (dir == kIncomingIno) return EndSeries(name);
  BKFS_TRY(CheckDir(dir));
  return staging_.Rmdir(NumberOf(dir), name);
}

// The kernel's word that a handle is closed comes after close(2) has returned: what somebody has
// just closed counts as open for a moment.
Status IncomingView::EndSeries(std::string_view name) {
  for (int patience = 50;; --patience) {
    Status ended = staging_.EndSeries(name);
    if (!ended.Is(Code::kBusy) || patience == 0) return ended;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

Status IncomingView::Rename(Ino dir, std::string_view name, Ino new_dir, std::string_view new_name,
                            unsigned flags) {
  if (dir == kIncomingIno && new_dir == kIncomingIno) {
    if (name == kStatusName || new_name == kStatusName) {
      return {Code::kNotPermitted, "this name is not for series"};
    }
    if ((flags & ~unsigned{Staging::kNoReplace}) != 0) {
      return {Code::kInvalid, "series cannot be exchanged"};
    }
    if (flags != 0 && staging_.LookupSeries(new_name).ok()) {
      return {Code::kExists, "this series is there already"};
    }
    return staging_.RenameSeries(name, new_name);
  }
  if (dir == kIncomingIno || new_dir == kIncomingIno) {
    return {Code::kCrossDevice, "a series is no directory of another one"};
  }
  BKFS_TRY(CheckDir(dir));
  BKFS_TRY(CheckDir(new_dir));
  if (flags & ~unsigned{Staging::kNoReplace | Staging::kExchange}) {
    return {Code::kInvalid, "rename flags that are not supported"};
  }
  return staging_.Rename(NumberOf(dir), name, NumberOf(new_dir), new_name, flags);
}

Status IncomingView::ReadTop(uint64_t from, const DirSink& sink) {
  constexpr uint64_t kStatusCursor = kDots + 1;
  if (!EmitDots(from, kIncomingIno, kRootIno, sink)) return {};
  if (from < kStatusCursor &&
      !sink({kStatusName, kStatusCursor, kStatusIno, EntryKind::kFile, nullptr})) {
    return {};
  }
  BKFS_ASSIGN(std::vector<SeriesInfo> all, staging_.ListSeries());
  // By root node, which is never given again: a good cursor while series come and go.
  std::sort(all.begin(), all.end(),
            [](const SeriesInfo& a, const SeriesInfo& b) { return a.root < b.root; });
  for (const SeriesInfo& series : all) {
    uint64_t cursor = kStatusCursor + series.root;
    if (cursor <= from) continue;
    if (!sink({series.name, cursor, InoOf(series.root), EntryKind::kDirectory, nullptr})) break;
  }
  return {};
}

Status IncomingView::ReadDir(Ino dir, uint64_t from, bool with_nodes, const DirSink& sink) {
  if (dir == kIncomingIno) return ReadTop(from, sink);
  BKFS_TRY(CheckDir(dir));
  BKFS_ASSIGN(NodeId parent, staging_.Parent(NumberOf(dir)));
  if (!EmitDots(from, dir, parent == 0 ? kIncomingIno : InoOf(parent), sink)) return {};
  return staging_.ReadDir(
      NumberOf(dir), from < kDots ? 0 : from - kDots,
      [&](uint64_t next, std::string_view name, const NodeAttr& attr) {
        Node node = Shown(attr);
        return sink({name, next + kDots, node.attr.ino, attr.kind, with_nodes ? &node : nullptr});
      });
}

Status IncomingView::SyncDir(Ino dir) {
  if (dir == kStatusIno) return {};
  if (dir == kIncomingIno) {
    Status stored = staging_.CommitAll();
    catalog_.MarkStale();
    return stored;
  }
  BKFS_ASSIGN(NodeId parent, staging_.Parent(NumberOf(dir)));
  if (parent != 0) return staging_.Fsync(NumberOf(dir));
  return Commit(dir).status();
}

Result<SnapshotId> IncomingView::Commit(Ino ino) {
  if (!IsNode(ino)) return Status(Code::kInvalid, "not in a series' directory");
  BKFS_ASSIGN(std::string series, staging_.SeriesOf(NumberOf(ino)));
  auto id = staging_.Commit(series);
  catalog_.MarkStale();
  return id;
}

// -- Attributes --

Result<Node> IncomingView::GetAttr(Ino ino) {
  if (ino == kIncomingIno) return TopNode();
  if (ino == kStatusIno) return StatusNode();
  return ShownResult(staging_.GetAttr(NumberOf(ino)));
}

Result<std::string> IncomingView::ReadLink(Ino ino) {
  BKFS_TRY(CheckNode(ino));
  return staging_.ReadLink(NumberOf(ino));
}

// -- Contents --

uint64_t IncomingView::AddHandle(HandlePtr handle) {
  MutexLock lock(handles_mutex_);
  handles_[next_handle_] = std::move(handle);
  return next_handle_++;
}

IncomingView::HandlePtr IncomingView::FindHandle(uint64_t handle) {
  MutexLock lock(handles_mutex_);
  auto found = handles_.find(handle);
  return found == handles_.end() ? nullptr : found->second;
}

Result<Opened> IncomingView::OpenStatus(const OpenRequest& request) {
  if (request.write || request.truncate) return Status(Code::kDenied, ".status is only read");
  auto handle = std::make_shared<Handle>();
  BKFS_ASSIGN(handle->text, staging_.StatusText());
  const std::string refused = catalog_.refused().Text();
  if (!refused.empty()) handle->text += "\n" + refused;
  Opened opened;
  opened.handle = AddHandle(std::move(handle));
  opened.direct_io = true;
  return opened;
}

Result<Opened> IncomingView::Open(const Caller& caller, Ino ino, const OpenRequest& request) {
  if (ino == kStatusIno) return OpenStatus(request);
  if (ino == kIncomingIno) return Status(Code::kIsDirectory, "not a file");
  const NodeId node = NumberOf(ino);
  BKFS_TRY(staging_.OpenFile(node, request.write, request.truncate));
  if (request.truncate) {
    Status dropped = DropPrivileges(caller, node);
    if (!dropped.ok()) {
      staging_.CloseFile(node, request.write);
      return dropped;
    }
  }
  auto handle = std::make_shared<Handle>();
  handle->node = node;
  handle->writes = request.write;
  handle->dirty = request.write;  // O_TRUNC, or being new, is a change too
  Opened opened;
  opened.handle = AddHandle(std::move(handle));
  opened.keep_cache = true;
  opened.flush = request.write;
  return opened;
}

void IncomingView::Release(Ino, uint64_t number) {
  HandlePtr handle = FindHandle(number);
  if (!handle) return;
  {
    MutexLock lock(handles_mutex_);
    handles_.erase(number);
  }
  if (handle->node == 0) return;
  if (handle->writes && handle->dirty.exchange(false)) {
    // Written after the last close(2): through a mapping.
    Status flushed = staging_.Flush(handle->node);
    if (!flushed.ok()) repo_.log().Error("cannot keep what was written: " + flushed.message());
  }
  staging_.CloseFile(handle->node, handle->writes);
}

Result<size_t> IncomingView::Read(Ino ino, uint64_t number, uint64_t offset, MutableByteView out) {
  if (IsNode(ino)) return staging_.Read(NumberOf(ino), offset, out);
  HandlePtr handle = FindHandle(number);
  if (!handle) return StaleInode(ino);
  const std::string& text = handle->text;
  size_t count = offset >= text.size() ? 0 : std::min<size_t>(out.size(), text.size() - offset);
  if (count > 0) std::memcpy(out.data(), text.data() + offset, count);
  return count;
}

Status IncomingView::Write(const Caller& caller, Ino ino, uint64_t number, uint64_t offset,
                           ByteView data) {
  BKFS_TRY(CheckNode(ino));
  if (HandlePtr handle = FindHandle(number)) {
    BKFS_TRY(DropPrivilegesOnce(caller, *handle));
    handle->dirty = true;
  } else {
    BKFS_TRY(DropPrivileges(caller, NumberOf(ino)));
  }
  return staging_.Write(NumberOf(ino), offset, data);
}

Status IncomingView::Flush(Ino ino, uint64_t number) {
  HandlePtr handle = FindHandle(number);
  if (!handle || !handle->writes) return {};
  // Cleared before, so that a write that comes meanwhile is seen at release.
  handle->dirty = false;
  Status flushed = staging_.Flush(NumberOf(ino));
  if (!flushed.ok()) handle->dirty = true;
  return flushed;
}

Status IncomingView::Fsync(Ino ino, uint64_t) {
  if (!IsNode(ino)) return {};
  return staging_.Fsync(NumberOf(ino));
}

Status IncomingView::Allocate(const Caller& caller, Ino ino, uint64_t number, int mode,
                              uint64_t offset, uint64_t length) {
  BKFS_TRY(CheckNode(ino));
  BKFS_TRY(DropPrivileges(caller, NumberOf(ino)));
  if (HandlePtr handle = FindHandle(number)) handle->dirty = true;
  return staging_.Allocate(NumberOf(ino), mode, offset, length);
}

Result<uint64_t> IncomingView::SeekData(Ino ino, uint64_t offset) {
  BKFS_TRY(CheckNode(ino));
  return staging_.SeekData(NumberOf(ino), offset);
}

Result<uint64_t> IncomingView::SeekHole(Ino ino, uint64_t offset) {
  BKFS_TRY(CheckNode(ino));
  return staging_.SeekHole(NumberOf(ino), offset);
}

}  // namespace bkfs

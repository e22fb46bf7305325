// SPDX-License-Identifier: Apache-2.0
#include "fs/filesystem.h"

#include <algorithm>

#include "engine/base/transfer.h"
#include "fs/incoming_view.h"
#include "fs/links_view.h"
#include "fs/snapshots_view.h"
#include "fs/top_view.h"

namespace bkfs {

namespace {
constexpr int64_t kSpaceKeptNs = 1'000'000'000;
constexpr int64_t kSpacePatienceNs = 2'000'000'000;  // df, and every file manager, ask for it

Timestamp Now(Clock& clock) {
  int64_t now = clock.WallNanos();
  return {now / 1'000'000'000, static_cast<uint32_t>(now % 1'000'000'000)};
}

Status AcrossViews() { return {Code::kCrossDevice, "not from one part of the mount to another"}; }
}  // namespace

Status CheckName(std::string_view name) {
  if (name.size() > kMaxName) return {Code::kNameTooLong, "the name is longer than 255 bytes"};
  if (!IsValidName(name)) return {Code::kInvalid, "not a name for a directory entry"};
  return {};
}

FileSystem::FileSystem(Repository& repo, Staging* staging, const Options& options)
    : repo_(repo), staging_(staging), options_(options), catalog_(repo) {
  snapshots_ = std::make_unique<SnapshotsView>(repo, catalog_, options.lease, options.owner);
  links_ = std::make_unique<LinksView>(repo, catalog_, options.owner);
  none_ = std::make_unique<NoView>();
  std::vector<TopView::Item> items;
  items.push_back({"by-name", kByNameIno});
  if (staging != nullptr) {
    incoming_ = std::make_unique<IncomingView>(repo, *staging, catalog_, options.owner);
    gone_ = std::make_unique<GoneNames>(*staging);
    items.push_back({"incoming", kIncomingIno});
  }
  items.push_back({"latest", kLatestIno});
  items.push_back({"snapshots", kSnapshotsIno});
  top_ = std::make_unique<TopView>(*this, std::move(items), options.owner, Now(repo.clock()));
}

FileSystem::~FileSystem() { Stop(); }

void FileSystem::Start(KernelNotifier* notifier) {
  catalog_.Start(notifier);
  if (gone_ && notifier) gone_->Start(*notifier);
}

void FileSystem::Stop() {
  if (gone_) gone_->Stop();
  catalog_.Stop();
}

View& FileSystem::ViewOf(Ino ino) {
  switch (TagOf(ino)) {
    case ViewTag::kTop: return *top_;
    case ViewTag::kSnapshots: return *snapshots_;
    case ViewTag::kLinks: return *links_;
    case ViewTag::kIncoming:
      if (incoming_) return *incoming_;
      break;
  }
  return *none_;
}

bool FileSystem::opens_are_free() const {
  const bool counted = options_.lease != nullptr && options_.lease->held();
  return !writable() && !counted && repo_.has_index() && MayReadContents(repo_.key().type);
}

void FileSystem::Override(Attr& attr) const {
  if (options_.uid) attr.uid = *options_.uid;
  if (options_.gid) attr.gid = *options_.gid;
  if (options_.umask && attr.kind != EntryKind::kSymlink) {
    attr.mode &= static_cast<uint16_t>(~*options_.umask);
  }
}

Result<Node> FileSystem::Present(Result<Node> node) const {
  if (node.ok()) Override(node->attr);
  return node;
}

Result<Node> FileSystem::Lookup(const Caller& caller, Ino dir, std::string_view name) {
  if (name.size() > kMaxName) return CheckName(name);
  return Present(ViewOf(dir).Lookup(caller, dir, name));
}

void FileSystem::Forget(Ino ino, uint64_t lookups) { ViewOf(ino).Forget(ino, lookups); }
uint32_t FileSystem::KeepAbsence(Ino dir) { return ViewOf(dir).KeepAbsence(dir); }
Result<Node> FileSystem::GetAttr(Ino ino) { return Present(ViewOf(ino).GetAttr(ino)); }

Result<Node> FileSystem::SetAttr(const Caller& caller, Ino ino, const SetAttrRequest& request) {
  return Present(ViewOf(ino).SetAttr(caller, ino, request));
}

Result<std::string> FileSystem::ReadLink(Ino ino) { return ViewOf(ino).ReadLink(ino); }
Status FileSystem::CheckWritable(Ino ino) { return ViewOf(ino).CheckWritable(ino); }

Result<Node> FileSystem::Create(const Caller& caller, Ino dir, std::string_view name,
                                const NewNode& how) {
  BKFS_TRY(CheckName(name));
  return Present(ViewOf(dir).Create(caller, dir, name, how));
}

Result<Node> FileSystem::Link(Ino ino, Ino dir, std::string_view name) {
  BKFS_TRY(CheckName(name));
  if (TagOf(ino) != TagOf(dir)) return AcrossViews();
  return Present(ViewOf(dir).Link(ino, dir, name));
}

Status FileSystem::Unlink(Ino dir, std::string_view name) { return ViewOf(dir).Unlink(dir, name); }
Status FileSystem::Rmdir(Ino dir, std::string_view name) { return ViewOf(dir).Rmdir(dir, name); }

Status FileSystem::Rename(Ino dir, std::string_view name, Ino new_dir, std::string_view new_name,
                          unsigned flags) {
  BKFS_TRY(CheckName(new_name));
  if (TagOf(dir) != TagOf(new_dir)) return AcrossViews();
  return ViewOf(dir).Rename(dir, name, new_dir, new_name, flags);
}

Result<Opened> FileSystem::OpenDir(Ino dir) { return ViewOf(dir).OpenDir(dir); }

void FileSystem::ReleaseDir(Ino dir, uint64_t handle) { ViewOf(dir).ReleaseDir(dir, handle); }

Status FileSystem::ReadDir(Ino dir, uint64_t from, bool with_nodes, const DirSink& sink) {
  const bool as_it_is = !options_.uid && !options_.gid && !options_.umask;
  if (as_it_is) return ViewOf(dir).ReadDir(dir, from, with_nodes, sink);
  return ViewOf(dir).ReadDir(dir, from, with_nodes, [&](const DirItem& item) {
    if (item.node == nullptr) return sink(item);
    Node node = *item.node;
    Override(node.attr);
    DirItem shown = item;
    shown.node = &node;
    return sink(shown);
  });
}

Status FileSystem::SyncDir(Ino dir) {
  // The root stands for all that can be written.
  if (dir == kRootIno && incoming_) return incoming_->SyncDir(kIncomingIno);
  return ViewOf(dir).SyncDir(dir);
}

Result<Opened> FileSystem::Open(const Caller& caller, Ino ino, const OpenRequest& request) {
  return ViewOf(ino).Open(caller, ino, request);
}

void FileSystem::Release(Ino ino, uint64_t handle) { ViewOf(ino).Release(ino, handle); }

Result<size_t> FileSystem::Read(Ino ino, uint64_t handle, uint64_t offset, MutableByteView out) {
  return ViewOf(ino).Read(ino, handle, offset, out);
}

Status FileSystem::Write(const Caller& caller, Ino ino, uint64_t handle, uint64_t offset,
                         ByteView data) {
  return ViewOf(ino).Write(caller, ino, handle, offset, data);
}

Status FileSystem::Flush(Ino ino, uint64_t handle) { return ViewOf(ino).Flush(ino, handle); }
Status FileSystem::Fsync(Ino ino, uint64_t handle) { return ViewOf(ino).Fsync(ino, handle); }

Status FileSystem::Allocate(const Caller& caller, Ino ino, uint64_t handle, int mode,
                            uint64_t offset, uint64_t length) {
  return ViewOf(ino).Allocate(caller, ino, handle, mode, offset, length);
}

Result<uint64_t> FileSystem::SeekData(Ino ino, uint64_t offset) {
  return ViewOf(ino).SeekData(ino, offset);
}

Result<uint64_t> FileSystem::SeekHole(Ino ino, uint64_t offset) {
  return ViewOf(ino).SeekHole(ino, offset);
}

Result<std::string> FileSystem::GetXattr(Ino ino, std::string_view name) {
  return ViewOf(ino).GetXattr(ino, name);
}

Result<std::vector<std::string>> FileSystem::ListXattrs(Ino ino) {
  return ViewOf(ino).ListXattrs(ino);
}

Status FileSystem::SetXattr(const Caller& caller, Ino ino, std::string_view name,
                            std::string_view value, XattrMode mode) {
  return ViewOf(ino).SetXattr(caller, ino, name, value, mode);
}

Status FileSystem::RemoveXattr(Ino ino, std::string_view name) {
  return ViewOf(ino).RemoveXattr(ino, name);
}

Result<SnapshotId> FileSystem::Commit(Ino ino) {
  if (!incoming_ || TagOf(ino) != ViewTag::kIncoming) {
    return Status(Code::kInvalid, "only what is below /incoming can be committed");
  }
  return incoming_->Commit(ino);
}

std::string FileSystem::own_place() const {
  return staging_ != nullptr ? repo_.local_directory() : std::string();
}

Result<SpaceInfo> FileSystem::Space() {
  const int64_t now = repo_.clock().MonotonicNanos();
  {
    MutexLock lock(space_mutex_);
    if (space_asked_ns_ != 0 && now - space_asked_ns_ < kSpaceKeptNs) return space_;
  }
  auto store = AskSpace();
  const uint64_t pending = staging_ != nullptr ? staging_->PendingBytes() : 0;
  MutexLock lock(space_mutex_);
  if (store.code() == Code::kUnavailable) return space_;  // the last that was heard
  BKFS_TRY(store.status());
  space_ = {store->total, store->available - std::min(store->available, pending)};
  space_asked_ns_ = now;
  return space_;
}

Result<StoreSpace> FileSystem::AskSpace() {
  if (repo_.store().Health().silent_ns > kSpacePatienceNs) {
    return Status(Code::kUnavailable, "the store is away");
  }
  WaitLimit patience(kSpacePatienceNs, nullptr);
  const WatchScope scope(patience);
  return repo_.store().Space();
}

}  // namespace bkfs

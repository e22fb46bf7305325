// SPDX-License-Identifier: Apache-2.0
// How an object comes into a store, and what that needs to know of the server.
#include <algorithm>
#include <utility>

#include "backends/sftp/store.h"

namespace bkfs {

namespace {
constexpr uint32_t kLeftoverSeconds = 24 * 3600;
constexpr size_t kMostLitter = 1000;
// What a filesystem may need beside a file's bytes; below it, it is full.
constexpr uint64_t kMargin = 64 << 10;
}  // namespace

// A file in "_tmp/" that goes away with this object unless it was named: at once, or, when the
// connection is gone, with a later upload.
class TemporaryFile {
 public:
  TemporaryFile(SftpStore& store, SftpClient& client)
      : store_(store),
        client_(client),
        path_(store.TemporaryFolder() + "/" + RandomFileName()) {}
  ~TemporaryFile() {
    if (named_) return;
    if (!client_.broken()) client_.Forget(client_.Remove(path_));
    if (client_.broken() || !client_.Flush().ok()) store_.AddLitter(path_);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }
  void Named() { named_ = true; }

 private:
  SftpStore& store_;
  SftpClient& client_;
  const std::string path_;
  bool named_ = false;
};

std::string SftpStore::PathOf(const std::string& name) const {
  return root_.ends_with('/') ? root_ + name : root_ + "/" + name;
}

void SftpStore::AddLitter(std::string path) {
  MutexLock lock(mutex_);
  if (litter_.size() < kMostLitter) litter_.push_back(std::move(path));
}

void SftpStore::RemoveLitter(SftpClient& client) {
  std::vector<std::string> litter;
  {
    MutexLock lock(mutex_);
    litter.swap(litter_);
  }
  for (const std::string& path : litter) client.Forget(client.Remove(path));
}

Result<NamingWay> SftpStore::Prepare(SftpClient& client) {
  std::optional<NamingWay> way;
  {
    MutexLock lock(mutex_);
    way = way_;
  }
  if (!way) {
    Result<ServerWays> ways = ProbeServer(client, TemporaryFolder(), description_);
    if (!ways.ok()) return Explain(client, ways.status(), 0);
    bool first = false;
    {
      MutexLock lock(mutex_);
      first = !way_;
      way = way_ = ways->naming;
    }
    if (first && !client.OffersSync()) {
      log_.Warning(description_ +
                   ": the server cannot be told to sync files (fsync@openssh.com): a power cut "
                   "there may lose what was stored last");
    }
    if (first && way == NamingWay::kRename) {
      log_.Warning(description_ +
                   ": the server makes no hard links there; that no object replaces another one "
                   "depends on its way of renaming");
    }
    if (first) RemoveLeftovers(client, ways->now);
  }
  if (way != NamingWay::kNone) return *way;
  return Status(Code::kUnsupported,
                description_ +
                    ": the server can neither make hard links there nor does it refuse to rename "
                    "over an existing file, so objects could be replaced: nothing is stored there");
}

// What goes wrong here is of no consequence: the next process tries again.
void SftpStore::RemoveLeftovers(SftpClient& client, uint32_t now) {
  const std::string folder = TemporaryFolder();
  auto contents = ReadFolders(client, std::span(&folder, 1), description_);
  if (!contents.ok()) return;
  for (const SftpEntry& entry : contents->front().entries) {
    const SftpAttributes& is = entry.attributes;
    if (!is.IsRegular() || !is.modified || now < *is.modified) continue;
    if (now - *is.modified > kLeftoverSeconds) {
      client.Forget(client.Remove(folder + "/" + entry.name));
    }
  }
}

Status SftpStore::Explain(SftpClient& client, Status failure, uint64_t bytes) {
  if (!failure.Is(Code::kIo) || client.broken() || !client.OffersSpace()) return failure;
  auto room = client.AwaitSpace(client.Space(root_), description_);
  if (client.broken()) return room.status();
  if (!room.ok()) return failure;
  if (room->read_only) return {Code::kReadOnly, failure.message() + ": read-only filesystem"};
  if (room->no_files_left || room->space.available < bytes + kMargin) {
    return {Code::kNoSpace, failure.message() + ": no space left on the server"};
  }
  return failure;
}

bool SftpStore::SyncsFolders(SftpClient& client) {
  if (syncs_folders_.load() == Answer::kUnknown) {
    const Status tried = SyncFolder(client, root_, description_);
    if (client.broken()) return true;  // what comes next says so
    syncs_folders_.store(tried.ok() ? Answer::kYes : Answer::kNo);
    if (!tried.ok() && client.OffersSync()) {
      log_.Warning(description_ +
                   ": the server does not sync folders: a power cut there may lose the names of "
                   "what was stored last");
    }
  }
  return syncs_folders_.load() == Answer::kYes;
}

Status SftpStore::Settle(SftpClient& client, const std::string& folder, const std::string& what) {
  if (!SyncsFolders(client)) return {};
  const Status synced = SyncFolder(client, folder, what);
  return synced.Is(Code::kNotFound) ? Status() : synced;
}

Status SftpStore::SettleAll(SftpClient& client, const std::vector<std::string>& folders,
                            const std::string& what) {
  for (const std::string& folder : folders) BKFS_TRY(Settle(client, folder, what));
  return {};
}

// Also asks whether the target is there, which decides nothing but saves the sending.
Result<SftpHandle> SftpStore::OpenTemporary(SftpClient& client, const std::string& path,
                                            const std::string& target, const std::string& what) {
  constexpr uint32_t kNew = kSftpWrite | kSftpCreate | kSftpExclusive;
  const uint32_t look = client.Lstat(target);
  const uint32_t open = client.Open(path, kNew);
  auto there = client.AwaitAttributes(look, what);
  auto handle = client.AwaitHandle(open, what);
  if (client.broken()) return handle.ok() ? there.status() : handle.status();
  if (handle.code() == Code::kNotFound) {
    client.Forget(client.Mkdir(TemporaryFolder()));
    handle = client.AwaitHandle(client.Open(path, kNew), what);
  }
  if (!there.ok()) return handle;
  if (handle.ok()) client.Forget(client.Close(*handle));
  if (there->IsFolder()) return Status(Code::kIsDirectory, what + " is a folder of other objects");
  return Status(Code::kExists, what + " is there already");
}

Status SftpStore::CompleteFile(SftpClient& client, const SftpHandle& handle, uint64_t size,
                               const std::string& what) {
  const bool syncs = client.OffersSync();
  const uint32_t sync = syncs ? client.Sync(handle) : 0;
  const uint32_t look = client.Fstat(handle);
  const uint32_t close = client.Close(handle);
  const Status synced = syncs ? client.AwaitStatus(sync, what) : Status();
  auto is = client.AwaitAttributes(look, what);
  const Status closed = client.AwaitStatus(close, what);
  BKFS_TRY(synced);
  if (!is.ok()) return is.status();
  BKFS_TRY(closed);
  if (is->size != size) {
    return {Code::kIo, what + ": the server has stored " +
                           (is->size ? std::to_string(*is->size) : "an unknown number") + " of " +
                           std::to_string(size) + " bytes"};
  }
  return {};
}

Status SftpStore::NameFile(SftpClient& client, NamingWay way, const std::string& from,
                           const std::string& name) {
  const std::string what = NameOf(name);
  const std::string to = PathOf(name);
  const size_t slash = name.rfind('/');
  Status named = GiveName(client, way, from, to, what);
  if (named.Is(Code::kNotFound) && slash != std::string::npos) {
    BKFS_ASSIGN(auto parents, MakeFolders(client, root_, name.substr(0, slash), what));
    BKFS_TRY(SettleAll(client, parents, what));
    named = GiveName(client, way, from, to, what);
  }
  if (named.ok() || client.broken()) return named;
  auto there = client.AwaitAttributes(client.Lstat(to), what);
  if (client.broken()) return there.status();
  if (!there.ok()) {
    // Somebody has cleaned up: the next try makes a new one.
    if (named.Is(Code::kNotFound)) return {Code::kUnavailable, what + ": the upload has vanished"};
    return named;
  }
  if (there->IsFolder()) return {Code::kIsDirectory, what + " is a folder of other objects"};
  return {Code::kExists, what + " is there already"};
}

Status SftpStore::Upload(SftpClient& client, const std::string& name,
                         std::span<const ByteView> parts) {
  BKFS_ASSIGN(const NamingWay way, Prepare(client));
  RemoveLitter(client);
  const std::string what = NameOf(name);
  uint64_t size = 0;
  for (ByteView part : parts) size += part.size();
  Status status;
  {
    TemporaryFile file(*this, client);
    auto handle = OpenTemporary(client, file.path(), PathOf(name), what);
    status = handle.status();
    if (handle.ok()) {
      status = client.WriteAll(*handle, parts, what);
      if (status.ok()) {
        status = CompleteFile(client, *handle, size, what);
      } else if (!client.broken()) {
        client.Forget(client.Close(*handle));
      }
    }
    if (status.ok()) status = NameFile(client, way, file.path(), name);
    if (status.ok()) file.Named();
    // Before the file is removed, which makes room again.
    status = Explain(client, std::move(status), size);
  }
  if (!status.ok() && !status.Is(Code::kExists)) return status;
  // Also for kExists: the caller will rely on the object, and who put it may not have synced yet.
  const size_t slash = name.rfind('/');
  BKFS_TRY(Settle(client, slash == std::string::npos ? root_ : PathOf(name.substr(0, slash)), what));
  BKFS_TRY(client.Flush());
  return status;
}

}  // namespace bkfs

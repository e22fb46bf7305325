// SPDX-License-Identifier: Apache-2.0
// How an object comes into a store, and what that needs to know of the server.
#include <utility>

#include "backends/sftp/store.h"

namespace bkfs {

namespace {
constexpr uint32_t kLeftoverSeconds = 24 * 3600;
constexpr size_t kMostLitter = 1000;
// What a filesystem may need beside a file's bytes; below it, it is full.
constexpr uint64_t kMargin = 64 << 10;
}  // namespace

// One object on its way into the store. Three times to the server and back, where nothing is in
// the way: servers process requests about a file in their order, so what is to be done whatever
// comes of it is asked for at once.
class Upload {
 public:
  Upload(SftpStore& store, SftpClient& client, NamingWay way, const std::string& name)
      : store_(store),
        client_(client),
        way_(way),
        above_(name.substr(0, name.rfind('/') == std::string::npos ? 0 : name.rfind('/'))),
        what_(store.NameOf(name)),
        to_(store.PathOf(name)),
        folder_path_(above_.empty() ? store.root() : store.PathOf(above_)),
        path_(store.TemporaryFolder() + "/" + RandomFileName()) {}
  // Unless it is gone already, the file goes: at once, or, without a connection, with a later
  // upload.
  ~Upload() {
    if (gone_) return;
    if (!client_.broken()) client_.Forget(client_.Remove(path_));
    if (client_.broken() || !client_.Flush().ok()) store_.AddLitter(path_);
  }
  Upload(const Upload&) = delete;
  Upload& operator=(const Upload&) = delete;

  Status Run(std::span<const ByteView> parts);

 private:
  Status Open();
  Status Write(std::span<const ByteView> parts, uint64_t size);
  Status CheckWritten(uint32_t sync, uint32_t look, uint32_t close, uint64_t size);
  Status Name();
  Status AskOnce();
  Status MakeFolder();
  Status SyncTheFolder();
  Status Taken(const SftpAttributes& there) const;

  SftpStore& store_;
  SftpClient& client_;
  const NamingWay way_;
  const std::string above_;  // the folder of the name; empty: the store's own
  const std::string what_;
  const std::string to_;
  const std::string folder_path_;
  const std::string path_;  // until it has its name
  SftpFile file_;
  SftpFile folder_;  // where the server syncs folders
  bool gone_ = false;
};

Status Upload::Taken(const SftpAttributes& there) const {
  if (there.IsFolder()) return {Code::kIsDirectory, what_ + " is a folder of other objects"};
  return {Code::kExists, what_ + " is there already"};
}

// Also asks whether the name is taken, which decides nothing but saves the sending.
Status Upload::Open() {
  constexpr uint32_t kNew = kSftpWrite | kSftpCreate | kSftpExclusive;
  const bool syncs = store_.SyncsFolders(client_);
  const uint32_t look = client_.Lstat(to_);
  const uint32_t open = client_.Open(path_, kNew);
  const uint32_t open_folder = syncs ? client_.Open(folder_path_, kSftpRead) : 0;
  auto there = client_.AwaitAttributes(look, what_);
  auto file = client_.AwaitHandle(open, what_);
  if (syncs) {
    auto folder = client_.AwaitHandle(open_folder, what_);
    if (folder.ok()) folder_ = SftpFile(client_, std::move(*folder));
  }
  if (!client_.broken() && file.code() == Code::kNotFound) {
    BKFS_TRY(client_.AwaitStatus(client_.Mkdir(store_.TemporaryFolder()), what_));
    file = client_.AwaitHandle(client_.Open(path_, kNew), what_);
  }
  if (file.ok()) file_ = SftpFile(client_, std::move(*file));
  if (there.ok()) return Taken(*there);
  return client_.broken() && file.ok() ? there.status() : file.status();
}

Status Upload::CheckWritten(uint32_t sync, uint32_t look, uint32_t close, uint64_t size) {
  const Status synced = sync != 0 ? client_.AwaitStatus(sync, what_) : Status();
  auto is = client_.AwaitAttributes(look, what_);
  const Status closed = client_.AwaitStatus(close, what_);
  BKFS_TRY(synced);
  if (!is.ok()) return is.status();
  BKFS_TRY(closed);
  if (is->size == size) return {};
  return {Code::kIo, what_ + ": the server has stored " +
                         (is->size ? std::to_string(*is->size) : "an unknown number") + " of " +
                         std::to_string(size) + " bytes"};
}

Status Upload::Write(std::span<const ByteView> parts, uint64_t size) {
  uint32_t sync = 0;
  uint32_t look = 0;
  uint32_t close = 0;
  Status written = client_.WriteAll(file_.handle(), parts, what_, [&] {
    if (client_.OffersSync()) sync = client_.Sync(file_.handle());
    look = client_.Fstat(file_.handle());
    close = client_.Close(file_.handle());
    file_.Release();
  });
  if (written.ok()) return CheckWritten(sync, look, close, size);
  for (uint32_t id : {sync, look, close}) client_.Forget(id);
  return written;
}

Status Upload::SyncTheFolder() {
  if (!folder_.is_open()) return {};
  return client_.AwaitStatus(client_.Sync(folder_.handle()), what_);
}

// With a folder that is known to be there, the old name can be removed whatever comes of it.
Status Upload::AskOnce() {
  const uint32_t name = AskForName(client_, way_, path_, to_);
  const bool certain = folder_.is_open();
  const uint32_t remove = certain && way_ == NamingWay::kLink ? client_.Remove(path_) : 0;
  const uint32_t sync = certain ? client_.Sync(folder_.handle()) : 0;
  Status named = client_.AwaitStatus(name, what_);
  Status synced = sync != 0 ? client_.AwaitStatus(sync, what_) : Status();
  const Status removed = remove != 0 ? client_.AwaitStatus(remove, what_) : Status();
  if (!named.ok() || client_.broken()) return named.ok() ? synced : named;
  gone_ = way_ == NamingWay::kRename || (remove != 0 && removed.ok());
  return synced;
}

Status Upload::MakeFolder() {
  BKFS_ASSIGN(auto parents, MakeFolders(client_, store_.root(), above_, what_));
  for (const std::string& parent : parents) BKFS_TRY(store_.Settle(client_, parent, what_));
  if (!store_.SyncsFolders(client_)) return {};
  BKFS_ASSIGN(SftpHandle folder, client_.AwaitHandle(client_.Open(folder_path_, kSftpRead), what_));
  folder_ = SftpFile(client_, std::move(folder));
  return {};
}

Status Upload::Name() {
  if (!folder_.is_open() && !above_.empty() && store_.SyncsFolders(client_)) BKFS_TRY(MakeFolder());
  Status named = AskOnce();
  if (named.Is(Code::kNotFound) && !folder_.is_open() && !above_.empty()) {
    BKFS_TRY(MakeFolder());
    named = AskOnce();
  }
  if (named.ok() || client_.broken()) return named;
  auto there = client_.AwaitAttributes(client_.Lstat(to_), what_);
  if (client_.broken()) return there.status();
  if (there.ok()) return Taken(*there);
  if (!named.Is(Code::kNotFound)) return named;
  auto folder = client_.AwaitAttributes(client_.Stat(folder_path_), what_);
  if (folder.ok() && !folder->IsFolder()) {
    return {Code::kNotDirectory, what_ + ": a file is where its folder should be"};
  }
  // Somebody has removed the folder or the upload: the next try makes new ones.
  return {Code::kUnavailable, what_ + ": the upload has vanished"};
}

Status Upload::Run(std::span<const ByteView> parts) {
  uint64_t size = 0;
  for (ByteView part : parts) size += part.size();
  Status status = Open();
  if (status.ok()) status = Write(parts, size);
  if (status.ok()) status = Name();
  // For kExists, because the caller will rely on the object, and who put it may not have synced
  // yet.
  if (status.Is(Code::kExists)) BKFS_TRY(SyncTheFolder());
  // Before the file is removed, which makes room again.
  return store_.Explain(client_, std::move(status), size);
}

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

Status SftpStore::Store(SftpClient& client, const std::string& name,
                        std::span<const ByteView> parts) {
  BKFS_ASSIGN(const NamingWay way, Prepare(client));
  RemoveLitter(client);
  return Upload(*this, client, way, name).Run(parts);
}

}  // namespace bkfs

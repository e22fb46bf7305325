// SPDX-License-Identifier: Apache-2.0
#include "backends/sftp/sftp_backend.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "backends/sftp/store.h"
#include "engine/base/printable.h"

namespace bkfs {

namespace {
// Far above what the format allows; so a damaged or sparse file does not take all memory.
constexpr uint64_t kMaxObject = uint64_t{1} << 30;
constexpr size_t kFoldersAtOnce = 32;
constexpr size_t kRemovedAtOnce = 64;

struct OpenObject {
  SftpFile file;
  uint64_t size = 0;
};

class SftpBackend final : public Backend {
 public:
  SftpBackend(std::unique_ptr<SftpPool> pool, std::string root, Logger& log)
      : pool_(std::move(pool)), store_(std::move(root), DescriptionOf(*pool_), log) {}

  Status Prepare(bool create);

  Result<Bytes> Get(const std::string& name) override;
  Status ReadAt(const std::string& name, uint64_t offset, MutableByteView out) override;
  bool IsNear(const std::string&, uint64_t, uint64_t) override { return false; }
  Status Put(const std::string& name, std::span<const ByteView> parts) override;
  Result<uint64_t> Size(const std::string& name) override;
  Result<int64_t> ModifiedAt(const std::string& name) override;
  Status List(const std::string& prefix,
              const std::function<Status(const std::string& name, uint64_t size)>& visit) override;
  Status Remove(const std::string& name) override;
  Status RemoveAll(const std::vector<std::string>& names) override;
  Result<StoreSpace> Space() override;
  std::string Describe() const override { return store_.description(); }

 private:
  using Visit = std::function<Status(const std::string& name, uint64_t size)>;

  static std::string DescriptionOf(const SftpPool& pool);
  Status MakeRoot(SftpClient& client);
  Result<OpenObject> Open(SftpClient& client, const std::string& name);
  Result<SftpAttributes> Look(const std::string& name);
  Status CheckObject(const SftpAttributes& attributes, const std::string& name) const;
  Status ListFolders(std::span<const std::string> prefixes, const Visit& visit);
  Result<std::vector<std::string>> VisitEntries(const std::string& prefix,
                                                const FolderContents& folder, const Visit& visit);
  Status RemoveSome(SftpClient& client, std::span<const std::string> names, Status& first);
  Status RemovalFailed(SftpClient& client, const std::string& name, Status failure);

  const std::unique_ptr<SftpPool> pool_;
  SftpStore store_;
};

std::string SftpBackend::DescriptionOf(const SftpPool& pool) {
  std::string path = Printable(pool.connector().options().path);
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  if (!path.starts_with('/')) path = (path.starts_with('~') ? "/" : "/~/") + path;
  return pool.connector().peer() + path;
}

Status SftpBackend::MakeRoot(SftpClient& client) {
  const std::string& root = store_.root();
  auto there = client.AwaitAttributes(client.Stat(root), store_.description());
  if (there.code() != Code::kNotFound) return there.status();
  const bool absolute = root.starts_with('/');
  auto parents =
      MakeFolders(client, absolute ? "/" : "", root.substr(absolute ? 1 : 0), store_.description());
  if (!parents.ok()) return store_.Explain(client, parents.status(), 0);
  // From the new one upwards, as far as those above may be read by us.
  std::reverse(parents->begin(), parents->end());
  for (const std::string& parent : *parents) {
    if (!SyncFolder(client, parent, store_.description()).ok()) break;
  }
  return {};
}

Status SftpBackend::Prepare(bool create) {
  BKFS_ASSIGN(SftpPool::Lease client, pool_->Take());
  pool_->connector().StopAsking();
  if (create) BKFS_TRY(MakeRoot(*client));
  auto there = client->AwaitAttributes(client->Stat(store_.root()), store_.description());
  if (there.code() == Code::kNotFound) {
    return {Code::kNoRepository, store_.description() + " is not there"};
  }
  if (!there.ok()) return there.status();
  if (!there->IsFolder()) {
    return {Code::kNotDirectory, store_.description() + " is not a folder"};
  }
  // A folder that must not be written to can be opened all the same.
  if (create) {
    auto way = store_.Prepare(*client);
    if (!way.ok() && way.code() != Code::kDenied && way.code() != Code::kReadOnly) {
      return way.status();
    }
  }
  return {};
}

Status SftpBackend::CheckObject(const SftpAttributes& attributes, const std::string& name) const {
  constexpr uint32_t kLink = 0120000;
  constexpr uint32_t kTypes = 0170000;
  if (attributes.IsRegular()) return {};
  if (attributes.mode && (*attributes.mode & kTypes) == kLink) {
    return {Code::kDenied, store_.NameOf(name) + ": a symbolic link; it is not followed"};
  }
  return {Code::kNotFound, store_.NameOf(name) + ": no file"};
}

Result<OpenObject> SftpBackend::Open(SftpClient& client, const std::string& name) {
  const std::string what = store_.NameOf(name);
  const std::string path = store_.PathOf(name);
  const uint32_t look = client.Lstat(path);
  const uint32_t open = client.Open(path, kSftpRead);
  auto is = client.AwaitAttributes(look, what);
  auto handle = client.AwaitHandle(open, what);
  if (client.broken()) return is.ok() ? handle.status() : is.status();
  SftpFile file;
  if (handle.ok()) file = SftpFile(client, std::move(*handle));
  Status usable = is.ok() ? CheckObject(*is, name) : is.status();
  if (usable.ok() && !is->size) usable = Status(Code::kIo, what + ": the server tells no size");
  if (!usable.ok()) return usable;
  if (!handle.ok()) return handle.status();
  return OpenObject{std::move(file), *is->size};
}

Result<Bytes> SftpBackend::Get(const std::string& name) {
  BKFS_TRY(CheckObjectName(name));
  BKFS_ASSIGN(SftpPool::Lease client, pool_->Take());
  BKFS_ASSIGN(OpenObject object, Open(*client, name));
  if (object.size > kMaxObject) {
    return Status(Code::kTooLarge,
                  store_.NameOf(name) + " is larger than any object of a repository");
  }
  Bytes data(object.size);
  BKFS_TRY(client->ReadAll(object.file.handle(), 0, data, store_.NameOf(name)));
  return data;
}

Status SftpBackend::ReadAt(const std::string& name, uint64_t offset, MutableByteView out) {
  BKFS_TRY(CheckObjectName(name));
  BKFS_ASSIGN(SftpPool::Lease client, pool_->Take());
  BKFS_ASSIGN(OpenObject object, Open(*client, name));
  if (offset > object.size || out.size() > object.size - offset) {
    return {Code::kCorrupt, store_.NameOf(name) + " ends too early: it has been cut"};
  }
  return client->ReadAll(object.file.handle(), offset, out, store_.NameOf(name));
}

Status SftpBackend::Put(const std::string& name, std::span<const ByteView> parts) {
  BKFS_TRY(CheckObjectName(name));
  BKFS_ASSIGN(SftpPool::Lease client, pool_->Take());
  return store_.Store(*client, name, parts);
}

Result<SftpAttributes> SftpBackend::Look(const std::string& name) {
  BKFS_TRY(CheckObjectName(name));
  BKFS_ASSIGN(SftpPool::Lease client, pool_->Take());
  BKFS_ASSIGN(SftpAttributes is,
              client->AwaitAttributes(client->Lstat(store_.PathOf(name)), store_.NameOf(name)));
  BKFS_TRY(CheckObject(is, name));
  if (!is.size || !is.modified) {
    return Status(Code::kIo, store_.NameOf(name) + ": the server tells no size or time");
  }
  return is;
}

Result<uint64_t> SftpBackend::Size(const std::string& name) {
  BKFS_ASSIGN(SftpAttributes is, Look(name));
  return *is.size;
}

Result<int64_t> SftpBackend::ModifiedAt(const std::string& name) {
  BKFS_ASSIGN(SftpAttributes is, Look(name));
  return int64_t{*is.modified} * 1'000'000'000;
}

Status SftpBackend::List(const std::string& prefix, const Visit& visit) {
  BKFS_TRY(CheckObjectPrefix(prefix));
  return ListFolders(std::span(&prefix, 1), visit);
}

// Visits what is in one folder, and says which folders are below it.
Result<std::vector<std::string>> SftpBackend::VisitEntries(const std::string& prefix,
                                                           const FolderContents& folder,
                                                           const Visit& visit) {
  std::vector<std::string> below;
  for (const SftpEntry& entry : folder.entries) {
    const std::string name = prefix + entry.name;
    if (!CheckObjectName(name).ok()) continue;  // "_tmp" and whatever people put there
    SftpAttributes is = entry.attributes;
    if (!is.mode || (is.IsRegular() && !is.size)) {
      Result<SftpAttributes> looked = Look(name);
      if (looked.code() == Code::kNotFound) continue;
      if (!looked.ok()) return looked.status();
      is = *looked;
    }
    if (is.IsRegular()) BKFS_TRY(visit(name, *is.size));
    if (is.IsFolder()) below.push_back(name + "/");
  }
  return below;
}

// Recurses no deeper than a name has words. Folders are read many at once, because each takes
// several round trips; and the connection is given back before anything is visited, because the
// visitor may use the store, which may have no other one.
Status SftpBackend::ListFolders(std::span<const std::string> prefixes, const Visit& visit) {
  while (!prefixes.empty()) {
    const auto some = prefixes.first(std::min(prefixes.size(), kFoldersAtOnce));
    prefixes = prefixes.subspan(some.size());
    std::vector<std::string> paths;
    for (const std::string& prefix : some) {
      paths.push_back(prefix.empty() ? store_.root()
                                     : store_.PathOf(prefix.substr(0, prefix.size() - 1)));
    }
    std::vector<FolderContents> folders;
    {
      BKFS_ASSIGN(SftpPool::Lease client, pool_->Take());
      BKFS_ASSIGN(folders, ReadFolders(*client, paths, store_.NameOf(some[0])));
    }
    for (size_t i = 0; i < some.size(); ++i) {
      const FolderContents folder = std::move(folders[i]);
      if (folder.status.Is(Code::kNotFound)) continue;
      if (!folder.status.ok()) return folder.status;
      BKFS_ASSIGN(std::vector<std::string> below, VisitEntries(some[i], folder, visit));
      BKFS_TRY(ListFolders(below, visit));
    }
  }
  return {};
}

// Servers say different things of what is no file.
Status SftpBackend::RemovalFailed(SftpClient& client, const std::string& name, Status failure) {
  if (client.broken() || failure.Is(Code::kNotFound)) return failure;
  auto is = client.AwaitAttributes(client.Lstat(store_.PathOf(name)), store_.NameOf(name));
  if (!is.ok()) return is.status();
  BKFS_TRY(CheckObject(*is, name));
  return store_.Explain(client, std::move(failure), 0);
}

Status SftpBackend::Remove(const std::string& name) {
  BKFS_TRY(CheckObjectName(name));
  BKFS_ASSIGN(SftpPool::Lease client, pool_->Take());
  const std::string what = store_.NameOf(name);
  Status removed = client->AwaitStatus(client->Remove(store_.PathOf(name)), what);
  if (!removed.ok()) return RemovalFailed(*client, name, std::move(removed));
  const size_t slash = name.rfind('/');
  return store_.Settle(
      *client, slash == std::string::npos ? store_.root() : store_.PathOf(name.substr(0, slash)),
      what);
}

// `first` becomes the first failure; what is returned is the end of it all.
Status SftpBackend::RemoveSome(SftpClient& client, std::span<const std::string> names,
                               Status& first) {
  std::vector<uint32_t> asked;
  std::set<std::string> folders;
  for (const std::string& name : names) {
    asked.push_back(client.Remove(store_.PathOf(name)));
    const size_t slash = name.rfind('/');
    folders.insert(slash == std::string::npos ? store_.root()
                                              : store_.PathOf(name.substr(0, slash)));
  }
  for (size_t i = 0; i < names.size(); ++i) {
    Status removed = client.AwaitStatus(asked[i], store_.NameOf(names[i]));
    if (!removed.ok()) removed = RemovalFailed(client, names[i], std::move(removed));
    if (client.broken()) return removed;
    if (!removed.ok() && !removed.Is(Code::kNotFound) && first.ok()) first = std::move(removed);
  }
  for (const std::string& folder : folders) {
    BKFS_TRY(store_.Settle(client, folder, store_.NameOf(names[0])));
  }
  return {};
}

Status SftpBackend::RemoveAll(const std::vector<std::string>& names) {
  Status first;
  std::vector<std::string> good;
  for (const std::string& name : names) {
    Status status = CheckObjectName(name);
    if (status.ok()) good.push_back(name);
    if (!status.ok() && first.ok()) first = std::move(status);
  }
  std::span<const std::string> rest(good);
  while (!rest.empty()) {
    const auto some = rest.first(std::min(rest.size(), kRemovedAtOnce));
    rest = rest.subspan(some.size());
    BKFS_ASSIGN(SftpPool::Lease client, pool_->Take());
    BKFS_TRY(RemoveSome(*client, some, first));
  }
  return first;
}

Result<StoreSpace> SftpBackend::Space() {
  BKFS_ASSIGN(SftpPool::Lease client, pool_->Take());
  if (!client->OffersSpace()) return StoreSpace{};
  BKFS_ASSIGN(SftpClient::Room room,
              client->AwaitSpace(client->Space(store_.root()), store_.description()));
  return room.space;
}

// As the server is told: relative paths are below the home folder there.
std::string RootOf(std::string path) {
  if (path == "~" || path == "~/") return ".";
  if (path.starts_with("~/")) path.erase(0, path.find_first_not_of('/', 1));
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}
}  // namespace

Result<std::unique_ptr<Backend>> OpenSftpBackend(SftpOptions options, Logger& log, bool create) {
  BKFS_TRY(InitCrypto());
  std::string root = RootOf(options.path);
  BKFS_ASSIGN(auto connector, SftpConnector::Create(std::move(options)));
  auto backend = std::make_unique<SftpBackend>(std::make_unique<SftpPool>(std::move(connector)),
                                               std::move(root), log);
  BKFS_TRY(backend->Prepare(create));
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace bkfs

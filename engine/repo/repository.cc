// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/repository.h"

#include <algorithm>
#include <set>

#include "engine/base/fd.h"
#include "engine/crypto/hash.h"
#include "engine/repo/object_reader.h"
#include "engine/repo/segment_writer.h"

namespace bkfs {

namespace {
constexpr std::string_view kHeaderName = "bkfs.repo";
constexpr std::string_view kEpochNote = "newest epoch";
constexpr size_t kBlobsAtATime = 64 << 10;  // put into the local index together
constexpr size_t kSegmentsAhead = 3;        // each may take 32 MiB and more
constexpr int kIndexSlots = 16;  // processes that use one cache directory at the same time

class NotesOfIndex final : public SeenRecords {
 public:
  explicit NotesOfIndex(IndexCache& index) : index_(index) {}
  Result<std::optional<Bytes>> GetNote(std::string_view name) override {
    return index_.GetNote(name);
  }
  Status PutNote(std::string_view name, ByteView value) override {
    return index_.PutNote(name, value);
  }

 private:
  IndexCache& index_;
};
}  // namespace

Result<RepoHeader> ReadHeader(Backend& store) {
  auto object = store.Get(std::string(kHeaderName));
  if (object.code() == Code::kNotFound) {
    return Status(Code::kNoRepository, "there is no repository at " + store.Describe() +
                                           " (no bkfs.repo); 'bkfs init' makes one");
  }
  if (!object.ok()) return object.status();
  auto header = DecodeHeader(*object);
  if (!header.ok()) return header.status().WithContext(store.Describe() + "/bkfs.repo");
  return header;
}

Result<KeyMaterial> CreateRepository(Backend& store, const CreateOptions& options, Clock& clock,
                                     const std::function<Status(const KeyMaterial&)>& save) {
  BKFS_TRY(CheckChunkSizes(options.chunks));
  auto there = store.Size(std::string(kHeaderName));
  if (there.ok()) {
    return Status(Code::kExists, "there is a repository at " + store.Describe() + " already");
  }
  if (there.code() != Code::kNotFound) return there.status();
  RepoId repo;
  RandomBytes(repo.bytes);
  KeyMaterial master = MasterMaterial(RandomSecret(32), repo, 1);
  RepoHeader header =
      HeaderFor(master, clock.WallNanos(), PreferredCipher(), options.pad, options.chunks);
  BKFS_TRY(save(master));
  BKFS_TRY(store.PutOne(std::string(kHeaderName), EncodeHeader(header, master.signing)));
  return master;
}

Repository::Repository(std::unique_ptr<Backend> store, KeyMaterial key, RepoHeader header,
                       Logger& log, Clock& clock)
    : store_(std::move(store)),
      key_(std::move(key)),
      header_(std::move(header)),
      log_(log),
      clock_(clock) {}

Repository::~Repository() = default;

Result<std::unique_ptr<Repository>> Repository::Open(std::unique_ptr<Backend> store,
                                                     KeyMaterial key, const Options& options,
                                                     Logger& log, Clock& clock) {
  RepoHeader header;
  if (options.header) {
    header = *options.header;
  } else {
    BKFS_ASSIGN(header, ReadHeader(*store));
  }
  BKFS_ASSIGN(const std::vector<Epoch> epochs, ReadEpochs(*store, header));
  BKFS_TRY(CheckEpochsReach(header, key));
  if (key.type == KeyType::kMaster && key.repo == header.repo) {
    // A master key knows all epochs; the store says how many there are.
    key = MasterMaterial(std::move(key.master), header.repo, header.epochs.back().epoch);
  }
  // Told apart from damage to the repository: a key file that was tampered with does not fit.
  Status fits = CheckKeyfileAgainst(key, header);
  if (fits.Is(Code::kCorrupt)) return Status(Code::kWrongKey, fits.message());
  BKFS_TRY(fits);
  std::unique_ptr<Repository> repo(
      new Repository(std::move(store), std::move(key), std::move(header), log, clock));
  repo->keys_ = std::make_unique<KeyDirectory>(*repo->store_, repo->header_, log);
  BKFS_TRY(repo->keys_->Refresh());
  repo->epochs_ = std::make_unique<Epochs>(*repo->store_, repo->header_, repo->key_, log);
  BKFS_TRY(repo->epochs_->Adopt(epochs));
  repo->maintenance_ = std::make_unique<MaintenanceLog>(*repo->store_, *repo->keys_, repo->header_);
  repo->removals_ = std::make_unique<Removals>(*repo->store_, *repo->keys_, repo->header_);
  repo->local_directory_ = LocalDirectory(options.cache_directory, repo->header_, repo->key_);
  BKFS_TRY(MakeDirectories(repo->local_directory_, 0700));
  if (!repo->key_.index_key.empty()) {
    BKFS_TRY(repo->OpenIndex(options));
    BKFS_TRY(repo->RememberEpoch());
  }
  repo->snapshots_ = std::make_unique<SnapshotStore>(SnapshotStore::Context{
      *repo->store_, *repo->keys_, *repo->removals_, *repo->maintenance_, repo->key_,
      *repo->epochs_, repo->header_, log, clock, repo->seen_.get()});
  return repo;
}

std::string Repository::LocalDirectory(const std::string& cache_directory, const RepoHeader& header,
                                       const KeyMaterial& key) {
  return cache_directory + "/" + header.repo.hex() + "/" + key.id().hex();
}

Status Repository::OpenIndex(const Options& options) {
  for (int slot = 0; slot < kIndexSlots; ++slot) {
    IndexCache::Options index;
    index.directory = local_directory_ + "/index." + std::to_string(slot);
    index.memory_bytes = options.index_memory;
    index.repo = header_.repo;
    index.local_key = LocalKey("index");
    auto opened = IndexCache::Open(std::move(index), log_);
    if (opened.code() == Code::kBusy) continue;  // another bkfs runs: take a cache of our own
    if (!opened.ok()) return opened.status();
    index_ = std::move(opened).value();
    break;
  }
  if (!index_) return {Code::kBusy, local_directory_ + ": too many bkfs processes use this cache"};
  seen_ = std::make_unique<NotesOfIndex>(*index_);
  BlobReader::Options reading;
  reading.frame_cache_bytes = options.frame_cache;
  reading.prefetch_threads = options.prefetch_threads;
  blobs_ = std::make_unique<BlobReader>(
      *store_, *index_, key_, *epochs_, header_, log_, [this] { return RefreshIndex(); }, reading);
  trees_ = std::make_unique<TreeSource>(*blobs_, nullptr, options.tree_cache);
  return RefreshIndex();
}

// A store that hides an epoch would have new data sealed to keys that a revoked reader holds.
Status Repository::RememberEpoch() {
  const uint32_t newest = epochs_->Newest().epoch;
  BKFS_ASSIGN(auto note, seen_->GetNote(kEpochNote));
  const uint32_t before = note && note->size() == sizeof newest ? Load<uint32_t>(note->data()) : 0;
  if (before == newest) return {};
  if (before > newest) {
    return {Code::kCorrupt, EpochName(before) +
                                " was here before and has vanished: the store was rolled back. Put "
                                "it back, or if you restored an older copy of the store yourself, "
                                "remove " +
                                local_directory_};
  }
  Bytes value;
  AppendInt(value, newest);
  Status noted = seen_->PutNote(kEpochNote, value);
  if (!noted.ok()) log_.Warning("local note not kept: " + noted.message());
  return {};
}

Secret Repository::LocalKey(std::string_view purpose) const {
  ByteView root = key_.type == KeyType::kMaster ? key_.master.view() : key_.signing.seed();
  return DeriveKey("bkfs v1 local " + std::string(purpose), root);
}

Status Repository::RefreshIndex() {
  MutexLock one_at_a_time(refresh_mutex_);
  constexpr int kListings = 3;  // a segment may be merged into another while it is looked for
  for (int attempt = 0; attempt < kListings; ++attempt) {
    std::set<IndexId> present;
    BKFS_TRY(store_->List("index/", [&](const std::string& name, uint64_t) {
      auto id = ParseIndexName(name);
      if (id.ok()) present.insert(*id);
      return Status();
    }));
    BKFS_ASSIGN(auto loaded, index_->Segments());
    const std::set<IndexId> known(loaded.begin(), loaded.end());
    BKFS_ASSIGN(bool merged, LoadSegments(present, known));
    std::vector<IndexId> gone;
    for (const auto& id : known) {
      if (!present.contains(id)) gone.push_back(id);
    }
    if (!gone.empty()) BKFS_TRY(ForgetSegments(gone, present));
    if (!merged) break;
  }
  for (const auto& [id, entry] : maintenance_->Current()->doomed) {
    BKFS_TRY(index_->RemovePack(id));
  }
  return {};
}

// True when a segment vanished while it was to be read.
Result<bool> Repository::LoadSegments(const std::set<IndexId>& present,
                                      const std::set<IndexId>& known) {
  bool merged = false;
  bool log_read = false;
  std::optional<std::set<PackId>> stored;
  std::vector<std::string> names;
  for (const auto& id : present) {
    if (!known.contains(id)) names.push_back(IndexName(id));
  }
  ObjectReader objects(*store_, std::move(names), kSegmentsAhead);
  for (const auto& id : present) {
    if (known.contains(id)) continue;
    if (!log_read) BKFS_TRY(maintenance_->Refresh());
    log_read = true;
    Status status = LoadSegment(objects, id, stored);
    // One bad segment must not hide the others: what only it knew is reported as missing when it is
    // read.
    if (status.Is(Code::kCorrupt) || status.Is(Code::kUnsupported)) {
      log_.Error(IndexName(id) + " is refused: " + status.message());
      continue;
    }
    if (status.Is(Code::kNotFound)) {
      merged = true;
      continue;
    }
    BKFS_TRY(status);
  }
  return merged;
}

Status Repository::ForgetSegments(const std::vector<IndexId>& gone,
                                  const std::set<IndexId>& present) {
  std::set<PackId> listed;
  BKFS_ASSIGN(auto loaded, index_->Segments());
  for (const auto& id : loaded) {
    if (!present.contains(id)) continue;
    BKFS_ASSIGN(auto packs, index_->SegmentPacks(id));
    listed.insert(packs.begin(), packs.end());
  }
  for (const auto& id : gone) {
    BKFS_ASSIGN(auto packs, index_->SegmentPacks(id));
    for (const auto& pack : packs) {
      if (listed.contains(pack)) continue;
      if (store_->Size(PackName(pack)).code() == Code::kNotFound) {
        BKFS_TRY(index_->RemovePack(pack));
      }
    }
    BKFS_TRY(index_->UnmarkSegment(id));
  }
  return {};
}

Status Repository::SettleUnlistedPacks() {
  std::unordered_map<PackId, uint64_t, IdHash> unlisted;
  BKFS_TRY(index_->ForEachPack([&](uint32_t, const CachedPack& pack) {
    unlisted[pack.id] = pack.size;
    return Status();
  }));
  BKFS_ASSIGN(auto segments, index_->Segments());
  for (const auto& id : segments) {
    BKFS_ASSIGN(auto packs, index_->SegmentPacks(id));
    for (const auto& pack : packs) unlisted.erase(pack);
  }
  const auto log = maintenance_->Current();
  SegmentWriter listed(*this, log->last);
  for (const auto& [id, size] : unlisted) {
    auto footer = FetchFooter(id, size);
    if (footer.code() == Code::kNotFound || log->doomed.contains(id)) {
      BKFS_TRY(index_->RemovePack(id));
    } else if (footer.ok()) {
      BKFS_TRY(listed.Add({id, size, *std::move(footer)}));
    } else if (!footer.status().Is(Code::kCorrupt)) {
      return footer.status();
    }
  }
  return listed.Finish();
}

Status Repository::PutSegment(const IndexSegment& segment) {
  const Bytes object =
      EncodeIndexSegment(segment, header_.cipher, key_.index_key.view(), header_.repo);
  IndexId id;
  id.bytes = HashBytes(object);
  BKFS_TRY(store_->PutOne(IndexName(id), object));
  std::vector<PackId> ids;
  for (const auto& pack : segment.packs) ids.push_back(pack.id);
  return index_->MarkSegment(id, ids);
}

Status Repository::DropDeleted(const CondemnedPacks& log, uint64_t as_of,
                               std::optional<std::set<PackId>>& stored,
                               std::vector<IndexedPack>& packs) {
  std::erase_if(packs, [&](const IndexedPack& pack) { return log.doomed.contains(pack.id); });
  if (as_of + 1 >= log.base) return {};
  if (!stored) {
    std::set<PackId> listed;
    BKFS_TRY(store_->List("packs/", [&](const std::string& name, uint64_t) {
      auto id = ParsePackName(name);
      if (id.ok()) listed.insert(*id);
      return Status();
    }));
    stored = std::move(listed);
  }
  std::erase_if(packs, [&](const IndexedPack& pack) { return !stored->contains(pack.id); });
  return {};
}

Status Repository::AcceptFooter(const PackId& id, uint64_t size, const SignedFooter& footer,
                                PackFooter& out) {
  BKFS_ASSIGN(out, DecodeFooterBody(footer.body, size));
  auto signer = keys_->Find(out.signer);
  if (signer.code() == Code::kNotFound) {
    return {Code::kCorrupt, PackName(id) + " is signed by unknown key " + out.signer.hex()};
  }
  if (!signer.ok()) return signer.status();
  if (!MayWrite(signer->type) && !MayMaintain(signer->type)) {
    return {Code::kCorrupt,
            PackName(id) + " is signed by a " + std::string(KeyTypeName(signer->type)) + " key"};
  }
  if (!MayMaintain(signer->type)) {
    for (const auto& slot : out.slots) {
      if (slot.writer != out.signer) {
        return {Code::kCorrupt, PackName(id) + " claims another writer's frames"};
      }
    }
  }
  return VerifyFooter(footer, header_.repo, signer->public_key);
}

Status Repository::LoadSegment(ObjectReader& objects, const IndexId& id,
                               std::optional<std::set<PackId>>& stored) {
  BKFS_ASSIGN(Bytes object, objects.Get(IndexName(id)));
  if (HashBytes(object) != id.bytes) {
    return {Code::kCorrupt, "its bytes do not hash to its name: changed, cut or swapped"};
  }
  BKFS_ASSIGN(IndexSegment segment,
              DecodeIndexSegment(object, key_.index_key.view(), header_.repo));
  object = Bytes();
  BKFS_TRY(DropDeleted(*maintenance_->Current(), segment.as_of, stored, segment.packs));
  std::vector<PackId> added;
  BKFS_TRY(AddToIndex(id, segment.packs, added));
  return index_->MarkSegment(id, added);
}

// Some at a time: decoded, a footer takes as much memory again.
Status Repository::AddToIndex(const IndexId& segment, std::vector<IndexedPack>& packs,
                              std::vector<PackId>& added) {
  std::vector<IndexCache::NewPack> some;
  size_t blobs = 0;
  for (auto& indexed : packs) {
    PackFooter footer;
    Status status = AcceptFooter(indexed.id, indexed.size, indexed.footer, footer);
    indexed.footer.body = Bytes();
    if (status.Is(Code::kCorrupt)) {
      log_.Error(IndexName(segment) + ": " + status.message() + "; its entries are not used");
      continue;
    }
    BKFS_TRY(status);
    blobs += footer.blobs.size();
    some.push_back({indexed.id, indexed.size, std::move(footer)});
    added.push_back(indexed.id);
    if (blobs < kBlobsAtATime) continue;
    BKFS_TRY(index_->AddPacks(some));
    some.clear();
    blobs = 0;
  }
  return index_->AddPacks(some);
}

Result<SignedFooter> Repository::FetchFooter(const PackId& id, uint64_t size) {
  const std::string name = PackName(id);
  if (size < kPackHeader + kPackTrailer) return Status(Code::kCorrupt, name + " is cut short");
  uint8_t trailer[kPackTrailer];
  BKFS_TRY(store_->ReadAt(name, size - kPackTrailer, trailer));
  auto length = DecodePackTrailer(trailer);
  if (!length.ok()) return length.status().WithContext(name);
  if (*length > size - kPackHeader) return Status(Code::kCorrupt, name + " is cut short");
  Bytes end(*length);
  BKFS_TRY(store_->ReadAt(name, size - *length, end));
  auto footer = DecodePackEnd(end, key_.index_key.view(), header_.repo);
  if (!footer.ok()) return footer.status().WithContext(name);
  return footer;
}

Status Repository::RebuildIndex() {
  std::vector<std::pair<PackId, uint64_t>> missing;
  BKFS_TRY(store_->List("packs/", [&](const std::string& name, uint64_t size) -> Status {
    auto id = ParsePackName(name);
    if (!id.ok()) return {};
    BKFS_ASSIGN(auto known, index_->FindPack(*id));
    if (!known) missing.emplace_back(*id, size);
    return {};
  }));
  for (const auto& [id, size] : missing) {
    auto footer = FetchFooter(id, size);
    Status status = footer.status();
    PackFooter decoded;
    if (status.ok()) status = AcceptFooter(id, size, *footer, decoded);
    if (status.Is(Code::kCorrupt)) {
      log_.Error(status.message() + "; its blobs are not used");
      continue;
    }
    BKFS_TRY(status);
    auto number = index_->AddPack(id, size, decoded);
    if (!number.ok()) return number.status();
  }
  return {};
}

Status Repository::CheckMayMaintain() {
  if (!MayMaintain(key_.type)) {
    return {Code::kDenied, "a " + std::string(KeyTypeName(key_.type)) +
                               " key may not do maintenance (a Master or Maintain key may)"};
  }
  BKFS_TRY(keys_->Refresh());
  BKFS_ASSIGN(Signer self, keys_->Find(key_.id()));
  if (self.revoked()) {
    return {Code::kDenied, "this key (" + self.id.hex() + ") has been revoked"};
  }
  return {};
}

Result<std::unique_ptr<BlobWriter>> Repository::NewWriter(std::unique_ptr<PackSpool> spool,
                                                          const WriterOptions& options) {
  if (!MayWrite(key_.type)) {
    return Status(Code::kDenied, "a " + std::string(KeyTypeName(key_.type)) + " key may not write");
  }
  BKFS_ASSIGN(Signer self, keys_->Find(key_.id()));
  if (self.revoked()) {
    return Status(Code::kDenied, "this key (" + self.id.hex() + ") has been revoked");
  }
  BlobWriter::Context context{*store_, *index_, *keys_, key_, *epochs_, header_, log_, clock_};
  return std::make_unique<BlobWriter>(context, std::move(spool), options);
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/staging/disk_spool.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <set>

#include "engine/base/fd.h"
#include "engine/crypto/aead.h"
#include "engine/staging/spool_records.h"

namespace bkfs {

namespace {
constexpr size_t kRingKey = 32;
constexpr size_t kRingHeader = 8 + kRingKey + LocalSealer::kOverhead;
constexpr uint64_t kRingMagic = 0x31474e4952464b42;  // "BKFRING1"
constexpr size_t kMaxRingRecord = size_t{17} << 20;
constexpr size_t kMaxLogRecord = size_t{64} << 20;

// Overwrites the beginning of a file, where its key is, and removes it. Best effort by nature: what
// a copy-on-write filesystem or a flash translation layer keeps is beyond us (doc/threat-model.md).
void ShredAndRemove(int fd, const std::string& path, size_t bytes) {
  const Bytes zeros(bytes);
  (void)PwriteAll(fd, zeros, 0, path);
  (void)::fdatasync(fd);
  ::unlink(path.c_str());
}
}  // namespace

struct DiskSpool::Shared {
  Shared(std::string dir, Secret key, const RepoId& id, Logger& logger)
      : directory(std::move(dir)), sealer(std::move(key)), repo(id), log(logger) {}
  std::string Path(const std::string& name) const { return directory + "/" + name; }

  const std::string directory;
  const LocalSealer sealer;
  const RepoId repo;
  Logger& log;
  Mutex mutex;
  uint64_t next BKFS_GUARDED_BY(mutex) = 1;
  std::set<int> open_files BKFS_GUARDED_BY(mutex);    // packs and logs, to sync
  std::set<int> ring_files BKFS_GUARDED_BY(mutex);    // in use
  std::set<int> synced_rings BKFS_GUARDED_BY(mutex);  // those whose blobs a Sync has promised
  std::vector<uint64_t> free_rings BKFS_GUARDED_BY(mutex);
  uint64_t next_ring BKFS_GUARDED_BY(mutex) = 0;
};

// One pack file with its log.
class DiskSpool::Pack final : public SpooledPack {
 public:
  Pack(std::shared_ptr<Shared> shared, uint64_t number)
      : shared_(std::move(shared)),
        pack_path_(shared_->Path(std::to_string(number) + ".pack")),
        log_path_(shared_->Path(std::to_string(number) + ".log")) {}
  ~Pack() override {
    Unmap();
    MutexLock lock(shared_->mutex);
    shared_->open_files.erase(pack_.get());
    shared_->open_files.erase(log_.get());
  }

  Status OpenFiles(int flags) {
    BKFS_ASSIGN(pack_, OpenFile(pack_path_, O_RDWR | flags));
    BKFS_ASSIGN(log_, OpenFile(log_path_, O_RDWR | flags));
    MutexLock lock(shared_->mutex);
    shared_->open_files.insert(pack_.get());
    shared_->open_files.insert(log_.get());
    return {};
  }
  Status Begin(PackKind kind, ByteView header, const PackSlot& slot, ByteView key) {
    BKFS_TRY(OpenFiles(O_CREAT | O_EXCL));
    Status status = PwriteAll(pack_.get(), header, 0, pack_path_);
    size_ = header.size();
    if (status.ok()) status = LogRecord(EncodeSpoolStart({kind, slot}, key));
    if (!status.ok()) Discard();
    return status;
  }
  // For recovery: goes on behind what is there.
  void Continue(uint64_t pack_size, uint64_t log_size) {
    size_ = pack_size;
    log_size_ = log_size;
  }
  Status CutTo(uint64_t pack_size) {
    if (::ftruncate(pack_.get(), static_cast<off_t>(pack_size)) != 0) {
      return Status::FromErrno(errno, pack_path_);
    }
    return {};
  }
  int log_fd() const { return log_.get(); }
  int pack_fd() const { return pack_.get(); }

  Status AppendFrame(ByteView sealed, const PackFrame& frame,
                     std::span<const PackBlob> blobs) override {
    Unmap();
    BKFS_TRY(PwriteAll(pack_.get(), sealed, size_, pack_path_));
    BKFS_TRY(LogRecord(EncodeSpoolFrame(frame, blobs)));
    size_ += sealed.size();
    return {};
  }
  Status AppendEnd(ByteView pack_end, const SignedFooter& footer) override {
    Unmap();
    BKFS_TRY(PwriteAll(pack_.get(), pack_end, size_, pack_path_));
    BKFS_TRY(LogRecord(EncodeSpoolEnd(size_ + pack_end.size(), footer)));
    size_ += pack_end.size();
    return {};
  }
  // Nothing to log: size and footer stay.
  Status ReplaceEnd(ByteView pack_end) override {
    BKFS_CHECK(pack_end.size() <= size_);
    return PwriteAll(pack_.get(), pack_end, size_ - pack_end.size(), pack_path_);
  }
  Status ReadAt(uint64_t offset, MutableByteView out) override {
    return PreadAll(pack_.get(), out, offset, pack_path_);
  }
  Result<std::vector<ByteView>> Contents() override {
    if (!map_) {
      void* map = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, pack_.get(), 0);
      if (map == MAP_FAILED) return Status::FromErrno(errno, pack_path_);
      map_ = static_cast<uint8_t*>(map);
      mapped_ = size_;
    }
    return std::vector<ByteView>{{map_, mapped_}};
  }
  void Discard() override {
    Unmap();
    if (log_.valid()) ShredAndRemove(log_.get(), log_path_, log_size_);
    ::unlink(pack_path_.c_str());
  }

 private:
  Status LogRecord(const Bytes& record) {
    Bytes sealed(4);
    shared_->sealer.Seal(SpoolAad(log_size_), record, sealed);
    Store(sealed.data(), static_cast<uint32_t>(sealed.size() - 4));
    BKFS_TRY(PwriteAll(log_.get(), sealed, log_size_, log_path_));
    log_size_ += sealed.size();
    return {};
  }
  void Unmap() {
    if (map_) ::munmap(map_, mapped_);
    map_ = nullptr;
  }

  const std::shared_ptr<Shared> shared_;
  const std::string pack_path_;
  const std::string log_path_;
  UniqueFd pack_;
  UniqueFd log_;
  uint64_t size_ = 0;
  uint64_t log_size_ = 0;
  uint8_t* map_ = nullptr;
  size_t mapped_ = 0;
};

// One use of a ring file.
class DiskSpool::Guard final : public FrameGuard {
 public:
  Guard(std::shared_ptr<Shared> shared, uint64_t number, UniqueFd fd, std::string path)
      : shared_(std::move(shared)), number_(number), fd_(std::move(fd)), path_(std::move(path)) {}
  ~Guard() override {
    MutexLock lock(shared_->mutex);
    shared_->ring_files.erase(fd_.get());
    shared_->synced_rings.erase(fd_.get());
  }
  void Release() override {
    // Under the lock, so that no Sync is half way. What was promised to survive a power cut here
    // must do so in its pack before it goes from here.
    MutexLock lock(shared_->mutex);
    if (shared_->synced_rings.erase(fd_.get()) > 0) {
      for (int fd : shared_->open_files) {
        // Kept then: the next start finds the blobs in both places, which does no harm.
        if (!SyncFd(fd, path_).ok()) return;
      }
    }
    const uint8_t zeros[kRingHeader] = {};
    (void)PwriteAll(fd_.get(), zeros, 0, path_);
    shared_->free_rings.push_back(number_);
  }
  Status Begin() {
    Secret key = RandomSecret(kRingKey);
    Bytes header;
    AppendInt(header, kRingMagic);
    shared_->sealer.Seal(AsBytes("ring"), key.view(), header);
    sealer_ = std::make_unique<LocalSealer>(std::move(key));
    MutexLock lock(shared_->mutex);
    shared_->ring_files.insert(fd_.get());
    return PwriteAll(fd_.get(), header, 0, path_);
  }
  Status Protect(PackKind kind, const BlobId& id, ByteView data) override {
    Bytes plain;
    plain.reserve(1 + id.bytes.size() + data.size());
    plain.push_back(static_cast<uint8_t>(kind));
    Append(plain, id.view());
    Append(plain, data);
    Bytes record(4);
    sealer_->Seal(SpoolAad(at_), plain, record);
    Store(record.data(), static_cast<uint32_t>(record.size() - 4));
    WipeMemory(plain);
    BKFS_TRY(PwriteAll(fd_.get(), record, at_, path_));
    at_ += record.size();
    return {};
  }

 private:
  const std::shared_ptr<Shared> shared_;
  const uint64_t number_;
  UniqueFd fd_;
  const std::string path_;
  std::unique_ptr<LocalSealer> sealer_;
  uint64_t at_ = kRingHeader;
};

DiskSpool::DiskSpool(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
DiskSpool::~DiskSpool() = default;

Result<std::unique_ptr<DiskSpool>> DiskSpool::Open(const std::string& directory, Secret key,
                                                   const RepoId& repo, Logger& log) {
  BKFS_TRY(MakeDirectories(directory, 0700));
  return std::unique_ptr<DiskSpool>(
      new DiskSpool(std::make_shared<Shared>(directory, std::move(key), repo, log)));
}

Result<std::unique_ptr<SpooledPack>> DiskSpool::Create(PackKind kind, ByteView header,
                                                       const PackSlot& slot, ByteView key) {
  uint64_t number = 0;
  {
    MutexLock lock(shared_->mutex);
    number = shared_->next++;
  }
  auto pack = std::make_unique<Pack>(shared_, number);
  BKFS_TRY(pack->Begin(kind, header, slot, key));
  return std::unique_ptr<SpooledPack>(std::move(pack));
}

Result<std::unique_ptr<FrameGuard>> DiskSpool::NewGuard() {
  uint64_t number = 0;
  {
    MutexLock lock(shared_->mutex);
    if (shared_->free_rings.empty()) {
      number = shared_->next_ring++;
    } else {
      number = shared_->free_rings.back();
      shared_->free_rings.pop_back();
    }
  }
  const std::string path = shared_->Path("ring." + std::to_string(number));
  BKFS_ASSIGN(UniqueFd fd, OpenFile(path, O_RDWR | O_CREAT));
  auto guard = std::make_unique<Guard>(shared_, number, std::move(fd), path);
  BKFS_TRY(guard->Begin());
  return std::unique_ptr<FrameGuard>(std::move(guard));
}

Status DiskSpool::RememberStored(const IndexedPack& pack) {
  const std::string path = shared_->Path("stored." + pack.id.hex());
  Bytes sealed;
  shared_->sealer.Seal(pack.id.view(), EncodeSpoolEnd(pack.size, pack.footer), sealed);
  BKFS_ASSIGN(UniqueFd fd, OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC));
  BKFS_TRY(WriteAll(fd.get(), sealed, path));
  // Durable before the pack leaves the spool: after a power cut nothing else here says where its
  // blobs are.
  BKFS_TRY(SyncFd(fd.get(), path));
  return SyncDirectory(shared_->directory);
}

Status DiskSpool::ForgetStored(const std::vector<PackId>& packs) {
  for (const auto& id : packs) ::unlink(shared_->Path("stored." + id.hex()).c_str());
  return {};
}

Status DiskSpool::Sync() {
  // The lock keeps descriptors from being closed and reused meanwhile; syncs are rare.
  MutexLock lock(shared_->mutex);
  // Rings first: a blob that leaves its ring meanwhile is in a pack that is synced after it.
  for (int fd : shared_->ring_files) {
    BKFS_TRY(SyncFd(fd, shared_->directory));
    shared_->synced_rings.insert(fd);
  }
  for (int fd : shared_->open_files) BKFS_TRY(SyncFd(fd, shared_->directory));
  return SyncDirectory(shared_->directory);
}

namespace {
Result<std::vector<std::string>> ListNames(const std::string& directory) {
  DIR* dir = ::opendir(directory.c_str());
  if (!dir) return Status::FromErrno(errno, directory);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir)) names.emplace_back(entry->d_name);
  ::closedir(dir);
  return names;
}

// The number in "<prefix><n><suffix>".
std::optional<uint64_t> NumberIn(std::string_view name, std::string_view prefix,
                                 std::string_view suffix) {
  if (!name.starts_with(prefix) || !name.ends_with(suffix)) return std::nullopt;
  if (name.size() <= prefix.size() + suffix.size()) return std::nullopt;
  name = name.substr(prefix.size(), name.size() - prefix.size() - suffix.size());
  uint64_t number = 0;
  auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return number;
}

// The next record of a log or ring file, or nullopt where they end: a record that a kill cut short
// had not been promised to anybody.
std::optional<Bytes> NextRecord(int fd, uint64_t& at, size_t limit, const LocalSealer& sealer) {
  uint8_t raw_length[4];
  if (!PreadAll(fd, raw_length, at, "spool").ok()) return std::nullopt;
  const uint32_t length = Load<uint32_t>(raw_length);
  struct stat st {};
  if (length == 0 || length > limit || ::fstat(fd, &st) != 0) return std::nullopt;
  if (at + 4 + length > static_cast<uint64_t>(st.st_size)) return std::nullopt;
  Bytes sealed(length);
  if (!PreadAll(fd, sealed, at + 4, "spool").ok()) return std::nullopt;
  auto record = sealer.Open(SpoolAad(at), sealed);
  if (!record.ok()) return std::nullopt;
  at += 4 + length;
  return std::move(record).value();
}
// How many frames, from the first on, are on disk as they were written.
size_t SoundFrames(int fd, const SpoolStart& start, const Secret& key, const RepoId& repo,
                   const std::vector<PackFrame>& frames) {
  uint8_t header[kPackHeader];
  if (!PreadAll(fd, header, 0, "spool").ok() || !DecodePackHeader(header).ok()) return 0;
  for (size_t i = 0; i < frames.size(); ++i) {
    if (frames[i].length > kMaxFrameLength) return i;
    Bytes sealed(frames[i].length);
    if (!PreadAll(fd, sealed, frames[i].offset, "spool").ok()) return i;
    auto inner =
        OpenFrame(start.slot.cipher, key.view(), repo, static_cast<uint8_t>(start.kind), sealed);
    if (!inner.ok()) return i;
  }
  return frames.size();
}

// Whether the pack's end is all there. (A wrong end is given anew; its bytes need not be looked at
// closely: the store refuses nothing, readers check the footer, and the frames are sound.)
bool EndIsSound(int fd, const SpoolEnd& end, const std::vector<PackFrame>& frames) {
  const uint64_t data = uint64_t{frames.back().offset} + frames.back().length;
  if (end.pack_size < data + kPackTrailer) return false;
  uint8_t trailer[kPackTrailer];
  if (!PreadAll(fd, trailer, end.pack_size - kPackTrailer, "spool").ok()) return false;
  auto length = DecodePackTrailer(trailer);
  if (!length.ok() || data + *length != end.pack_size) return false;
  Bytes bytes(*length);
  return PreadAll(fd, bytes, data, "spool").ok() &&
         std::any_of(bytes.begin() + 1, bytes.begin() + 33, [](uint8_t b) { return b != 0; });
}
}  // namespace

Status DiskSpool::Recover(BlobWriter& writer) {
  BKFS_ASSIGN(auto names, ListNames(shared_->directory));
  std::set<uint64_t> numbers;
  {
    MutexLock lock(shared_->mutex);
    for (const auto& name : names) {
      for (const char* suffix : {".pack", ".log"}) {
        auto number = NumberIn(name, "", suffix);
        if (!number) continue;
        numbers.insert(*number);
        shared_->next = std::max(shared_->next, *number + 1);
      }
      auto ring = NumberIn(name, "ring.", "");
      if (ring) shared_->next_ring = std::max(shared_->next_ring, *ring + 1);
    }
  }
  BKFS_TRY(RecoverStored(writer));
  for (uint64_t number : numbers) BKFS_TRY(RecoverPack(number, writer));
  return RecoverRing(writer);
}

Status DiskSpool::RecoverStored(BlobWriter& writer) {
  BKFS_ASSIGN(auto names, ListNames(shared_->directory));
  for (const auto& name : names) {
    if (!name.starts_with("stored.")) continue;
    const std::string path = shared_->Path(name);
    auto id = PackId::FromHex(std::string_view(name).substr(7));
    if (!id.ok()) continue;
    BKFS_ASSIGN(Bytes sealed, ReadWholeFile(path));
    auto record = shared_->sealer.Open(id->view(), sealed);
    SpoolEnd end;
    if (!record.ok() || !DecodeSpoolEnd(*record, end)) {
      // Cut short by the kill: the pack's own spool files are still there then.
      ::unlink(path.c_str());
      continue;
    }
    BKFS_TRY(writer.AdoptStored({*id, end.pack_size, end.footer}));
  }
  return {};
}

Status DiskSpool::RecoverPack(uint64_t number, BlobWriter& writer) {
  auto pack = std::make_unique<Pack>(shared_, number);
  Status opened = pack->OpenFiles(O_CREAT);
  BKFS_TRY(opened);
  uint64_t at = 0;
  SpoolStart start;
  Secret key;
  auto first = NextRecord(pack->log_fd(), at, kMaxLogRecord, shared_->sealer);
  if (!first || !DecodeSpoolStart(*first, start, key)) {
    pack->Discard();
    return {};
  }
  std::vector<PackFrame> frames;
  std::vector<PackBlob> blobs;
  std::optional<SpoolEnd> end;
  uint64_t size = kPackHeader;
  while (auto record = NextRecord(pack->log_fd(), at, kMaxLogRecord, shared_->sealer)) {
    SpoolEnd maybe_end;
    if (DecodeSpoolFrame(*record, frames, blobs)) {
      size = uint64_t{frames.back().offset} + frames.back().length;
    } else if (DecodeSpoolEnd(*record, maybe_end)) {
      end = std::move(maybe_end);
      size = end->pack_size;
    }
  }
  // After a power cut the log may be ahead of the pack: what follows the first frame that is not
  // whole had not been promised to anybody.
  const size_t sound = SoundFrames(pack->pack_fd(), start, key, shared_->repo, frames);
  if (sound < frames.size() || (end && !EndIsSound(pack->pack_fd(), *end, frames))) end.reset();
  frames.resize(sound);
  std::erase_if(blobs, [&](const PackBlob& blob) { return blob.frame >= sound; });
  if (frames.empty()) {
    pack->Discard();
    return {};
  }
  if (!end) size = uint64_t{frames.back().offset} + frames.back().length;
  BKFS_TRY(pack->CutTo(size));
  pack->Continue(size, at);
  shared_->log.Info("recovered " + std::to_string(blobs.size()) + " blobs from the spool");
  if (end) return writer.AdoptComplete(std::move(pack), end->footer, std::move(key));
  return writer.AdoptFrames(std::move(pack), start.kind, start.slot, std::move(key),
                            std::move(frames), std::move(blobs));
}

Status DiskSpool::RecoverRing(BlobWriter& writer) {
  BKFS_ASSIGN(auto names, ListNames(shared_->directory));
  std::vector<std::string> used;
  for (const auto& name : names) {
    if (!NumberIn(name, "ring.", "")) continue;
    const std::string path = shared_->Path(name);
    BKFS_ASSIGN(UniqueFd fd, OpenFile(path, O_RDWR));
    used.push_back(path);
    uint8_t header[kRingHeader];
    if (!PreadAll(fd.get(), header, 0, path).ok() || Load<uint64_t>(header) != kRingMagic) continue;
    auto key = shared_->sealer.Open(AsBytes("ring"), ByteView(header).subspan(8));
    if (!key.ok()) continue;
    LocalSealer sealer(Secret::CopyOf(*key));
    WipeMemory(*key);
    uint64_t at = kRingHeader;
    while (auto record = NextRecord(fd.get(), at, kMaxRingRecord, sealer)) {
      if (record->size() < 1 + BlobId::kSize) break;
      const auto kind = static_cast<PackKind>((*record)[0]);
      BKFS_ASSIGN(BlobId id, writer.Add(kind, ByteView(*record).subspan(1 + BlobId::kSize)));
      WipeMemory(*record);
      (void)id;
    }
  }
  // Only when they are safe in new places may the old ones go.
  if (!used.empty()) BKFS_TRY(writer.Sync());
  for (const auto& path : used) {
    BKFS_ASSIGN(UniqueFd fd, OpenFile(path, O_RDWR));
    ShredAndRemove(fd.get(), path, kRingHeader);
  }
  return {};
}

}  // namespace bkfs

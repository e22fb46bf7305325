// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/check.h"

#include <map>
#include <unordered_set>

#include "engine/codec/frame_codec.h"
#include "engine/crypto/hash.h"
#include "engine/repo/pack_keys.h"

namespace bkfs {

namespace {

using Progress = std::function<void(std::string_view, uint64_t, uint64_t)>;
using BlobSet = std::unordered_set<BlobId, IdHash>;

bool IsDamage(const Status& status) {
  return status.Is(Code::kCorrupt) || status.Is(Code::kUnsupported) || status.Is(Code::kNotFound);
}

class CheckRun {
 public:
  CheckRun(Repository& repo, const CheckOptions& options, const Progress& progress)
      : repo_(repo), options_(options), progress_(progress), tree_id_key_(MakeTreeIdKey(repo)) {}
  Result<CheckReport> Run();

 private:
  static Secret MakeTreeIdKey(Repository& repo) {
    return repo.key().id_key.empty() ? Secret() : TreeIdKey(repo.key().id_key.view());
  }
  Status CheckKeys();
  Status ListPacks();
  Status CheckSegments();
  Status CheckPacks();
  Status CheckPack(const PackId& id, uint64_t size);
  Status CheckPackData(const PackId& id, uint64_t size, const PackFooter& footer);
  Status CheckFrame(const CachedPack& pack, uint32_t number, const PackFooter& footer,
                    uint32_t frame, ByteView object);
  Status CheckSnapshots();
  Result<bool> CheckTree(const Snapshot& snapshot, const BlobId& dir, const std::string& path);
  Status CheckEntry(const Entry& entry);
  Status CheckBlob(PackKind kind, const BlobId& id);
  void Bad(const std::string& object, const Status& why) {
    report_.objects.push_back({object, why});
  }
  void Tell(std::string_view stage, uint64_t done, uint64_t of) const {
    if (progress_) progress_(stage, done, of);
  }

  Repository& repo_;
  const CheckOptions options_;
  const Progress& progress_;
  const Secret tree_id_key_;
  PackKeys keys_{repo_.epochs()};
  uint32_t pack_number_ = 0;  // of this run: what keys_ tells packs apart by
  CheckReport report_;
  std::map<PackId, uint64_t> packs_;  // in the store, with their sizes
  std::unordered_set<PackId, IdHash> unusable_;
  BlobSet bad_blobs_;
  BlobSet sound_;  // tree blobs with all that is below them
};

Status CheckRun::CheckKeys() {
  Tell("keys", 0, 1);
  BKFS_TRY(repo_.keys().Refresh());
  // Refused objects were named in the log; they are damage here.
  if (repo_.keys().refused() > 0) {
    Bad("keys/", {Code::kCorrupt, std::to_string(repo_.keys().refused()) +
                                      " badges or revocations are refused (see the log)"});
  }
  return {};
}

Status CheckRun::ListPacks() {
  return repo_.store().List("packs/", [&](const std::string& name, uint64_t size) -> Status {
    auto id = ParsePackName(name);
    if (!id.ok()) {
      report_.notes.push_back(name + " is not an object of bkfs and was passed over");
      return {};
    }
    packs_[*id] = size;
    report_.pack_bytes += size;
    ++report_.packs;
    return {};
  });
}

Status CheckRun::CheckSegments() {
  std::vector<IndexId> ids;
  BKFS_TRY(repo_.store().List("index/", [&](const std::string& name, uint64_t) -> Status {
    auto id = ParseIndexName(name);
    if (id.ok()) ids.push_back(*id);
    return {};
  }));
  for (size_t i = 0; i < ids.size(); ++i) {
    Tell("index", i, ids.size());
    ++report_.segments;
    auto object = repo_.store().Get(IndexName(ids[i]));
    if (!object.ok()) {
      if (!IsDamage(object.status())) return object.status();
      Bad(IndexName(ids[i]), object.status());
      continue;
    }
    if (HashBytes(*object) != ids[i].bytes) {
      Bad(IndexName(ids[i]), {Code::kCorrupt, "its bytes do not hash to its name"});
      continue;
    }
    if (!repo_.has_index()) continue;
    auto segment = DecodeIndexSegment(*object, repo_.key().index_key.view(), repo_.header().repo);
    if (!segment.ok()) {
      Bad(IndexName(ids[i]), segment.status());
      continue;
    }
    for (const auto& pack : segment->packs) {
      auto found = packs_.find(pack.id);
      if (found == packs_.end()) {
        Bad(PackName(pack.id), {Code::kCorrupt, "the index lists this pack and it is missing"});
        unusable_.insert(pack.id);
      } else if (found->second != pack.size) {
        Bad(PackName(pack.id),
            {Code::kCorrupt, "has " + std::to_string(found->second) + " bytes, the index says " +
                                 std::to_string(pack.size) + ": it was cut or changed"});
        if (found->second < pack.size) unusable_.insert(pack.id);
      }
      PackFooter footer;
      Status accepted = repo_.AcceptFooter(pack.id, pack.size, pack.footer, footer);
      if (!accepted.ok()) Bad(IndexName(ids[i]), accepted);
    }
  }
  return {};
}

Status CheckRun::CheckFrame(const CachedPack& pack, uint32_t number, const PackFooter& footer,
                            uint32_t index, ByteView object) {
  const PackFrame& frame = footer.frames[index];
  BKFS_ASSIGN(Secret key, keys_.Open(number, pack, frame.slot));
  BKFS_ASSIGN(Bytes inner, OpenFrame(pack.slots[frame.slot].cipher, key.view(), repo_.header().repo,
                                     static_cast<uint8_t>(pack.kind),
                                     object.subspan(frame.offset, frame.length)));
  FrameCodec codec;
  BKFS_ASSIGN(Bytes plain, codec.Decode(inner, frame.plain));
  ByteView id_key =
      pack.kind == PackKind::kContents ? repo_.key().id_key.view() : tree_id_key_.view();
  for (const auto& blob : footer.blobs) {
    if (blob.frame != index) continue;
    if (KeyedHash(id_key, ByteView(plain).subspan(blob.offset, blob.length)) != blob.id.bytes) {
      bad_blobs_.insert(blob.id);
      Bad(PackName(pack.id),
          {Code::kCorrupt, "blob " + blob.id.hex() + " does not hash to its id"});
    }
  }
  report_.read_bytes += plain.size();
  return {};
}

Status CheckRun::CheckPackData(const PackId& id, uint64_t size, const PackFooter& footer) {
  BKFS_ASSIGN(Bytes object, repo_.store().Get(PackName(id)));
  if (HashBytes(object) != id.bytes) {
    Bad(PackName(id), {Code::kCorrupt, "its bytes do not hash to its name: changed or cut"});
  }
  if (!repo_.blobs().CanRead(footer.kind)) return {};
  CachedPack pack{id, footer.kind, size, footer.signer, footer.slots};
  ++pack_number_;
  for (uint32_t i = 0; i < footer.frames.size(); ++i) {
    const PackFrame& frame = footer.frames[i];
    Status status;
    if (uint64_t{frame.offset} + frame.length > object.size()) {
      status = {Code::kCorrupt, "the pack is too short for this frame"};
    } else {
      status = CheckFrame(pack, pack_number_, footer, i, object);
    }
    if (status.ok() || !IsDamage(status)) continue;
    Bad(PackName(id), status.WithContext("frame at " + std::to_string(frame.offset)));
    for (const auto& blob : footer.blobs) {
      if (blob.frame == i) bad_blobs_.insert(blob.id);
    }
  }
  return {};
}

Status CheckRun::CheckPack(const PackId& id, uint64_t size) {
  if (!repo_.has_index()) {
    // Without a key: the name is the checksum.
    if (!options_.read_data) return {};
    BKFS_ASSIGN(Bytes object, repo_.store().Get(PackName(id)));
    if (HashBytes(object) != id.bytes) {
      Bad(PackName(id), {Code::kCorrupt, "its bytes do not hash to its name: changed or cut"});
    }
    report_.read_bytes += object.size();
    return {};
  }
  PackFooter footer;
  auto signed_footer = repo_.FetchFooter(id, size);
  Status status = signed_footer.status();
  if (status.ok()) status = repo_.AcceptFooter(id, size, *signed_footer, footer);
  if (!status.ok()) {
    if (!IsDamage(status)) return status;
    Bad(PackName(id), status);
    // Its frames may still be sound, and the index may know them; with read_data each is looked at.
    BKFS_ASSIGN(auto known, repo_.index().FindPack(id));
    if (!known || !options_.read_data) return {};
    BKFS_ASSIGN(Bytes object, repo_.store().Get(PackName(id)));
    if (HashBytes(object) != id.bytes) unusable_.insert(id);
    return {};
  }
  BKFS_ASSIGN(auto known, repo_.index().FindPack(id));
  if (!known) {
    report_.notes.push_back(PackName(id) +
                            " is in no index segment: left by a backup that was cut off");
  }
  return options_.read_data ? CheckPackData(id, size, footer) : OkStatus();
}

Status CheckRun::CheckPacks() {
  uint64_t done = 0;
  for (const auto& [id, size] : packs_) {
    Tell(options_.read_data ? "packs (reading)" : "packs", done++, packs_.size());
    if (unusable_.contains(id)) continue;
    Status status = CheckPack(id, size);
    if (status.ok()) continue;
    if (!IsDamage(status)) return status;
    Bad(PackName(id), status);
    unusable_.insert(id);
  }
  return {};
}

Status CheckRun::CheckBlob(PackKind kind, const BlobId& id) {
  ++report_.blobs;
  BKFS_ASSIGN(auto copies, repo_.index().FindAll(id));
  if (copies.empty()) return {Code::kCorrupt, "blob " + id.hex() + " is in no pack"};
  for (const auto& copy : copies) {
    BKFS_ASSIGN(CachedPack pack, repo_.index().Pack(copy.pack));
    if (pack.kind != kind || unusable_.contains(pack.id) || !packs_.contains(pack.id)) continue;
    if (copies.size() == 1 && bad_blobs_.contains(id)) break;
    return {};
  }
  return {Code::kCorrupt, "blob " + id.hex() + " is damaged or its pack is missing"};
}

Status CheckRun::CheckEntry(const Entry& entry) {
  BKFS_ASSIGN(auto extents, repo_.trees().LoadExtents(entry));
  for (const auto& extent : extents) {
    if (extent.is_hole()) continue;
    BKFS_TRY(CheckBlob(PackKind::kContents, extent.blob));
  }
  return {};
}

// Whether everything below the directory is sound; then it is not looked at again.
Result<bool> CheckRun::CheckTree(const Snapshot& snapshot, const BlobId& dir,
                                 const std::string& path) {
  if (dir.is_zero() || sound_.contains(dir)) return true;
  bool sound = true;
  auto affected = [&](const std::string& what, const Status& why) {
    sound = false;
    report_.files.push_back({snapshot.id, snapshot.body.name, what, why});
  };
  ++report_.trees;
  Status walked = repo_.trees().ForEach(
      dir, 0, [&](uint64_t, const DirectoryPtr& leaf, size_t i) -> Result<bool> {
        const Entry entry = leaf->entry(i);
        const std::string below = path + "/" + entry.name;
        if (entry.is_directory()) {
          BKFS_ASSIGN(bool good, CheckTree(snapshot, entry.directory, below));
          sound = sound && good;
        } else if (entry.kind == EntryKind::kFile) {
          Status status = CheckEntry(entry);
          if (IsDamage(status)) {
            affected(below, status);
          } else {
            BKFS_TRY(status);
          }
        }
        return true;
      });
  if (IsDamage(walked)) {
    affected(path.empty() ? "/" : path + "/", walked);
  } else {
    BKFS_TRY(walked);
  }
  if (sound) sound_.insert(dir);
  return sound;
}

Status CheckRun::CheckSnapshots() {
  if (!MayReadLog(repo_.key().type)) {
    report_.notes.emplace_back("snapshots were not checked: this key cannot list them");
    return {};
  }
  BKFS_ASSIGN(SnapshotList list, repo_.snapshots().List());
  for (const auto& problem : list.problems) Bad(problem.object, problem.why);
  report_.snapshots = list.snapshots.size();
  if (!MayReadTrees(repo_.key().type)) {
    report_.notes.emplace_back("directories were not checked: this key cannot read them");
    return {};
  }
  uint64_t done = 0;
  for (const auto& snapshot : list.snapshots) {
    Tell("snapshots", done++, list.snapshots.size());
    auto root = repo_.snapshots().Root(*snapshot);
    if (!root.ok()) {
      if (!IsDamage(root.status())) return root.status();
      Bad(SnapshotName(snapshot->id), root.status());
      continue;
    }
    BKFS_ASSIGN(bool sound, CheckTree(*snapshot, root->directory, ""));
    (void)sound;
  }
  return {};
}

Result<CheckReport> CheckRun::Run() {
  BKFS_TRY(CheckKeys());
  BKFS_TRY(ListPacks());
  BKFS_TRY(CheckSegments());
  BKFS_TRY(CheckPacks());
  BKFS_TRY(CheckSnapshots());
  if (options_.read_data && repo_.has_index() && !repo_.blobs().CanRead(PackKind::kContents)) {
    report_.notes.emplace_back(
        "contents were checked against the packs' names only: this key "
        "cannot open them");
  }
  return std::move(report_);
}

}  // namespace

Result<CheckReport> CheckRepository(
    Repository& repo, const CheckOptions& options,
    const std::function<void(std::string_view, uint64_t, uint64_t)>& progress) {
  return CheckRun(repo, options, progress).Run();
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "engine/maintain/blob_map.h"
#include "engine/maintain/check.h"
#include "engine/maintain/frame_examiner.h"
#include "engine/maintain/recent_blobs.h"
#include "engine/maintain/verified_packs.h"
#include "engine/repo/reader_lease.h"

namespace bkfs {

// What a check found that a repair may mend. Grows with the damage only.
struct CheckFindings {
  std::vector<IndexId> damaged_segments;
  std::set<PackId> absent;        // listed by the index, and not in the store
  std::vector<PackId> unindexed;  // sound footer, in no segment
  std::set<PackId> contradicted;  // the index says something else than their sound footers
  std::set<PackId> damaged;       // packs whose bytes are not those they had
  std::set<BlobId> lost_contents;
  std::vector<RefusedObject> refused_leases;
};

// One run of check: see CheckRepository. The parts are in check_*.cc. Not thread-safe.
class CheckRun {
 public:
  CheckRun(Repository& repo, const CheckOptions& options, const CheckProgress& progress);
  Result<CheckReport> Run();

  // For a repair: what was found, after Run. The others before it.
  const CheckFindings& findings() const { return findings_; }
  // What reading packs has shown before, so that they need not be read again.
  void Inherit(const CheckRun& before);
  void CollectLostContents() { collect_lost_ = true; }
  void TakeNoLease() { take_lease_ = false; }

 private:
  static constexpr uint64_t kAnyCount = UINT64_MAX;  // of a directory's entries
  static constexpr uint32_t kTopLevel = 256;         // above all levels of directory blobs

  // check.cc
  Status TakeLease();
  Status Look();
  Result<bool> HasChanged();
  void Bad(const std::string& object, const Status& why);
  void BadPack(const PackId& id, const Status& why);
  void Note(const std::string& note);
  Status Tell(std::string_view stage, uint64_t done, uint64_t of) const;
  bool Reaches(CheckLevel level) const { return options_.level >= level; }

  // check_structure.cc
  Status ListStore();
  void Classify(const std::string& name, uint64_t size);
  Status CheckSmallObjects();
  Status CheckForm(const std::string& name, ByteView object);

  // check_signatures.cc
  Status CheckSignatures();
  Status CheckLease(const std::string& name);
  Status CheckRecord(const std::string& name);
  void CheckKeys();

  // check_index.cc
  Status CheckSegments();
  Status CheckSegment(const IndexId& id);
  Status CheckIndexedPack(const IndexId& segment, uint64_t as_of, const IndexedPack& pack);
  Status CheckFooters();
  Status CheckFooter(const PackId& id, PackState& pack);
  Status ExamineDamaged();

  // check_data.cc
  Status ReadPacks();
  Status ReadPack(const PackId& id, bool& sound);
  Status OpenFooter(const PackId& id, ByteView object, PackFooter& footer);
  void CountVerified(const VerifiedPacks& verified);
  void CountVerified();

  // check_references.cc
  Status FindLost();
  Status VisitTree(const BlobId& root);
  struct Visit;
  Status VisitDirectory(const Visit& visit, std::vector<Visit>& below);
  Result<bool> MeetTreeBlob(const BlobId& id);
  Status VisitExtents(const std::vector<Extent>& extents);
  Status VisitLists(const std::vector<ListRef>& lists);
  void NoteUnindexed();
  Result<DirectoryPtr> LoadDirectory(const BlobId& id, uint64_t entries, uint32_t below_level);
  Result<std::shared_ptr<const ExtentListBlob>> LoadPiece(const ListRef& ref);

  // check_files.cc
  Status NameFiles();
  struct Level;
  struct Walk;
  Status Enter(Walk& walk, Level level);
  Status Step(Walk& walk);
  Status CheckFile(const Entry& entry, Status& first);
  Status CheckExtents(const std::vector<Extent>& extents, Status& first);
  Status Affected(Walk& walk, const std::string& path, const Status& why);

  Repository& repo_;
  const CheckOptions options_;
  const CheckProgress& progress_;
  bool take_lease_ = true;
  bool collect_lost_ = false;
  FrameExaminer examiner_;
  ReaderLease lease_;
  CheckReport report_;
  CheckFindings findings_;
  std::unordered_set<std::string> named_;  // objects in the report

  // What the store was seen to hold; anew for each look.
  std::shared_ptr<const CondemnedPacks> log_;
  SnapshotList snapshots_;
  PackTable packs_;
  std::set<IndexId> segments_;
  std::vector<std::string> small_;  // names of other objects
  uint64_t unexpected_ = 0;
  std::unique_ptr<BlobMap> map_;
  std::unique_ptr<RecentBlobs> recent_;  // contents that are there
  uint64_t lost_ = 0;                    // references to what is not there

  // What reading packs has shown; kept from look to look.
  std::unordered_map<PackId, Status, IdHash> read_damage_;
  ReadableBlobs readable_;
  bool has_read_ = false;
  CheckReport read_report_;  // its counts of reading alone
};

// Whether a status says that an object is damaged, and not that the store or the key is in trouble.
bool IsDamage(const Status& status);

}  // namespace bkfs

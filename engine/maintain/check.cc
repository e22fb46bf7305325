// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/check.h"

#include <algorithm>

#include "engine/maintain/check_run.h"

namespace bkfs {

namespace {
constexpr int kLooks = 4;  // while others delete and replace
constexpr uint64_t kMostNotes = 200;

}  // namespace

Result<CheckLevel> ParseCheckLevel(std::string_view word) {
  if (word == "structure") return CheckLevel::kStructure;
  if (word == "signatures") return CheckLevel::kSignatures;
  if (word == "references") return CheckLevel::kReferences;
  return Status(Code::kInvalid, "'" + std::string(word) +
                                    "' is no level of checking: structure, signatures and "
                                    "references are");
}

bool IsDamage(const Status& status) {
  return status.Is(Code::kCorrupt) || status.Is(Code::kUnsupported) || status.Is(Code::kNotFound);
}

CheckRun::CheckRun(Repository& repo, const CheckOptions& options, const CheckProgress& progress)
    : repo_(repo), options_(options), progress_(progress), examiner_(repo), lease_(repo) {}

void CheckRun::Bad(const std::string& object, const Status& why) {
  if (named_.insert(object).second) report_.objects.push_back({object, why});
}

// What maintenance has given up is no damage; that nothing needs it, the references show.
void CheckRun::BadPack(const PackId& id, const Status& why) {
  if (!log_->Contains(id)) Bad(PackName(id), why);
}

void CheckRun::Note(const std::string& note) {
  if (report_.notes.size() < kMostNotes) report_.notes.push_back(note);
}

Status CheckRun::Tell(std::string_view stage, uint64_t done, uint64_t of) const {
  if (progress_) progress_(stage, done, of);
  if (options_.cancelled && options_.cancelled()) return {Code::kInterrupted, "interrupted"};
  return {};
}

// It pins nothing: what goes meanwhile is looked at again. But nothing goes that was condemned
// before this run has heard of it, without notice.
Status CheckRun::TakeLease() {
  if (!take_lease_) return {};
  ReaderLease::Options lease;
  lease.ttl_ns = options_.lease_ttl_ns;
  lease.host = options_.host;
  lease.program = options_.program;
  return lease_.Begin(lease);
}

// Snapshots are listed before the index and the packs: what a snapshot needs is put before it.
Status CheckRun::Look() {
  report_ = CheckReport();
  findings_ = CheckFindings();
  named_.clear();
  snapshots_ = SnapshotList();
  lost_ = 0;
  map_.reset();
  BKFS_TRY(repo_.maintenance().Refresh());
  log_ = repo_.maintenance().Current();
  if (Reaches(CheckLevel::kSignatures) && MayReadLog(repo_.key().type)) {
    BKFS_TRY(Tell("snapshots", 0, 1));
    BKFS_ASSIGN(snapshots_, repo_.snapshots().List());
    report_.snapshots = snapshots_.snapshots.size();
  }
  // A snapshot that came after the index was read must not seem to lack what it brought along.
  if (repo_.has_index()) BKFS_TRY(repo_.RefreshIndex());
  BKFS_TRY(ListStore());
  CheckKeys();
  if (Reaches(CheckLevel::kSignatures)) BKFS_TRY(CheckSignatures());
  BKFS_TRY(CheckSmallObjects());
  BKFS_TRY(CheckSegments());
  if (Reaches(CheckLevel::kReferences) && repo_.has_index()) BKFS_TRY(CheckFooters());
  if (options_.read.reads() && !has_read_) BKFS_TRY(ReadPacks());
  has_read_ = true;
  for (const auto& [id, why] : read_damage_) {
    if (!packs_.contains(id)) continue;
    BadPack(id, why);
    findings_.damaged.insert(id);
  }
  if (!Reaches(CheckLevel::kReferences)) return {};
  if (repo_.has_index()) BKFS_TRY(ExamineDamaged());
  return FindLost();
}

void CheckRun::Inherit(const CheckRun& before) {
  read_damage_ = before.read_damage_;
  read_report_ = before.read_report_;
  has_read_ = true;
}

// Whether something went, or the index was rewritten, while this look went on.
Result<bool> CheckRun::HasChanged() {
  std::set<IndexId> segments;
  BKFS_TRY(repo_.store().List("index/", [&](const std::string& name, uint64_t) {
    auto id = ParseIndexName(name);
    if (id.ok()) segments.insert(*id);
    return Status();
  }));
  if (segments != segments_) return true;
  uint64_t there = 0;
  BKFS_TRY(repo_.store().List("packs/", [&](const std::string& name, uint64_t) {
    auto id = ParsePackName(name);
    if (id.ok() && packs_.contains(*id)) ++there;
    return Status();
  }));
  if (there < packs_.size()) return true;
  BKFS_TRY(repo_.removals().Refresh());
  return std::any_of(
      snapshots_.snapshots.begin(), snapshots_.snapshots.end(),
      [&](const auto& snapshot) { return repo_.removals().IsRemoved(snapshot->id); });
}

Result<CheckReport> CheckRun::Run() {
  BKFS_TRY(TakeLease());
  for (int look = 0; look < kLooks; ++look) {
    BKFS_TRY(Look());
    if (!report_.damaged() && lost_ == 0) break;
    BKFS_ASSIGN(bool changed, HasChanged());
    if (!changed) break;
  }
  if (lost_ > 0) BKFS_TRY(NameFiles());
  if (!options_.read.reads()) {
    read_report_ = CheckReport();
    CountVerified();
  }
  report_.read_bytes = read_report_.read_bytes;
  report_.verified_packs = read_report_.verified_packs;
  report_.never_verified = read_report_.never_verified;
  report_.oldest_verified_ns = read_report_.oldest_verified_ns;
  report_.read_all = read_report_.read_all;
  if (unexpected_ > 0) {
    Note(std::to_string(unexpected_) + " more objects are not bkfs's and were passed over");
  }
  return std::move(report_);
}

Result<CheckReport> CheckRepository(Repository& repo, const CheckOptions& options,
                                    const CheckProgress& progress) {
  return CheckRun(repo, options, progress).Run();
}

}  // namespace bkfs

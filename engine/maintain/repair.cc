// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/repair.h"

#include <algorithm>
#include <memory>

#include "engine/crypto/hash.h"
#include "engine/maintain/check_run.h"
#include "engine/maintain/maintainer.h"
#include "engine/maintain/pack_rescue.h"
#include "engine/repo/maintainer_signature.h"
#include "engine/repo/pack_spool.h"
#include "engine/repo/segment_writer.h"

namespace bkfs {

namespace {
constexpr int kRounds = 10;  // as often may somebody else be quicker

using PackSet = std::unordered_set<PackId, IdHash>;

class RepairRun {
 public:
  RepairRun(Maintainer& maintainer, const RepairOptions& options, const CheckProgress& progress)
      : maintainer_(maintainer),
        repo_(maintainer.repo()),
        options_(options),
        progress_(progress),
        examiner_(maintainer.repo()) {}
  Result<RepairReport> Run();

 private:
  std::unique_ptr<CheckRun> NewCheck();
  Status MendLog(const CheckFindings& findings);
  Status CloseGaps();
  Status RemoveRubbish(const RefusedObject& refused);
  Result<bool> IsRubbish(const std::string& name, ByteView object);
  Status SortOut(const CheckFindings& findings);
  // What is known of a damaged pack.
  struct Rescuable {
    bool known = false;
    PackFooter footer;
    FrameVerdict verdict;
    Status refused;  // a footer whose signer is not known, or had no right
  };
  Status Consider(const PackId& id, uint64_t size, const SignedFooter& signed_footer,
                  ByteView bytes, Rescuable& best);
  Status SortOutPack(const PackId& id,
                     const std::unordered_map<PackId, IndexedPack, IdHash>& index);
  Status MendIndex(const CheckFindings& findings);
  Status IndexPacks(const std::vector<IndexedPack>& packs);
  Result<std::vector<IndexedPack>> Unlisted(const CheckFindings& findings);
  Result<IndexedPack> OwnFooter(const PackId& id, PackFooter& footer);
  Status Rescue(const PackId& id, const PackFooter& footer, const FrameVerdict& verdict,
                ByteView object);
  Status Condemn();
  Status SearchSources(std::set<BlobId> wanted);
  Status Tell(std::string_view stage, uint64_t done, uint64_t of) const;
  void Done(const std::string& what) { report_.repaired.push_back(what); }

  Maintainer& maintainer_;
  Repository& repo_;
  const RepairOptions& options_;
  const CheckProgress& progress_;
  FrameExaminer examiner_;
  RepairReport report_;
  std::vector<IndexedPack> rescued_;
  std::vector<PackId> given_up_;
  std::set<PackId> misread_;  // sound packs of which the index says something else
};

Status RepairRun::Tell(std::string_view stage, uint64_t done, uint64_t of) const {
  if (progress_) progress_(stage, done, of);
  if (options_.check.cancelled && options_.check.cancelled()) {
    return {Code::kInterrupted, "interrupted"};
  }
  return {};
}

// True for what no key could make count any more: it was changed, or its signer had no right. With
// a signer whose badge is not there it is another matter: that may be mended.
Result<bool> RepairRun::IsRubbish(const std::string& name, ByteView object) {
  KeyId signer;
  Status decoded;
  auto judge = [&](const auto& value) {
    decoded = value.status();
    if (value.ok()) signer = value->signer;
  };
  if (auto lease = ParseLeaseName(name); lease.ok()) {
    if (lease->what == LeaseObject::kFence) {
      judge(DecodeFence(object));
    } else {
      auto holder = HolderOfLease(object);
      decoded = holder.status();
      if (holder.ok()) signer = *holder;
    }
  } else if (ParseLogEntryName(name).ok()) {
    judge(DecodeLogEntry(object));
  } else if (ParseClosureName(name).ok()) {
    judge(DecodeClosure(object));
  } else {
    judge(DecodeRemoval(object));
  }
  if (decoded.Is(Code::kUnsupported)) return false;
  if (!decoded.ok()) return true;
  auto known = repo_.keys().Find(signer);
  if (known.code() == Code::kNotFound) return false;
  return known.ok() ? Result<bool>(true) : known.status();
}

// A number above the log's end that somebody has put rubbish at gets an empty entry: a holder that
// has read there what was not damaged yet must not take a later decision for it.
Status RepairRun::RemoveRubbish(const RefusedObject& refused) {
  auto object = repo_.store().Get(refused.object);
  if (object.code() == Code::kNotFound) return {};
  if (!object.ok()) return object.status();
  BKFS_ASSIGN(bool rubbish, IsRubbish(refused.object, *object));
  if (!rubbish) {
    report_.left.push_back(refused.object + ": " + refused.why.message());
    return {};
  }
  auto number = ParseLogEntryName(refused.object);
  const uint64_t last = repo_.maintenance().Current()->last;
  if (number.ok() && *number == last + 1) {
    for (int attempt = 0; attempt < kRounds; ++attempt) {
      BKFS_ASSIGN(bool put, repo_.maintenance().Append({}, repo_.key().signing, last));
      if (put) break;
    }
    Done(refused.object + ", which did not count, is replaced by an entry that says nothing");
    return {};
  }
  Status removed = repo_.store().Remove(refused.object);
  if (!removed.Is(Code::kNotFound)) BKFS_TRY(removed);
  Done(refused.object + ", which did not count, is removed");
  return {};
}

// What an entry that is lost condemned is simply not condemned any more.
Status RepairRun::CloseGaps() {
  BKFS_TRY(repo_.maintenance().Refresh());
  uint64_t before = 0;
  int attempts = 0;
  while (const uint64_t missing = repo_.maintenance().missing()) {
    attempts = missing == before ? attempts + 1 : 0;
    before = missing;
    auto there = repo_.store().Get(LogEntryName(missing));
    if (!there.ok() && !IsDamage(there.status())) return there.status();
    if (there.ok()) {
      BKFS_ASSIGN(bool rubbish, IsRubbish(LogEntryName(missing), *there));
      if (!rubbish) return {};  // its signer's badge is lost, and may be mended
    }
    if (attempts == kRounds) return {Code::kBusy, LogEntryName(missing) + " cannot be put"};
    BKFS_ASSIGN(bool put, repo_.maintenance().Append({}, repo_.key().signing, missing - 1));
    if (put) Done(LogEntryName(missing) + ", which was lost, is replaced by one that says nothing");
    BKFS_TRY(repo_.maintenance().Refresh());
  }
  return {};
}

Status RepairRun::MendLog(const CheckFindings& findings) {
  if (!repo_.keys().refused().empty()) {
    // What they have signed cannot be told from forgeries.
    report_.left.emplace_back("the maintenance log: badges or revocations are damaged");
    return {};
  }
  BKFS_TRY(CloseGaps());
  // What closing gaps has put in place of refused entries counts now.
  std::vector<RefusedObject> refused = findings.refused_leases;
  BKFS_TRY(repo_.removals().Refresh());
  for (const auto& more : {repo_.maintenance().refused(), repo_.removals().refused()}) {
    refused.insert(refused.end(), more.begin(), more.end());
  }
  std::sort(refused.begin(), refused.end(),
            [](const auto& a, const auto& b) { return a.object < b.object; });
  for (const auto& object : refused) BKFS_TRY(RemoveRubbish(object));
  return repo_.maintenance().Refresh();
}

Result<IndexedPack> RepairRun::OwnFooter(const PackId& id, PackFooter& footer) {
  BKFS_ASSIGN(uint64_t size, repo_.store().Size(PackName(id)));
  BKFS_ASSIGN(SignedFooter own, repo_.FetchFooter(id, size));
  BKFS_TRY(repo_.AcceptFooter(id, size, own, footer));
  return IndexedPack{id, size, std::move(own)};
}

// Put first, and found first: until here nothing points to the old pack any less.
Status RepairRun::Rescue(const PackId& id, const PackFooter& footer, const FrameVerdict& verdict,
                         ByteView object) {
  given_up_.push_back(id);
  BKFS_ASSIGN(RescuedBlobs rescued, RescuePack(repo_, footer, verdict, object));
  const size_t of = footer.blobs.size();
  if (rescued.packs.empty()) {
    Done(PackName(id) + ": given up; none of its " + std::to_string(of) + " blobs can be read");
    return {};
  }
  std::string names;
  for (const auto& pack : rescued.packs) {
    names += (names.empty() ? "" : " and ") + PackName(pack.id);
    rescued_.push_back(pack);
  }
  Done(PackName(id) + ": given up; " + std::to_string(rescued.blobs) + " of its " +
       std::to_string(of) + " blobs were moved to " + names);
  return {};
}

// Looks at a pack by a footer, if it is one that may be believed, and keeps what shows more of it.
Status RepairRun::Consider(const PackId& id, uint64_t size, const SignedFooter& signed_footer,
                           ByteView bytes, Rescuable& best) {
  PackFooter footer;
  Status accepted = repo_.AcceptFooter(id, size, signed_footer, footer);
  if (!accepted.ok()) {
    if (!IsDamage(accepted)) return accepted;
    best.refused = accepted;
    return {};
  }
  BKFS_ASSIGN(FrameVerdict verdict, examiner_.Examine(id, footer, bytes));
  if (best.known && verdict.good_frames() <= best.verdict.good_frames()) return {};
  best.known = true;
  best.footer = std::move(footer);
  best.verdict = std::move(verdict);
  return {};
}

// A pack with another's bytes under its name has a footer that opens those; so both are tried.
Status RepairRun::SortOutPack(const PackId& id,
                              const std::unordered_map<PackId, IndexedPack, IdHash>& index) {
  auto object = repo_.store().Get(PackName(id));
  if (object.code() == Code::kNotFound) return {};
  if (!object.ok() && !IsDamage(object.status())) return object.status();
  const Bytes bytes = object.ok() ? *std::move(object) : Bytes();
  Rescuable best;
  if (auto found = index.find(id); found != index.end()) {
    BKFS_TRY(Consider(id, found->second.size, found->second.footer, bytes, best));
  }
  auto own = repo_.FetchFooter(id, bytes.size());
  if (own.ok()) {
    BKFS_TRY(Consider(id, bytes.size(), *own, bytes, best));
  } else if (!IsDamage(own.status())) {
    return own.status();
  }
  const bool as_written = HashBytes(bytes) == id.bytes;
  if (as_written && best.known && own.ok() && best.verdict.why.ok()) {
    misread_.insert(id);
    return {};
  }
  // Whose badge is lost may be mended, and then this pack is sound.
  if (!best.known && (as_written || !best.refused.ok())) {
    report_.left.push_back(PackName(id) + ": " + best.refused.message());
    return {};
  }
  if (best.known && !examiner_.CanJudge(best.footer.kind)) {
    report_.left.push_back(PackName(id) + ": this " + std::string(KeyTypeName(repo_.key().type)) +
                           " key cannot tell which of its frames are sound");
    return {};
  }
  if (!best.known) Done(PackName(id) + ": its list of blobs is lost, and no index has it");
  return Rescue(id, best.footer, best.verdict, bytes);
}

Status RepairRun::SortOut(const CheckFindings& findings) {
  if (Status complete = repo_.maintenance().CheckComplete(); !complete.ok()) {
    report_.left.push_back("damaged packs: " + complete.message());
    return {};
  }
  std::set<PackId> suspects = findings.damaged;
  suspects.insert(findings.contradicted.begin(), findings.contradicted.end());
  const auto log = repo_.maintenance().Current();
  std::erase_if(suspects, [&](const PackId& id) { return log->Contains(id); });
  BKFS_ASSIGN(auto index, FindIndexedFooters(repo_, suspects));
  uint64_t done = 0;
  for (const auto& id : suspects) {
    BKFS_TRY(Tell("damaged packs", done++, suspects.size()));
    BKFS_TRY(SortOutPack(id, index));
  }
  return {};
}

// As of no entry of the log: whoever loads these looks whether the packs are in the store.
Status RepairRun::IndexPacks(const std::vector<IndexedPack>& packs) {
  SegmentWriter index(repo_, 0);
  for (const auto& pack : packs) BKFS_TRY(index.Add(pack));
  return index.Finish();
}

// Packs that are in no segment, or not as they are, with what their own footers say.
Result<std::vector<IndexedPack>> RepairRun::Unlisted(const CheckFindings& findings) {
  std::vector<PackId> ids(misread_.begin(), misread_.end());
  for (const auto& id : findings.unindexed) {
    if (!findings.damaged.contains(id)) ids.push_back(id);
  }
  std::vector<IndexedPack> out;
  for (const auto& id : ids) {
    PackFooter footer;
    auto own = OwnFooter(id, footer);
    if (IsDamage(own.status())) continue;  // the next check says so
    if (!own.ok()) return own.status();
    out.push_back(*std::move(own));
    Done(PackName(id) + " is in the index again");
  }
  return out;
}

// What is to be listed is listed before anything that lists something goes.
Status RepairRun::MendIndex(const CheckFindings& findings) {
  BKFS_TRY(Tell("the index", 0, 1));
  PackSet drop(misread_.begin(), misread_.end());
  for (const auto& id : findings.absent) {
    auto size = repo_.store().Size(PackName(id));
    if (size.code() != Code::kNotFound) continue;  // it has been copied back
    drop.insert(id);
    Done(PackName(id) + ", which is missing, is no longer in the index");
  }
  BKFS_ASSIGN(auto affected, maintainer_.SegmentsWith(drop));
  BKFS_ASSIGN(auto packs, Unlisted(findings));
  packs.insert(packs.end(), rescued_.begin(), rescued_.end());
  BKFS_TRY(IndexPacks(packs));
  BKFS_TRY(maintainer_.RewriteSegments(affected, drop));
  for (const auto& id : drop) BKFS_TRY(repo_.index().RemovePack(id));
  for (const auto& pack : packs) {
    BKFS_ASSIGN(PackFooter footer, DecodeFooterBody(pack.footer.body, pack.size));
    BKFS_TRY(repo_.index().AddPack(pack.id, pack.size, footer).status());
  }
  for (const auto& id : findings.damaged_segments) {
    Status removed = repo_.store().Remove(IndexName(id));
    if (!removed.Is(Code::kNotFound)) BKFS_TRY(removed);
    BKFS_TRY(repo_.index().UnmarkSegment(id));
    Done(IndexName(id) + ", which was damaged, is removed; its packs are in the index");
  }
  return {};
}

// Nothing new relies on these packs from here on; what is needed of them was moved and is listed.
Status RepairRun::Condemn() {
  if (given_up_.empty()) return {};
  for (int attempt = 0; attempt < kRounds; ++attempt) {
    BKFS_TRY(repo_.maintenance().Refresh());
    BKFS_TRY(repo_.maintenance().CheckComplete());
    RepositoryView view;
    view.log = repo_.maintenance().Current();
    BKFS_ASSIGN(view.store, maintainer_.ListPacks());
    BKFS_ASSIGN(bool decided, maintainer_.Decide(view, given_up_, {}));
    if (decided) return {};
  }
  return {Code::kBusy, "others prune or compact this repository at the same time"};
}

Status RepairRun::SearchSources(std::set<BlobId> wanted) {
  if (wanted.empty()) return {};
  BKFS_ASSIGN(auto writer, repo_.NewWriter(NewMemorySpool(), {}));
  writer->Heed(repo_.maintenance().Current());
  const size_t lost = wanted.size();
  uint64_t files = 0;
  SourceSearch search(repo_, *writer, wanted,
                      [&](const std::string&) { return Tell("files of the sources", files++, 0); });
  for (const auto& source : options_.sources) BKFS_TRY(search.Search(source));
  BKFS_TRY(writer->Flush());
  if (wanted.size() < lost) {
    Done(std::to_string(lost - wanted.size()) + " of " + std::to_string(lost) +
         " lost pieces of files were found in the sources and stored again");
  }
  return {};
}

// A check that only finds out.
std::unique_ptr<CheckRun> RepairRun::NewCheck() {
  CheckOptions quiet = options_.check;
  quiet.on_file = [](const AffectedFile&) {};
  auto run = std::make_unique<CheckRun>(repo_, quiet, progress_);
  run->TakeNoLease();
  return run;
}

Result<RepairReport> RepairRun::Run() {
  auto before = NewCheck();
  BKFS_TRY(before->Run().status());
  BKFS_TRY(MendLog(before->findings()));
  BKFS_TRY(SortOut(before->findings()));
  BKFS_TRY(MendIndex(before->findings()));
  BKFS_TRY(Condemn());
  if (!options_.sources.empty()) {
    auto between = NewCheck();
    between->CollectLostContents();
    between->Inherit(*before);
    BKFS_TRY(between->Run().status());
    BKFS_TRY(SearchSources(between->findings().lost_contents));
  }
  CheckRun after(repo_, options_.check, progress_);
  after.TakeNoLease();
  after.Inherit(*before);
  BKFS_ASSIGN(report_.check, after.Run());
  return std::move(report_);
}
}  // namespace

Result<RepairReport> RepairRepository(Repository& repo, const RepairOptions& options,
                                      const CheckProgress& progress) {
  if (!options.sources.empty() && !MayWrite(repo.key().type)) {
    return Status(Code::kDenied, "a " + std::string(KeyTypeName(repo.key().type)) +
                                     " key may not store contents again: leave out the sources, "
                                     "or use the master key");
  }
  RepairOptions all = options;
  all.check.level = CheckLevel::kReferences;
  Maintainer::Options run;
  run.host = options.check.host;
  run.program = options.check.program;
  run.lease_ttl_ns = options.check.lease_ttl_ns;
  run.ignore_damage = true;
  BKFS_ASSIGN(auto maintainer, Maintainer::Begin(repo, run, progress));
  return RepairRun(*maintainer, all, progress).Run();
}

}  // namespace bkfs

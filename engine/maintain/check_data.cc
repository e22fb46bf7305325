// SPDX-License-Identifier: Apache-2.0
// Packs read whole.
#include <algorithm>

#include "engine/crypto/hash.h"
#include "engine/maintain/check_run.h"

namespace bkfs {

namespace {
constexpr int64_t kSaveEvery = 20LL * 1'000'000'000;

VerifiedPacks LoadVerified(Repository& repo) {
  return VerifiedPacks::Load(repo.local_directory() + "/verified-packs",
                             repo.LocalKey("verified packs"), repo.log());
}
}  // namespace

// What is wrong with a pack is kept for all looks; a pack that is gone is looked for again by them.
Status CheckRun::ReadPack(const PackId& id, bool& sound) {
  sound = false;
  auto object = repo_.store().Get(PackName(id));
  if (object.code() == Code::kNotFound) return {};
  if (!object.ok() && !IsDamage(object.status())) return object.status();
  Status problem = object.status();
  if (problem.ok()) {
    read_report_.read_bytes += object->size();
    if (HashBytes(*object) != id.bytes) {
      problem = {Code::kCorrupt, "its bytes do not hash to its name: changed or cut"};
    }
  }
  if (problem.ok() && repo_.has_index()) {
    // The bytes are the writer's; whether the writer sealed what it said is another question.
    PackFooter footer;
    problem = OpenFooter(id, *object, footer);
    if (problem.ok()) {
      BKFS_ASSIGN(FrameVerdict verdict, examiner_.Examine(id, footer, *object));
      problem = verdict.why;
    }
  }
  if (problem.ok()) {
    sound = true;
    return {};
  }
  if (!IsDamage(problem)) return problem;
  read_damage_[id] = problem;
  return {};
}

Status CheckRun::OpenFooter(const PackId& id, ByteView object, PackFooter& footer) {
  Status cut(Code::kCorrupt, "it is cut short");
  if (object.size() < kPackHeader + kPackTrailer) return cut;
  BKFS_ASSIGN(uint32_t length, DecodePackTrailer(object.last(kPackTrailer)));
  if (length > object.size() - kPackHeader) return cut;
  BKFS_ASSIGN(SignedFooter own, DecodePackEnd(object.last(length), repo_.key().index_key.view(),
                                              repo_.header().repo));
  return repo_.AcceptFooter(id, object.size(), own, footer);
}

Status CheckRun::ReadPacks() {
  VerifiedPacks verified = LoadVerified(repo_);
  std::vector<PackId> all;
  for (const auto& [id, pack] : packs_) {
    if (!log_->doomed.contains(id)) all.push_back(id);
  }
  Clock& clock = repo_.clock();
  const auto selected = SelectPacks(options_.read, all, verified, clock.WallNanos());
  const int64_t began = clock.MonotonicNanos();
  int64_t saved = began;
  auto save = [&](const std::vector<PackId>* only) {
    Status status = verified.Save(only);
    if (!status.ok()) repo_.log().Warning("not remembered as verified: " + status.message());
    saved = clock.MonotonicNanos();
  };
  Status status;
  read_report_.read_all = true;
  for (size_t i = 0; i < selected.size(); ++i) {
    const int64_t now = clock.MonotonicNanos();
    if (options_.read.max_duration_ns > 0 && now - began >= options_.read.max_duration_ns) {
      read_report_.read_all = false;
      break;
    }
    if (now - saved >= kSaveEvery) save(nullptr);
    status = Tell("packs (reading)", i, selected.size());
    bool sound = false;
    if (status.ok()) status = ReadPack(selected[i], sound);
    if (!status.ok()) break;
    if (!sound) continue;
    verified.Set(selected[i], clock.WallNanos());
    ++read_report_.verified_packs;
  }
  if (status.ok() && read_report_.read_all && !options_.read.RoundName().empty()) {
    verified.EndRound();
  }
  save(&all);
  CountVerified(verified);
  return status;
}

void CheckRun::CountVerified(const VerifiedPacks& verified) {
  for (const auto& [id, pack] : packs_) {
    if (log_->Contains(id)) continue;
    const int64_t when = verified.When(id);
    if (when == 0) {
      ++read_report_.never_verified;
    } else {
      read_report_.oldest_verified_ns =
          std::min(read_report_.oldest_verified_ns.value_or(when), when);
    }
  }
}

void CheckRun::CountVerified() { CountVerified(LoadVerified(repo_)); }

}  // namespace bkfs

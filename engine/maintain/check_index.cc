// SPDX-License-Identifier: Apache-2.0
// Index segments against packs, and packs against their own footers.
#include "engine/crypto/hash.h"
#include "engine/maintain/check_run.h"

namespace bkfs {

namespace {
std::array<uint8_t, 16> ShortHash(ByteView body) {
  const Hash256 hash = HashBytes(body);
  std::array<uint8_t, 16> out;
  std::copy_n(hash.begin(), out.size(), out.begin());
  return out;
}
}  // namespace

Status CheckRun::CheckIndexedPack(const IndexId& segment, uint64_t as_of, const IndexedPack& pack) {
  PackFooter footer;
  Status accepted = repo_.AcceptFooter(pack.id, pack.size, pack.footer, footer);
  if (!accepted.ok()) {
    Bad(IndexName(segment), accepted);
    return {};
  }
  auto found = packs_.find(pack.id);
  if (found == packs_.end()) {
    // Nobody believes in what the log has doomed, or in what was there before it.
    if (log_->Contains(pack.id) || as_of + 1 < log_->base) return {};
    // Packs may have been listed before it was put, and its segment thereafter.
    auto size = repo_.store().Size(PackName(pack.id));
    if (size.ok()) {
      found = packs_.emplace(pack.id, PackState{.size = *size}).first;
    } else if (size.code() != Code::kNotFound) {
      return size.status();
    }
  }
  if (found == packs_.end()) {
    findings_.absent.insert(pack.id);
    BadPack(pack.id, {Code::kCorrupt, "the index lists this pack and it is missing"});
    return {};
  }
  PackState& state = found->second;
  if (state.size != pack.size) {
    findings_.damaged.insert(pack.id);
    BadPack(pack.id,
            {Code::kCorrupt, "has " + std::to_string(state.size) + " bytes, the index says " +
                                 std::to_string(pack.size) + ": it was cut or changed"});
  }
  const auto hash = ShortHash(pack.footer.body);
  if (state.indexed && state.footer != hash) {
    findings_.contradicted.insert(pack.id);
    BadPack(pack.id, {Code::kCorrupt, "index segments contradict each other about it"});
  }
  state.indexed = true;
  state.footer = hash;
  return {};
}

Status CheckRun::CheckSegment(const IndexId& id) {
  BKFS_ASSIGN(Bytes object, repo_.store().Get(IndexName(id)));
  if (HashBytes(object) != id.bytes) {
    findings_.damaged_segments.push_back(id);
    return {Code::kCorrupt, "its bytes do not hash to its name"};
  }
  if (!repo_.has_index() || !Reaches(CheckLevel::kSignatures)) return {};
  auto segment = DecodeIndexSegment(object, repo_.key().index_key.view(), repo_.header().repo);
  if (segment.code() == Code::kCorrupt) findings_.damaged_segments.push_back(id);
  if (!segment.ok()) return segment.status();
  object = Bytes();  // tens of MiB
  for (const auto& pack : segment->packs) {
    BKFS_TRY(CheckIndexedPack(id, segment->as_of, pack));
  }
  return {};
}

Status CheckRun::CheckSegments() {
  for (const auto& id : segments_) {
    BKFS_TRY(Tell("index", report_.segments++, segments_.size()));
    Status status = CheckSegment(id);
    if (status.ok() || status.Is(Code::kNotFound)) continue;  // gone: replaced meanwhile
    if (!IsDamage(status)) return status;
    Bad(IndexName(id), status);
  }
  return {};
}

Status CheckRun::CheckFooter(const PackId& id, PackState& pack) {
  auto signed_footer = repo_.FetchFooter(id, pack.size);
  if (!signed_footer.ok()) {
    if (signed_footer.code() == Code::kCorrupt) findings_.damaged.insert(id);
    return signed_footer.status();
  }
  if (pack.indexed) {
    if (ShortHash(signed_footer->body) == pack.footer) return {};
    findings_.damaged.insert(id);
    return {Code::kCorrupt, "its footer is not the one that the index has of it"};
  }
  PackFooter footer;
  BKFS_TRY(repo_.AcceptFooter(id, pack.size, *signed_footer, footer));
  // So that what it holds is found here; others do not find it, which is told if it matters.
  BKFS_TRY(repo_.index().AddPack(id, pack.size, footer).status());
  findings_.unindexed.push_back(id);
  return {};
}

Status CheckRun::CheckFooters() {
  uint64_t done = 0;
  for (auto& [id, pack] : packs_) {
    BKFS_TRY(Tell("packs", done++, packs_.size()));
    if (log_->doomed.contains(id)) continue;
    Status status = CheckFooter(id, pack);
    if (status.ok()) continue;
    if (!IsDamage(status)) return status;
    // What the index knows of it may be right, and is looked at frame by frame.
    if (!pack.indexed) pack.unusable = true;
    if (!status.Is(Code::kNotFound)) BadPack(id, status);
  }
  return {};
}

// Which blobs of packs that are damaged can be read all the same.
Status CheckRun::ExamineDamaged() {
  std::set<PackId> unknown;
  for (const auto& id : findings_.damaged) {
    if (packs_.contains(id) && !readable_.contains(id)) unknown.insert(id);
  }
  BKFS_ASSIGN(auto footers, FindIndexedFooters(repo_, unknown));
  uint64_t done = 0;
  for (const auto& id : unknown) {
    BKFS_TRY(Tell("damaged packs", done++, unknown.size()));
    auto known = footers.find(id);
    PackFooter footer;
    if (known == footers.end() ||
        !repo_.AcceptFooter(id, known->second.size, known->second.footer, footer).ok()) {
      // Not in the index: its own footer may be sound and its frames not.
      auto own = repo_.FetchFooter(id, packs_[id].size);
      if (!own.ok() || !repo_.AcceptFooter(id, packs_[id].size, *own, footer).ok()) {
        packs_[id].unusable = true;
        continue;
      }
    }
    auto object = repo_.store().Get(PackName(id));
    if (!object.ok()) {
      if (!IsDamage(object.status())) return object.status();
      packs_[id].unusable = true;
      continue;
    }
    BKFS_ASSIGN(FrameVerdict verdict, examiner_.Examine(id, footer, *object));
    readable_[id] = std::move(verdict.blobs);
    if (!examiner_.CanJudge(footer.kind)) {
      Note(PackName(id) + ": which files are affected cannot be told, since this key cannot open " +
           "its frames");
    }
  }
  return {};
}

}  // namespace bkfs

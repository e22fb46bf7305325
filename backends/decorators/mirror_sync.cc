// SPDX-License-Identifier: Apache-2.0
#include "backends/decorators/mirror_sync.h"

#include <algorithm>
#include <array>
#include <optional>

#include "backends/decorators/mirror_objects.h"
#include "engine/base/transfer.h"
#include "engine/crypto/hash.h"

namespace bkfs {

namespace {
using What = MirrorDifference::What;

// An object in 24 bytes. Two names with the same mark do not occur.
struct Mark {
  std::array<uint8_t, 16> name{};
  uint64_t size = 0;
  auto operator<=>(const Mark&) const = default;
};

Mark MarkOf(const std::string& name, uint64_t size) {
  const auto hash = HashBytes(AsBytes(name));
  Mark mark;
  std::copy_n(hash.begin(), mark.name.size(), mark.name.begin());
  mark.size = size;
  return mark;
}

Status GoOn(const std::function<Status()>& go_on) { return go_on ? go_on() : OkStatus(); }

Result<std::vector<Mark>> MarksOf(Backend& store, const std::function<Status()>& go_on) {
  std::vector<Mark> marks;
  BKFS_TRY(store.List("", [&](const std::string& name, uint64_t size) -> Status {
    if (IsMirrored(name)) marks.push_back(MarkOf(name, size));
    return GoOn(go_on);
  }));
  std::sort(marks.begin(), marks.end());
  return marks;
}

enum class Known { kSame, kOtherSize, kAbsent };
Known Find(const std::vector<Mark>& marks, const Mark& wanted) {
  auto at = std::lower_bound(marks.begin(), marks.end(), Mark{wanted.name, 0});
  if (at == marks.end() || at->name != wanted.name) return Known::kAbsent;
  return at->size == wanted.size ? Known::kSame : Known::kOtherSize;
}

// The order in which objects are copied: whoever finds one finds what it refers to.
int RankOf(const std::string& name) {
  if (name.starts_with("packs/")) return 0;
  if (name.starts_with("index/")) return 1;
  if (name.starts_with("snapshots/")) return 3;
  return name.find('/') == std::string::npos ? 4 : 2;
}

// Absent: nullopt.
Result<std::optional<uint64_t>> SizeIn(Backend& store, const std::string& name) {
  auto size = store.Size(name);
  if (size.code() == Code::kNotFound) return std::optional<uint64_t>();
  if (!size.ok()) return size.status();
  return std::optional<uint64_t>(*size);
}

Result<bool> IsSound(Backend& store, const std::string& name, uint64_t size) {
  constexpr uint64_t kPiece = 4 << 20;
  Hasher hasher;
  Bytes piece;
  for (uint64_t at = 0; at < size; at += piece.size()) {
    piece.resize(std::min(kPiece, size - at));
    Status read = store.ReadAt(name, at, piece);
    if (read.Is(Code::kCorrupt)) return false;
    BKFS_TRY(read);
    hasher.Update(piece);
  }
  return ToHex(hasher.Finish()).starts_with(name.substr(name.rfind('/') + 1));
}

// One comparison.
class Comparer {
 public:
  Comparer(Backend& primary, Backend& mirror, const CompareOptions& options)
      : primary_(primary), mirror_(mirror), options_(options) {}
  Result<MirrorComparison> Run();

 private:
  void Add(const std::string& name, What what) {
    if (found_.differences.size() < MirrorComparison::kMostNamed) {
      found_.differences.push_back({name, what});
    } else {
      ++found_.unnamed;
    }
  }
  Status ComparePrimary(const std::vector<Mark>& on_mirror);
  Status CompareMirror(const std::vector<Mark>& on_primary);
  Status CompareBytes();
  Status Confirm();
  Result<bool> Differs(MirrorDifference& difference);

  Backend& primary_;
  Backend& mirror_;
  const CompareOptions& options_;
  MirrorComparison found_;
  std::vector<std::pair<std::string, uint64_t>> read_;  // of what is to be read
};

Status Comparer::ComparePrimary(const std::vector<Mark>& on_mirror) {
  return primary_.List("", [&](const std::string& name, uint64_t size) -> Status {
    if (!IsMirrored(name)) return {};
    ++found_.objects;
    switch (Find(on_mirror, MarkOf(name, size))) {
      case Known::kAbsent: Add(name, What::kNotOnMirror); break;
      case Known::kOtherSize: Add(name, What::kOtherSize); break;
      case Known::kSame:
        if (!IsNamedByContent(name) || (options_.reads && options_.reads(name))) {
          read_.emplace_back(name, size);
        }
        break;
    }
    return GoOn(options_.go_on);
  });
}

Status Comparer::CompareMirror(const std::vector<Mark>& on_primary) {
  return mirror_.List("", [&](const std::string& name, uint64_t size) -> Status {
    if (IsMirrored(name) && Find(on_primary, MarkOf(name, size)) == Known::kAbsent) {
      Add(name, What::kNotOnPrimary);
    }
    return GoOn(options_.go_on);
  });
}

Status Comparer::CompareBytes() {
  for (const auto& [name, size] : read_) {
    BKFS_TRY(GoOn(options_.go_on));
    if (IsNamedByContent(name)) {
      auto sound = IsSound(mirror_, name, size);
      if (sound.code() == Code::kNotFound) continue;
      if (!sound.ok()) return sound.status();
      ++found_.read_objects;
      if (!*sound) Add(name, What::kDamagedOnMirror);
      continue;
    }
    const auto here = primary_.Get(name);
    const auto there = mirror_.Get(name);
    if (here.code() == Code::kNotFound || there.code() == Code::kNotFound) continue;
    if (!here.ok()) return here.status();
    if (!there.ok()) return there.status();
    if (*here != *there) Add(name, What::kOtherBytes);
  }
  return {};
}

// Asked again, object by object; `difference` says then what it is now.
Result<bool> Comparer::Differs(MirrorDifference& difference) {
  if (difference.what == What::kDamagedOnMirror || difference.what == What::kOtherBytes) {
    return true;
  }
  BKFS_ASSIGN(const auto there, SizeIn(mirror_, difference.name));
  BKFS_ASSIGN(const auto here, SizeIn(primary_, difference.name));
  if (here == there) return false;
  difference.what = !here ? What::kNotOnPrimary : !there ? What::kNotOnMirror : What::kOtherSize;
  return true;
}

Status Comparer::Confirm() {
  if (found_.differences.empty()) return {};
  BKFS_TRY(SleepWatched(options_.settle_ns));
  std::vector<MirrorDifference> confirmed;
  for (auto& difference : found_.differences) {
    BKFS_TRY(GoOn(options_.go_on));
    BKFS_ASSIGN(bool differs, Differs(difference));
    if (differs) confirmed.push_back(std::move(difference));
  }
  found_.differences = std::move(confirmed);
  return {};
}

Result<MirrorComparison> Comparer::Run() {
  {
    BKFS_ASSIGN(const auto on_mirror, MarksOf(mirror_, options_.go_on));
    BKFS_TRY(ComparePrimary(on_mirror));
  }
  {
    BKFS_ASSIGN(const auto on_primary, MarksOf(primary_, options_.go_on));
    BKFS_TRY(CompareMirror(on_primary));
  }
  BKFS_TRY(CompareBytes());
  BKFS_TRY(Confirm());
  return std::move(found_);
}

// What only the mirror has.
Status MendPrimaryLack(Backend& primary, Backend& mirror, const std::string& name,
                       MirrorMended& out) {
  if (name.starts_with("index/") || name.starts_with("condemned/")) {
    Status removed = mirror.Remove(name);
    if (!removed.Is(Code::kNotFound)) BKFS_TRY(removed);
    out.done.push_back(name + ", which only the mirror had, is removed there");
    return {};
  }
  if (!IsNamedByContent(name)) {
    out.left.push_back(name +
                       " is on the mirror only: copy it to the primary if it was lost there, "
                       "else remove it");
    return {};
  }
  return MendPrimary(primary, mirror, {name}, out);
}

Status MendMirror(Backend& primary, Backend& mirror, const std::string& name, MirrorMended& out) {
  BKFS_ASSIGN(const Copied copied, CopyObject(primary, mirror, name));
  if (copied == Copied::kDone) out.done.push_back(name + " is copied to the mirror");
  if (copied == Copied::kDamaged) {
    BKFS_TRY(MendPrimary(primary, mirror, {name}, out));
  }
  return {};
}
}  // namespace

std::string DescribeDifference(const MirrorDifference& difference) {
  switch (difference.what) {
    case What::kNotOnMirror: return "is not on the mirror";
    case What::kNotOnPrimary: return "is on the mirror only";
    case What::kOtherSize: return "has another size on the mirror";
    case What::kOtherBytes: return "has other bytes on the mirror";
    case What::kDamagedOnMirror: return "is damaged on the mirror";
  }
  return "";
}

Result<MirrorComparison> CompareStores(Backend& primary, Backend& mirror,
                                       const CompareOptions& options) {
  return Comparer(primary, mirror, options).Run();
}

Status MendPrimary(Backend& primary, Backend& mirror, const std::vector<std::string>& damaged,
                   MirrorMended& out) {
  for (const auto& name : damaged) {
    if (!IsNamedByContent(name)) continue;
    const auto here = primary.Get(name);
    if (here.ok() && HashesToName(name, *here)) continue;
    const auto there = mirror.Get(name);
    if (there.code() != Code::kNotFound && there.code() != Code::kCorrupt) BKFS_TRY(there.status());
    if (!there.ok() || !HashesToName(name, *there)) {
      out.left.push_back(name + " is damaged or missing on both the primary and the mirror");
      continue;
    }
    const ByteView whole(*there);
    BKFS_TRY(PutInstead(primary, name, std::span(&whole, 1)));
    out.done.push_back(name + " is copied to the primary from the mirror");
  }
  return {};
}

Result<MirrorMended> MendDifferences(Backend& primary, Backend& mirror,
                                     const MirrorComparison& found) {
  MirrorMended out;
  auto ordered = found.differences;
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const auto& a, const auto& b) { return RankOf(a.name) < RankOf(b.name); });
  for (const auto& difference : ordered) {
    BKFS_TRY(difference.what == What::kNotOnPrimary
                 ? MendPrimaryLack(primary, mirror, difference.name, out)
                 : MendMirror(primary, mirror, difference.name, out));
  }
  return out;
}

namespace {
// What one listing of both says the mirror lacks, in the order to copy it; `more`: not all of it.
struct Lacking {
  std::vector<std::string> names;
  bool more = false;
};

Result<Lacking> WhatLacks(Backend& primary, Backend& mirror, const std::function<Status()>& go_on) {
  BKFS_ASSIGN(const auto on_mirror, MarksOf(mirror, go_on));
  std::array<std::vector<std::string>, 5> by_rank;
  constexpr size_t kMost = MirrorComparison::kMostNamed;
  Lacking out;
  BKFS_TRY(primary.List("", [&](const std::string& name, uint64_t size) -> Status {
    if (!IsMirrored(name) || Find(on_mirror, MarkOf(name, size)) == Known::kSame) {
      return GoOn(go_on);
    }
    auto& list = by_rank[static_cast<size_t>(RankOf(name))];
    if (list.size() < kMost) list.push_back(name);
    return GoOn(go_on);
  }));
  // What is referred to comes whole before what refers to it.
  for (auto& list : by_rank) {
    out.names.insert(out.names.end(), list.begin(), list.end());
    if (list.size() == kMost) {
      out.more = true;
      break;
    }
  }
  return out;
}

Status CopyLacking(Backend& primary, Backend& mirror, const std::vector<std::string>& names,
                   const std::function<Status()>& go_on, CatchUpResult& out) {
  for (const auto& name : names) {
    BKFS_TRY(GoOn(go_on));
    // Somebody may have put it meanwhile: nothing is read for that.
    BKFS_ASSIGN(const auto there, SizeIn(mirror, name));
    if (there) {
      BKFS_ASSIGN(const auto here, SizeIn(primary, name));
      if (here == there) continue;
    }
    BKFS_ASSIGN(const Copied copied, CopyObject(primary, mirror, name));
    if (copied == Copied::kDone) ++out.copied;
    if (copied == Copied::kDamaged) out.left.push_back(name);
  }
  return {};
}

Status RemoveGone(Backend& primary, Backend& mirror, const std::vector<std::string>& removals,
                  const std::function<Status()>& go_on, CatchUpResult& out) {
  for (const auto& name : removals) {
    BKFS_TRY(GoOn(go_on));
    if (!IsMirrored(name)) continue;
    BKFS_ASSIGN(const auto here, SizeIn(primary, name));
    if (here) continue;
    Status removed = mirror.Remove(name);
    if (removed.Is(Code::kNotFound)) continue;
    if (removed.Is(Code::kDenied)) {
      ++out.kept;
      continue;
    }
    BKFS_TRY(removed);
    ++out.removed;
    // Put again between the question and the removal: then it is due on the mirror too.
    BKFS_ASSIGN(const auto again, SizeIn(primary, name));
    if (again) BKFS_TRY(CopyObject(primary, mirror, name).status());
  }
  return {};
}
}  // namespace

Result<CatchUpResult> CatchUp(Backend& primary, Backend& mirror,
                              const std::vector<std::string>& removals,
                              const std::function<Status()>& go_on) {
  CatchUpResult out;
  BKFS_TRY(RemoveGone(primary, mirror, removals, go_on, out));
  for (;;) {
    const size_t left = out.left.size();
    BKFS_ASSIGN(const Lacking lacking, WhatLacks(primary, mirror, go_on));
    BKFS_TRY(CopyLacking(primary, mirror, lacking.names, go_on, out));
    // Where only damaged objects were left over, the next round would find the same ones.
    if (!lacking.more || out.left.size() - left == lacking.names.size()) return out;
  }
}

}  // namespace bkfs

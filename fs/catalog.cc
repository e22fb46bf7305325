// SPDX-License-Identifier: Apache-2.0
#include "fs/catalog.h"

#include "engine/base/clock.h"
#include "engine/crypto/hash.h"

namespace bkfs {

namespace {
constexpr int64_t kNanosPerSecond = 1'000'000'000;

std::string TimeName(int64_t wall_nanos) {
  // Whole seconds, rounded down also before 1970.
  int64_t rest = wall_nanos % kNanosPerSecond;
  if (rest < 0) rest += kNanosPerSecond;
  return FormatRfc3339(wall_nanos - rest);
}
}  // namespace

uint64_t CatalogNumbers::OfSnapshot(const SnapshotId& id) {
  auto [place, is_new] = snapshots_.try_emplace(id, next_);
  if (is_new) ++next_;
  return place->second;
}

uint64_t CatalogNumbers::OfSeries(const std::string& name) {
  auto [place, is_new] = series_.try_emplace(name, next_);
  if (is_new) ++next_;
  return place->second;
}

Catalog::Catalog(const SnapshotList& list, CatalogNumbers& numbers) {
  for (const SnapshotPtr& snapshot : list.snapshots) {
    uint64_t number = numbers.OfSnapshot(snapshot->id);
    snapshots_.emplace(number, snapshot);
    by_id_.emplace(snapshot->id, snapshot);
    AddToSeries(number, snapshot, numbers);
    newest_ns_ = snapshot->body.time_ns;
  }
  for (auto& [number, series] : series_) {
    series.latest_link =
        AddLink("latest", series.name, "", {&series, series.latest, /*latest=*/true});
    series.directory = AddLink("series", series.name, "", {&series, nullptr, false});
  }
}

void Catalog::AddToSeries(uint64_t number, const SnapshotPtr& snapshot, CatalogNumbers& numbers) {
  const std::string& name = snapshot->body.name;
  Series& series = series_[numbers.OfSeries(name)];
  if (series.name.empty()) {
    series.name = name;
    series_by_name_[name] = &series;
  }
  series.latest = snapshot;  // the list is oldest first
  const std::string time = TimeName(snapshot->body.time_ns);
  std::string link_name = time;
  for (int n = 2; series.by_name.contains(link_name); ++n) {
    link_name = time + "-" + std::to_string(n);
  }
  Ino link = AddLink("item", name, link_name, {&series, snapshot, false});
  series.by_name[link_name] = number;
  series.items[number] = {link_name, link, snapshot};
}

Ino Catalog::AddLink(std::string_view what, std::string_view series, std::string_view item,
                     Link link) {
  const uint8_t zero = 0;
  Hash256 hash = HashParts({AsBytes(what), {&zero, 1}, AsBytes(series), {&zero, 1}, AsBytes(item)});
  Ino ino = MakeIno(ViewTag::kLinks, Load<uint64_t>(hash.data()));
  while (NumberOf(ino) < 16 || links_.contains(ino)) ino = MakeIno(ViewTag::kLinks, ino + 16);
  links_.emplace(ino, std::move(link));
  return ino;
}

Catalog::SnapshotPtr Catalog::FindSnapshot(const SnapshotId& id) const {
  auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

const Catalog::Series* Catalog::FindSeries(std::string_view name) const {
  auto found = series_by_name_.find(name);
  return found == series_by_name_.end() ? nullptr : found->second;
}

const Catalog::Link* Catalog::FindLink(Ino ino) const {
  auto found = links_.find(ino);
  return found == links_.end() ? nullptr : &found->second;
}

bool Catalog::SameSnapshots(const SnapshotList& list) const {
  if (list.snapshots.size() != by_id_.size()) return false;
  for (const SnapshotPtr& snapshot : list.snapshots) {
    if (!by_id_.contains(snapshot->id)) return false;
  }
  return true;
}

}  // namespace bkfs

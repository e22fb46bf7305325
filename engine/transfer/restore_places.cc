// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/restore_places.h"

namespace bkfs {

PlaceRef::~PlaceRef() {
  for (Place* place = place_; place && --place->references == 0;) {
    (*place->finish)(*place);
    Place* parent = place->parent;
    delete place;
    place = parent;  // which has lost a reference
  }
}

PlaceRef PlaceRef::Make(const PlaceRef& parent, std::string path, UniqueFd fd, Entry entry,
                        const std::function<void(Place&)>& finish) {
  auto* place = new Place;
  place->parent = parent.place_;
  if (place->parent) ++place->parent->references;
  place->path = std::move(path);
  place->fd = std::move(fd);
  place->entry = std::move(entry);
  place->finish = &finish;
  return PlaceRef(place);
}

LinkTable::Turn LinkTable::Ask(const PlaceRef& place, const Entry& entry, Target& target) {
  MutexLock lock(mutex_);
  auto [it, is_first] = groups_.try_emplace(entry.link_group);
  if (is_first) return Turn::kFirst;
  Group& group = it->second;
  if (!group.done) {
    group.later.push_back({place, entry});
    return Turn::kLater;
  }
  target = group.target;
  return Turn::kNow;
}

std::vector<LinkTable::Later> LinkTable::Done(uint64_t group_id, Target target) {
  MutexLock lock(mutex_);
  Group& group = groups_[group_id];
  group.done = true;
  group.target = std::move(target);
  return std::exchange(group.later, {});
}

bool LinkTable::Claim(const FileIdentity& identity, uint64_t group) {
  MutexLock lock(mutex_);
  return claims_.try_emplace(identity, group).first->second == group;
}

}  // namespace bkfs

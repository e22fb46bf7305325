// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/maintenance_log.h"

#include <algorithm>

#include "engine/crypto/secret.h"
#include "engine/repo/object_reader.h"

namespace bkfs {

namespace {
constexpr std::string_view kPrefix = "condemned/";
constexpr int kListings = 5;  // a list may miss what is put or dropped while it is made

using Entries = std::map<uint64_t, std::shared_ptr<const LogEntry>>;

uint64_t BaseOf(const Entries& entries) {
  uint64_t base = 1;
  for (const auto& [number, entry] : entries) base = std::max(base, entry->base);
  return base;
}

// The first number from the base on that is not there although a later one is; 0: none.
uint64_t GapIn(const Entries& entries, uint64_t base) {
  uint64_t expected = base;
  for (auto it = entries.lower_bound(base); it != entries.end(); ++it, ++expected) {
    if (it->first != expected) return expected;
  }
  return 0;
}
}  // namespace

MaintenanceLog::MaintenanceLog(Backend& store, KeyDirectory& keys, const RepoHeader& header)
    : store_(store),
      keys_(keys),
      header_(header),
      current_(std::make_shared<const CondemnedPacks>()) {}

std::shared_ptr<const CondemnedPacks> MaintenanceLog::Current() {
  MutexLock lock(mutex_);
  return current_;
}

std::vector<RefusedObject> MaintenanceLog::refused() {
  MutexLock lock(mutex_);
  return refused_;
}

uint64_t MaintenanceLog::missing() {
  MutexLock lock(mutex_);
  return missing_;
}

Status MaintenanceLog::CheckComplete() {
  MutexLock lock(mutex_);
  if (missing_ == 0) return {};
  return {Code::kCorrupt, LogEntryName(missing_) +
                              " is missing from the store: until it is back, or 'bkfs check "
                              "--repair' has closed the gap, nothing is deleted"};
}

Result<std::shared_ptr<const LogEntry>> MaintenanceLog::Load(ObjectReader& objects,
                                                             const std::string& name,
                                                             uint64_t number) {
  {
    MutexLock lock(mutex_);
    auto found = entries_.find(number);
    // A revocation may have come since, but an entry that was acted upon stays in force.
    if (found != entries_.end()) return found->second;
  }
  BKFS_ASSIGN(Bytes object, objects.Get(name));
  BKFS_ASSIGN(LogEntry entry, DecodeLogEntry(object));
  if (entry.number != number) {
    return Status(Code::kCorrupt, "it is entry " + std::to_string(entry.number) + ": swapped");
  }
  BKFS_TRY(CheckMaintainerSignature(keys_, header_, object, entry.signer));
  return std::make_shared<const LogEntry>(std::move(entry));
}

Result<MaintenanceLog::Listing> MaintenanceLog::ReadAll() {
  Listing listing;
  std::vector<std::pair<uint64_t, std::string>> names;
  BKFS_TRY(store_.List(std::string(kPrefix), [&](const std::string& name, uint64_t) {
    auto number = ParseLogEntryName(name);
    if (number.ok()) names.emplace_back(*number, name);
    return Status();
  }));
  std::vector<std::string> unknown;
  {
    MutexLock lock(mutex_);
    for (const auto& [number, name] : names) {
      if (!entries_.contains(number)) unknown.push_back(name);
    }
  }
  ObjectReader objects(store_, std::move(unknown));
  for (const auto& [number, name] : names) {
    auto entry = Load(objects, name, number);
    if (entry.code() == Code::kNotFound) {
      listing.gone = true;
    } else if (IsVerdict(entry.status())) {
      listing.refused.push_back({name, entry.status()});
    } else if (!entry.ok()) {
      return entry.status();
    } else {
      listing.entries[number] = *entry;
    }
  }
  return listing;
}

Status MaintenanceLog::Refresh() {
  Listing listing;
  uint64_t missing = 0;
  for (int attempt = 0; attempt < kListings; ++attempt) {
    BKFS_ASSIGN(listing, ReadAll());
    missing = GapIn(listing.entries, BaseOf(listing.entries));
    if (missing == 0 && !listing.gone) break;
  }
  const uint64_t base = BaseOf(listing.entries);
  auto next = std::make_shared<CondemnedPacks>();
  next->base = base;
  next->last = base - 1;
  for (auto it = listing.entries.begin(); it != listing.entries.end(); ++it) {
    if (it->first < base) continue;
    // Behind a gap they are heeded, but nobody may say to have moved past them.
    if (missing == 0 || it->first < missing) next->last = it->first;
    for (const auto& id : it->second->condemned) next->condemned.emplace(id, it->first);
    for (const auto& id : it->second->doomed) next->doomed.emplace(id, it->first);
  }
  MutexLock lock(mutex_);
  // Two threads may refresh at the same time; the log only grows.
  if (next->last < current_->last) return {};
  entries_ = std::move(listing.entries);
  refused_ = std::move(listing.refused);
  missing_ = missing;
  current_ = std::move(next);
  return {};
}

Result<bool> MaintenanceLog::Append(LogEntry entry, const SigningKey& key, uint64_t last) {
  entry.signer = key.id();
  entry.number = last + 1;
  entry.base = std::clamp<uint64_t>(entry.base, 1, entry.number);
  RandomBytes(entry.nonce);
  std::sort(entry.condemned.begin(), entry.condemned.end());
  std::sort(entry.doomed.begin(), entry.doomed.end());
  const std::string name = LogEntryName(entry.number);
  const Bytes object = EncodeLogEntry(entry, header_.repo, key);
  Status put = store_.PutOne(name, object);
  if (put.Is(Code::kExists)) {
    // A try whose answer was lost, or somebody else's entry.
    auto there = store_.Get(name);
    if (there.code() == Code::kNotFound) return false;
    if (!there.ok()) return there.status();
    if (*there != object) {
      ObjectReader objects(store_, {name});
      auto loaded = Load(objects, name, entry.number);
      if (!IsVerdict(loaded.status())) return false;
      // Rubbish in the way: it counts for nobody.
      BKFS_TRY(store_.Remove(name));
      return false;
    }
    put = {};
  }
  BKFS_TRY(put);
  BKFS_TRY(Refresh());
  return true;
}

Status MaintenanceLog::RemoveDropped() {
  std::vector<uint64_t> dropped;
  {
    MutexLock lock(mutex_);
    for (const auto& [number, entry] : entries_) {
      if (number < current_->base) dropped.push_back(number);
    }
  }
  for (uint64_t number : dropped) {
    Status removed = store_.Remove(LogEntryName(number));
    if (!removed.Is(Code::kNotFound)) BKFS_TRY(removed);
    MutexLock lock(mutex_);
    entries_.erase(number);
  }
  return {};
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/snapshot_store.h"

#include <algorithm>
#include <map>
#include <set>

#include "engine/repo/object_reader.h"

namespace bkfs {

namespace {
constexpr std::string_view kHeadsNote = "snapshot heads";
constexpr std::string_view kOwnNote = "last own snapshot";
constexpr size_t kHeadRecord = KeyId::kSize + 8 + SnapshotId::kSize;

struct Head {
  uint64_t seq = 0;
  SnapshotId id;
};
using Heads = std::map<KeyId, Head>;

Heads DecodeHeads(ByteView note) {
  Heads heads;
  for (size_t at = 0; at + kHeadRecord <= note.size(); at += kHeadRecord) {
    KeyId key;
    Head head;
    std::copy_n(note.begin() + static_cast<ptrdiff_t>(at), KeyId::kSize, key.bytes.begin());
    head.seq = Load<uint64_t>(note.data() + at + KeyId::kSize);
    std::copy_n(note.begin() + static_cast<ptrdiff_t>(at + KeyId::kSize + 8), SnapshotId::kSize,
                head.id.bytes.begin());
    heads[key] = head;
  }
  return heads;
}

Bytes EncodeHeads(const Heads& heads) {
  Bytes out;
  for (const auto& [key, head] : heads) {
    Append(out, key.view());
    AppendInt<uint64_t>(out, head.seq);
    Append(out, head.id.view());
  }
  return out;
}

bool IsAccepted(const Signer& signer, const SnapshotId& id) {
  return std::binary_search(signer.revocation->accepted.begin(), signer.revocation->accepted.end(),
                            id);
}

// Whether a signer may have made this record, and how it is shown.
Result<SignatureState> Judge(const Signer& signer, const SnapshotId& id) {
  if (!MayWrite(signer.type)) {
    return Status(Code::kCorrupt, "signed by " + std::string(KeyTypeName(signer.type)) + " key " +
                                      signer.id.hex() + ", which may not make snapshots");
  }
  if (!signer.revoked()) return SignatureState::kGood;
  if (IsAccepted(signer, id)) return SignatureState::kRevokedAccepted;
  return Status(Code::kDenied, "signed by key " + signer.id.hex() + " after that key was revoked");
}

void AddRefused(const std::vector<RefusedObject>& refused, SnapshotList& list) {
  for (const auto& object : refused) list.problems.push_back({object.object, object.why});
}
}  // namespace

std::string_view SignatureStateName(SignatureState state) {
  return state == SignatureState::kGood ? "good" : "revoked";
}

Result<std::shared_ptr<const Snapshot>> SnapshotStore::LoadOne(ObjectReader& objects,
                                                               const std::string& name) {
  BKFS_ASSIGN(SnapshotId id, ParseSnapshotName(name));
  BKFS_ASSIGN(Bytes object, objects.Get(name));
  if (SnapshotIdOf(object) != id) {
    return Status(Code::kCorrupt, "its bytes do not hash to its name: changed, cut or swapped");
  }
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->id = id;
  BKFS_ASSIGN(snapshot->envelope, DecodeSnapshotEnvelope(object, context_.header.repo));
  {
    MutexLock lock(mutex_);
    envelopes_[id] = snapshot->envelope;
  }
  auto signer = context_.keys.Find(snapshot->envelope.signer);
  if (signer.code() == Code::kNotFound) {
    return Status(Code::kCorrupt,
                  "signed by unknown key " + snapshot->envelope.signer.hex() + ": forged");
  }
  if (!signer.ok()) return signer.status();
  BKFS_TRY(VerifySnapshotSignature(object, signer->public_key));
  BKFS_ASSIGN(snapshot->signature, Judge(*signer, id));
  BKFS_ASSIGN(const EpochSecrets* secrets, context_.epochs.Secrets(snapshot->envelope.epoch));
  BKFS_ASSIGN(snapshot->body, OpenSnapshotBody(object, secrets->log));
  return std::shared_ptr<const Snapshot>(std::move(snapshot));
}

// The record as it counts now, or null: then it was removed (`gone`: just now), or `list` says what
// is wrong with it.
Result<std::shared_ptr<const Snapshot>> SnapshotStore::Recall(ObjectReader& objects,
                                                              const SnapshotId& id,
                                                              SnapshotList& list, bool& gone) {
  const std::string name = SnapshotName(id);
  auto refuse = [&](Status why) {
    list.problems.push_back({name, std::move(why)});
    return std::shared_ptr<const Snapshot>();
  };
  std::shared_ptr<const Snapshot> snapshot;
  {
    MutexLock lock(mutex_);
    auto found = known_.find(id);
    if (found != known_.end()) snapshot = found->second;
  }
  if (!snapshot) {
    auto loaded = LoadOne(objects, name);
    if (loaded.code() == Code::kNotFound) {
      gone = true;
      return std::shared_ptr<const Snapshot>();
    }
    if (!loaded.ok()) return refuse(loaded.status());
    snapshot = *loaded;
  }
  // A key may have been revoked since the record was read.
  BKFS_ASSIGN(Signer signer, context_.keys.Find(snapshot->envelope.signer));
  auto state = Judge(signer, id);
  if (!state.ok()) return refuse(state.status());
  if (!context_.removals.CountsUnder(snapshot->body.lease, id)) {
    return refuse({Code::kStale,
                   "made by a machine that maintenance had given up waiting for, which will make "
                   "it anew; it does not count and can be forgotten"});
  }
  if (*state != snapshot->signature) {
    auto changed = std::make_shared<Snapshot>(*snapshot);
    changed->signature = *state;
    snapshot = std::move(changed);
  }
  return snapshot;
}

std::vector<std::string> SnapshotStore::Unknown(const std::set<SnapshotId>& ids) {
  std::vector<std::string> names;
  MutexLock lock(mutex_);
  for (const SnapshotId& id : ids) {
    if (!known_.contains(id) && !context_.removals.IsRemoved(id)) names.push_back(SnapshotName(id));
  }
  return names;
}

Result<SnapshotList> SnapshotStore::ListOf(int64_t age_ns) {
  {
    MutexLock lock(mutex_);
    if (listed_ && context_.clock.MonotonicNanos() - listed_ns_ <= age_ns) return *listed_;
  }
  return List();
}

Result<SnapshotList> SnapshotStore::List() {
  const int64_t began_ns = context_.clock.MonotonicNanos();
  BKFS_ASSIGN(SnapshotList list, ListNow());
  MutexLock lock(mutex_);
  listed_ = std::make_shared<const SnapshotList>(list);
  listed_ns_ = began_ns;
  return list;
}

Result<SnapshotList> SnapshotStore::ListNow() {
  if (!MayReadLog(context_.key.type)) {
    return Status(Code::kDenied, "a " + std::string(KeyTypeName(context_.key.type)) +
                                     " key cannot list snapshots");
  }
  BKFS_TRY(context_.keys.Refresh());
  std::set<SnapshotId> ids;
  BKFS_TRY(context_.store.List("snapshots/", [&](const std::string& name, uint64_t) {
    auto id = ParseSnapshotName(name);
    if (id.ok()) ids.insert(*id);
    return Status();
  }));
  // After the records: a record goes only when its removal is there.
  BKFS_TRY(context_.removals.Refresh());
  SnapshotList list;
  bool gone = false;
  std::unordered_map<SnapshotId, std::shared_ptr<const Snapshot>, IdHash> present;
  ObjectReader objects(context_.store, Unknown(ids));
  for (const SnapshotId& id : ids) {
    if (context_.removals.IsRemoved(id)) continue;
    BKFS_ASSIGN(auto snapshot, Recall(objects, id, list, gone));
    if (!snapshot) continue;
    present[id] = snapshot;
    list.snapshots.push_back(std::move(snapshot));
  }
  {
    MutexLock lock(mutex_);
    known_ = std::move(present);
    std::erase_if(envelopes_, [&](const auto& item) { return !ids.contains(item.first); });
  }
  std::sort(list.snapshots.begin(), list.snapshots.end(), [](const auto& a, const auto& b) {
    return std::pair(a->body.time_ns, a->id) < std::pair(b->body.time_ns, b->id);
  });
  // Else a record forgotten just now would seem to have vanished.
  if (gone) BKFS_TRY(context_.removals.Refresh());
  AddRefused(context_.removals.refused(), list);
  AddRefused(context_.maintenance.refused(), list);
  BKFS_TRY(CheckChain(list));
  BKFS_TRY(RememberSeen(list));
  return list;
}

Status SnapshotStore::CheckChain(SnapshotList& list) {
  std::set<SnapshotId> present;
  {
    MutexLock lock(mutex_);
    for (const auto& [id, envelope] : envelopes_) present.insert(id);
  }
  std::set<SnapshotId> missing;
  for (const auto& snapshot : list.snapshots) {
    const SnapshotId& prev = snapshot->envelope.prev;
    if (prev.is_zero() || present.contains(prev) || context_.removals.IsRemoved(prev)) continue;
    if (!missing.insert(prev).second) continue;
    list.problems.push_back(
        {SnapshotName(prev),
         Status(Code::kCorrupt, "this record has vanished: snapshot " + snapshot->id.hex() +
                                    " follows it, and nobody with the right has removed it")});
  }
  if (!context_.seen) return {};
  BKFS_ASSIGN(auto note, context_.seen->GetNote(kHeadsNote));
  if (!note) return {};
  for (const auto& [key, head] : DecodeHeads(*note)) {
    if (present.contains(head.id) || context_.removals.IsRemoved(head.id)) continue;
    if (!missing.insert(head.id).second) continue;
    list.problems.push_back({SnapshotName(head.id),
                             Status(Code::kCorrupt,
                                    "this record was here before and has vanished: the store was "
                                    "rolled back, or somebody removed it")});
  }
  return {};
}

Status SnapshotStore::RememberSeen(const SnapshotList& list) {
  if (!context_.seen) return {};
  BKFS_ASSIGN(auto note, context_.seen->GetNote(kHeadsNote));
  const Heads before = note ? DecodeHeads(*note) : Heads();
  Heads heads = before;
  for (const auto& snapshot : list.snapshots) {
    Head& head = heads[snapshot->envelope.signer];
    if (snapshot->envelope.seq > head.seq) head = {snapshot->envelope.seq, snapshot->id};
  }
  Bytes encoded = EncodeHeads(heads);
  if (note && encoded == *note) return {};
  return context_.seen->PutNote(kHeadsNote, encoded);
}

Result<std::shared_ptr<const Snapshot>> SnapshotStore::Resolve(std::string_view what) {
  BKFS_ASSIGN(SnapshotList list, List());
  const auto& all = list.snapshots;
  auto newest = [&](auto&& matches) {
    std::shared_ptr<const Snapshot> best;
    for (const auto& snapshot : all) {
      if (matches(*snapshot)) best = snapshot;  // oldest first: the last one wins
    }
    return best;
  };
  if (auto id = SnapshotId::FromHex(what); id.ok()) {
    if (auto hit = newest([&](const Snapshot& s) { return s.id == *id; })) return hit;
    for (const auto& problem : list.problems) {
      if (problem.object == SnapshotName(*id)) return problem.why.WithContext(problem.object);
    }
  }
  if (auto hit = newest([&](const Snapshot& s) { return s.body.name == what; })) return hit;
  if (what == "latest" && !all.empty()) return all.back();
  if (size_t at = what.rfind('@'); at != std::string_view::npos) {
    auto name = what.substr(0, at);
    BKFS_ASSIGN(int64_t time, ParseRfc3339(what.substr(at + 1)));
    // A time without a fraction means its whole second, as listings print it.
    const bool whole_second = what.find('.', at) == std::string_view::npos;
    if (whole_second) time += 999'999'999;
    if (auto hit = newest(
            [&](const Snapshot& s) { return s.body.name == name && s.body.time_ns <= time; })) {
      return hit;
    }
  } else if (what.size() >= 4 && what.find_first_not_of("0123456789abcdef") == what.npos) {
    std::string candidates;
    std::shared_ptr<const Snapshot> hit;
    size_t hits = 0;
    for (const auto& snapshot : all) {
      if (!snapshot->id.hex().starts_with(what)) continue;
      hit = snapshot;
      ++hits;
      candidates += " " + snapshot->id.hex();
    }
    if (hits == 1) return hit;
    if (hits > 1) {
      return Status(Code::kInvalid, "'" + std::string(what) + "' is ambiguous, it could be" +
                                        candidates + ": give more digits");
    }
  }
  return Status(Code::kNotFound, "no snapshot '" + std::string(what) +
                                     "' (give an id, the beginning of one, a series' name, or "
                                     "name@time; 'bkfs snapshots' lists them)");
}

Result<Entry> SnapshotStore::Root(const Snapshot& snapshot) {
  BKFS_ASSIGN(const EpochSecrets* secrets, context_.epochs.Secrets(snapshot.envelope.epoch));
  if (secrets->tree.empty()) {
    return Status(Code::kDenied, "a " + std::string(KeyTypeName(context_.key.type)) +
                                     " key cannot read directories");
  }
  auto root = OpenRoot(snapshot.body.sealed_root, secrets->tree);
  if (!root.ok()) return root.status().WithContext(SnapshotName(snapshot.id));
  return root;
}

Result<std::pair<uint64_t, SnapshotId>> SnapshotStore::LastOwnRecord() {
  const KeyId self = context_.key.id();
  if (context_.seen) {
    BKFS_ASSIGN(auto note, context_.seen->GetNote(kOwnNote));
    if (note) {
      Heads heads = DecodeHeads(*note);
      if (auto it = heads.find(self); it != heads.end()) {
        const bool there = context_.store.Size(SnapshotName(it->second.id)).ok();
        if (!there) BKFS_TRY(context_.removals.Refresh());
        if (there || context_.removals.IsRemoved(it->second.id)) {
          return std::pair(it->second.seq, it->second.id);
        }
      }
    }
  }
  std::pair<uint64_t, SnapshotId> last{0, {}};
  std::vector<std::string> names;
  BKFS_TRY(context_.store.List("snapshots/", [&](const std::string& name, uint64_t) {
    if (ParseSnapshotName(name).ok()) names.push_back(name);
    return Status();
  }));
  ObjectReader objects(context_.store, names);
  for (const auto& name : names) {
    auto object = objects.Get(name);
    if (!object.ok()) continue;
    auto envelope = DecodeSnapshotEnvelope(*object, context_.header.repo);
    if (!envelope.ok() || envelope->signer != self || envelope->seq <= last.first) continue;
    if (!VerifySnapshotSignature(*object, context_.key.signing.public_key()).ok()) continue;
    last = {envelope->seq, SnapshotIdOf(*object)};
  }
  return last;
}

Result<std::shared_ptr<const Snapshot>> SnapshotStore::Commit(SnapshotBody body,
                                                              const Entry& root) {
  BKFS_TRY(CheckSeriesName(body.name));
  MutexLock one_at_a_time(commit_mutex_);
  BKFS_TRY(context_.epochs.Refresh());  // a machine that runs for long would miss a rotation
  const EpochPublicKeys epoch = context_.epochs.Newest();
  auto snapshot = std::make_shared<Snapshot>();
  BKFS_ASSIGN(auto last, LastOwnRecord());
  snapshot->envelope.epoch = epoch.epoch;
  snapshot->envelope.repo = context_.header.repo;
  snapshot->envelope.signer = context_.key.id();
  snapshot->envelope.seq = last.first + 1;
  snapshot->envelope.prev = last.second;
  body.sealed_root = SealRoot(root, epoch.tree);
  Bytes object = EncodeSnapshot(snapshot->envelope, body, epoch.log, context_.key.signing);
  snapshot->id = SnapshotIdOf(object);
  snapshot->body = std::move(body);
  BKFS_TRY(context_.store.PutOne(SnapshotName(snapshot->id), object));
  if (context_.seen) {
    Heads own{{snapshot->envelope.signer, {snapshot->envelope.seq, snapshot->id}}};
    Status noted = context_.seen->PutNote(kOwnNote, EncodeHeads(own));
    if (!noted.ok()) context_.log.Warning("local note not kept: " + noted.message());
  }
  return std::shared_ptr<const Snapshot>(std::move(snapshot));
}

Result<std::vector<SnapshotId>> SnapshotStore::RecordsOf(const KeyId& key) {
  BKFS_ASSIGN(Signer signer, context_.keys.Find(key));
  std::vector<std::string> names;
  BKFS_TRY(context_.store.List("snapshots/", [&](const std::string& name, uint64_t) {
    if (ParseSnapshotName(name).ok()) names.push_back(name);
    return Status();
  }));
  std::vector<SnapshotId> out;
  ObjectReader objects(context_.store, names);
  for (const auto& name : names) {
    BKFS_ASSIGN(Bytes object, objects.Get(name));
    auto envelope = DecodeSnapshotEnvelope(object, context_.header.repo);
    if (!envelope.ok() || envelope->signer != key) continue;
    if (!VerifySnapshotSignature(object, signer.public_key).ok()) continue;
    out.push_back(SnapshotIdOf(object));
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/mutex.h"
#include "engine/format/keyfile.h"
#include "engine/format/snapshot.h"
#include "engine/repo/backend.h"
#include "engine/repo/epochs.h"
#include "engine/repo/key_directory.h"
#include "engine/repo/maintenance_log.h"
#include "engine/repo/removals.h"

namespace bkfs {

class ObjectReader;

enum class SignatureState {
  kGood,
  kRevokedAccepted,  // the key has been revoked since; the record was there before
};
std::string_view SignatureStateName(SignatureState state);  // "good", "revoked"

// A verified snapshot record.
struct Snapshot {
  SnapshotId id;
  SnapshotEnvelope envelope;
  SnapshotBody body;
  SignatureState signature = SignatureState::kGood;
};

// A record that is refused, or a sign that one has vanished.
struct SnapshotProblem {
  std::string object;  // its name in the store
  Status why;  // kStale: nothing is wrong with it, but its lease was ended before it was put
};

struct SnapshotList {
  std::vector<std::shared_ptr<const Snapshot>> snapshots;  // oldest first
  std::vector<SnapshotProblem> problems;
};

// Facts about the repository that outlive the process (the index cache's notes). May be absent.
class SeenRecords {
 public:
  virtual ~SeenRecords() = default;
  virtual Result<std::optional<Bytes>> GetNote(std::string_view name) = 0;
  virtual Status PutNote(std::string_view name, ByteView value) = 0;
};

// The snapshot records of a repository, verified as doc/format.md section 9 says. Records read once
// are kept in memory (about 1 KiB each). Thread-safe.
class SnapshotStore {
 public:
  struct Context {
    Backend& store;
    KeyDirectory& keys;
    Removals& removals;
    MaintenanceLog& maintenance;
    const KeyMaterial& key;
    Epochs& epochs;
    const RepoHeader& header;
    Logger& log;
    Clock& clock;
    SeenRecords* seen;  // null: vanished records are only noticed by the chain
  };
  explicit SnapshotStore(const Context& context) : context_(context) {}

  // Everything there is now. kDenied when the key cannot read the log.
  Result<SnapshotList> List() BKFS_EXCLUDES(mutex_);
  // What the last List returned, if that began no longer ago than `age_ns`; else List.
  Result<SnapshotList> ListOf(int64_t age_ns) BKFS_EXCLUDES(mutex_);
  // "latest", an id, a unique prefix of one (at least 4 digits), a series' name (its latest), or
  // name@time (its latest at or before). kNotFound, or kInvalid when ambiguous, naming the
  // candidates.
  Result<std::shared_ptr<const Snapshot>> Resolve(std::string_view what);
  // The root directory's entry. kDenied when the key cannot read trees.
  Result<Entry> Root(const Snapshot& snapshot);

  // Signs and puts a record. Everything it refers to must be in the store, and stay there as
  // body.lease promises. Durable when it returns.
  Result<std::shared_ptr<const Snapshot>> Commit(SnapshotBody body, const Entry& root);

  // Ids of all well-formed, correctly signed records of one key, whatever its revocation: for
  // revoking it.
  Result<std::vector<SnapshotId>> RecordsOf(const KeyId& key);

 private:
  Result<std::shared_ptr<const Snapshot>> LoadOne(ObjectReader& objects, const std::string& name);
  Result<std::shared_ptr<const Snapshot>> Recall(ObjectReader& objects, const SnapshotId& id,
                                                 SnapshotList& list, bool& gone);
  Result<SnapshotList> ListNow() BKFS_EXCLUDES(mutex_);
  std::vector<std::string> Unknown(const std::set<SnapshotId>& ids) BKFS_EXCLUDES(mutex_);
  Status CheckChain(SnapshotList& list);
  Status RememberSeen(const SnapshotList& list);
  Result<std::pair<uint64_t, SnapshotId>> LastOwnRecord();

  const Context context_;
  Mutex mutex_;
  std::unordered_map<SnapshotId, std::shared_ptr<const Snapshot>, IdHash> known_
      BKFS_GUARDED_BY(mutex_);
  std::unordered_map<SnapshotId, SnapshotEnvelope, IdHash> envelopes_ BKFS_GUARDED_BY(mutex_);
  std::shared_ptr<const SnapshotList> listed_ BKFS_GUARDED_BY(mutex_);
  int64_t listed_ns_ BKFS_GUARDED_BY(mutex_) = 0;  // when that listing began
  Mutex commit_mutex_;  // one commit at a time; held over store calls on purpose
};

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/local_state.h"

#include "engine/base/fd.h"
#include "engine/crypto/hash.h"
#include "engine/staging/tree_sweep.h"

namespace bkfs {

namespace {
constexpr uint64_t kMemory = 8 << 20;
constexpr uint8_t kRootPrefix = 'r';
}  // namespace

Bytes PreviousState::Key() const {
  // The series' name is not shown to whoever looks at the disk.
  const Secret key = repo_.LocalKey("backup state names");
  const Hash256 hash = KeyedHash(key.view(), AsBytes(series_ + '\0' + host_));
  Bytes out{kRootPrefix};
  Append(out, hash);
  return out;
}

Result<std::unique_ptr<PreviousState>> PreviousState::Open(Repository& repo,
                                                           const std::string& series,
                                                           const std::string& host) {
  std::unique_ptr<PreviousState> state(new PreviousState(repo));
  state->series_ = series;
  state->host_ = host;
  if (MayReadLog(repo.key().type) && MayReadTrees(repo.key().type)) {
    BKFS_ASSIGN(SnapshotList list, repo.snapshots().List());
    for (const auto& snapshot : list.snapshots) {
      if (snapshot->body.name != series || snapshot->body.host != host) continue;
      // Others' records are not relied upon: their writer may have lied about contents.
      if (snapshot->envelope.signer != repo.key().id()) continue;
      state->snapshot_ = snapshot->id;
      BKFS_ASSIGN(state->root_, repo.snapshots().Root(*snapshot));
    }
    return state;
  }
  const std::string directory = repo.local_directory() + "/backup-state";
  BKFS_TRY(MakeDirectories(directory, 0700));
  auto journal = Journal::Open(directory, repo.LocalKey("backup state"), kMemory, repo.log());
  if (!journal.ok()) {
    return journal.status().WithContext("local state (is another backup with this key running?)");
  }
  state->journal_ = std::move(journal).value();
  repo.trees().SetLocal(&state->journal_->trees());
  BKFS_ASSIGN(auto stored, state->journal_->Get(state->Key()));
  if (stored && stored->size() > SnapshotId::kSize) {
    std::copy_n(stored->begin(), SnapshotId::kSize, state->snapshot_.bytes.begin());
    const Bytes entry(stored->begin() + SnapshotId::kSize, stored->end());
    BKFS_ASSIGN(state->root_, DecodeEntry(entry));
  }
  return state;
}

PreviousState::~PreviousState() {
  if (journal_) repo_.trees().SetLocal(nullptr);
}

LocalTrees* PreviousState::trees() { return journal_ ? &journal_->trees() : nullptr; }

Status PreviousState::Remember(const Entry& root, const SnapshotId& snapshot) {
  if (!journal_) return {};
  Bytes value(snapshot.bytes.begin(), snapshot.bytes.end());
  Append(value, EncodeEntry(root));
  Journal::Batch batch;
  batch.Put(Key(), value);
  BKFS_TRY(journal_->Write(batch));
  std::vector<Entry> roots;
  BKFS_TRY(journal_->Scan({{kRootPrefix}}, {}, [&](ByteView, ByteView stored) -> Result<bool> {
    const Bytes entry(stored.begin() + SnapshotId::kSize, stored.end());
    BKFS_ASSIGN(Entry decoded, DecodeEntry(entry));
    roots.push_back(std::move(decoded));
    return true;
  }));
  return SweepUnreachableTrees(*journal_, roots);
}

}  // namespace bkfs

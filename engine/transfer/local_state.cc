// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/local_state.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>

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

Status PreviousState::LoadFromStore() {
  BKFS_ASSIGN(SnapshotList list, repo_.snapshots().List());
  std::shared_ptr<const Snapshot> last;
  for (const auto& snapshot : list.snapshots) {
    if (snapshot->body.name != series_ || snapshot->body.host != host_) continue;
    // Others' records are not relied upon: their writer may have lied about contents.
    if (snapshot->envelope.signer == repo_.key().id()) last = snapshot;
  }
  if (!last) return {};
  auto root = repo_.snapshots().Root(*last);
  if (!root.ok()) {
    repo_.log().Warning("the last snapshot is not used: " + root.status().message());
    return {};
  }
  root_ = std::move(root).value();
  snapshot_ = last->id;
  return {};
}

Status PreviousState::OpenLocal() {
  const std::string directory = repo_.local_directory() + "/backup-state";
  BKFS_TRY(MakeDirectories(directory, 0700));
  BKFS_ASSIGN(lock_, OpenFile(directory + ".lock", O_RDWR | O_CREAT));
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    repo_.log().Warning("another backup with this key is running here: all files are read");
    return {};
  }
  auto journal = Journal::Open(directory, repo_.LocalKey("backup state"), kMemory, repo_.log());
  if (!journal.ok() && !journal.status().Is(Code::kNoSpace)) {
    repo_.log().Warning("what is remembered of the last backup is damaged and begun anew: " +
                        journal.status().message());
    BKFS_TRY(RemoveTree(directory));
    BKFS_TRY(MakeDirectories(directory, 0700));
    journal = Journal::Open(directory, repo_.LocalKey("backup state"), kMemory, repo_.log());
  }
  if (!journal.ok()) return journal.status();
  journal_ = std::move(journal).value();
  repo_.trees().SetLocal(&journal_->trees());
  return {};
}

Status PreviousState::LoadLocal() {
  BKFS_ASSIGN(auto stored, journal_->Get(Key()));
  if (!stored || stored->size() <= SnapshotId::kSize) return {};
  const Bytes entry(stored->begin() + SnapshotId::kSize, stored->end());
  BKFS_ASSIGN(root_, DecodeEntry(entry));
  std::copy_n(stored->begin(), SnapshotId::kSize, snapshot_.bytes.begin());
  return {};
}

Result<std::unique_ptr<PreviousState>> PreviousState::Open(Repository& repo,
                                                           const std::string& series,
                                                           const std::string& host) {
  std::unique_ptr<PreviousState> state(new PreviousState(repo));
  state->series_ = series;
  state->host_ = host;
  if (MayReadLog(repo.key().type) && MayReadTrees(repo.key().type)) {
    BKFS_TRY(state->LoadFromStore());
    return state;
  }
  BKFS_TRY(state->OpenLocal());
  if (!state->journal_) return state;
  Status loaded = state->LoadLocal();
  if (!loaded.ok()) {
    repo.log().Warning("the last backup's state is not used: " + loaded.message());
  }
  return state;
}

PreviousState::~PreviousState() {
  if (journal_) repo_.trees().SetLocal(nullptr);
}

LocalTrees* PreviousState::trees() { return journal_ ? &journal_->trees() : nullptr; }

void PreviousState::Remember(const Entry& root, const SnapshotId& snapshot) {
  if (!journal_) return;
  Status saved = Save(root, snapshot);
  if (saved.ok()) return;
  repo_.log().Warning("the snapshot is made, but its state is not remembered: " + saved.message());
}

Status PreviousState::Save(const Entry& root, const SnapshotId& snapshot) {
  Bytes value(snapshot.bytes.begin(), snapshot.bytes.end());
  Append(value, EncodeEntry(root));
  Journal::Batch batch;
  batch.Put(Key(), value);
  BKFS_TRY(journal_->Write(batch));
  std::vector<Entry> roots;
  BKFS_TRY(journal_->Scan({{kRootPrefix}}, {}, [&](ByteView, ByteView stored) -> Result<bool> {
    if (stored.size() <= SnapshotId::kSize) return Status(Code::kCorrupt, "a root is cut");
    const Bytes entry(stored.begin() + SnapshotId::kSize, stored.end());
    BKFS_ASSIGN(Entry decoded, DecodeEntry(entry));
    roots.push_back(std::move(decoded));
    return true;
  }));
  return SweepUnreachableTrees(*journal_, roots);
}

}  // namespace bkfs

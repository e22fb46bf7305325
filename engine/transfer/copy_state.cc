// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/copy_state.h"

#include <fcntl.h>
#include <sys/file.h>

#include "engine/staging/tree_sweep.h"

namespace bkfs {

namespace {
constexpr uint64_t kMemory = 16 << 20;
constexpr size_t kRowsAtOnce = 1000;
constexpr uint8_t kSnapshot = 's';
constexpr uint8_t kDirectory = 'd';
constexpr uint8_t kContents = 'c';

// Ids are keyed hashes or random, so they may stand in the open.
Bytes KeyOf(uint8_t kind, ByteView id) {
  Bytes key{kind};
  Append(key, id);
  return key;
}

Status Damaged() { return {Code::kCorrupt, "what is remembered of earlier copies is damaged"}; }

Result<CopiedRecord> DecodeRecord(ByteView key, ByteView value) {
  ByteReader ids(key);
  ByteReader rest(value);
  CopiedRecord out;
  (void)ids.Take<uint8_t>();
  auto take = [](ByteReader& from, auto& to) {
    ByteView part = from.TakeBytes(to.size());
    if (part.size() == to.size()) std::copy(part.begin(), part.end(), to.begin());
  };
  take(ids, out.source.bytes);
  take(rest, out.copy.bytes);
  take(rest, out.root.bytes);
  take(rest, out.lease.bytes);
  take(rest, out.tag);
  if (!ids.ok() || !rest.ok()) return Damaged();
  return out;
}
}  // namespace

Result<std::unique_ptr<CopyState>> CopyState::Open(Repository& to, const RepoId& from) {
  std::unique_ptr<CopyState> state(new CopyState(to));
  const std::string directory = to.local_directory() + "/copy-" + from.hex();
  const std::string purpose = "copy state " + from.hex();
  BKFS_TRY(MakeDirectories(directory, 0700));
  BKFS_ASSIGN(state->lock_, OpenFile(directory + ".lock", O_RDWR | O_CREAT));
  if (::flock(state->lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    return Status(
        Code::kBusy,
        "another copy to that repository runs here: wait until it is done (" + directory + ")");
  }
  auto journal = Journal::Open(directory, to.LocalKey(purpose), kMemory, to.log());
  if (!journal.ok() && !journal.status().Is(Code::kNoSpace)) {
    to.log().Warning(
        "what is remembered of earlier copies is damaged and begun anew, everything is read: " +
        journal.status().message());
    BKFS_TRY(RemoveTree(directory));
    BKFS_TRY(MakeDirectories(directory, 0700));
    journal = Journal::Open(directory, to.LocalKey(purpose), kMemory, to.log());
  }
  if (!journal.ok()) return journal.status();
  state->journal_ = std::move(journal).value();
  return state;
}

CopyState::~CopyState() {
  Status written = Flush();
  if (!written.ok()) to_.log().Warning("the copy is not remembered: " + written.message());
}

void CopyState::Use(const Tag& tag) {
  current_ = tag;
  Trust(tag);
}

Result<std::optional<Bytes>> CopyState::Get(const Bytes& key) {
  auto found = unwritten_.find(key);
  if (found != unwritten_.end()) return std::optional<Bytes>(found->second);
  return journal_->Get(key);
}

Status CopyState::Put(Bytes key, Bytes value) {
  unwritten_[std::move(key)] = std::move(value);
  return unwritten_.size() < kRowsAtOnce ? OkStatus() : Flush();
}

Status CopyState::Flush() {
  if (!journal_ || unwritten_.empty()) return {};
  Journal::Batch batch;
  for (const auto& [key, value] : unwritten_) batch.Put(key, value);
  BKFS_TRY(journal_->Write(batch));
  unwritten_.clear();
  return {};
}

Result<std::vector<CopiedRecord>> CopyState::Snapshots() {
  BKFS_TRY(Flush());
  std::vector<CopiedRecord> out;
  BKFS_TRY(journal_->Scan({{kSnapshot}}, {}, [&](ByteView key, ByteView value) -> Result<bool> {
    BKFS_ASSIGN(CopiedRecord record, DecodeRecord(key, value));
    out.push_back(record);
    return true;
  }));
  return out;
}

Status CopyState::PutSnapshot(const CopiedRecord& record) {
  Bytes value;
  Append(value, record.copy.view());
  Append(value, record.root.view());
  Append(value, record.lease.view());
  Append(value, record.tag);
  BKFS_TRY(Put(KeyOf(kSnapshot, record.source.view()), std::move(value)));
  return Flush();
}

Result<std::optional<CopyState::Directory>> CopyState::FindDirectory(const BlobId& source) {
  BKFS_ASSIGN(auto stored, Get(KeyOf(kDirectory, source.view())));
  if (!stored) return std::optional<Directory>();
  ByteReader reader(*stored);
  Directory out;
  ByteView blob = reader.TakeBytes(BlobId::kSize);
  ByteView tag = reader.TakeBytes(out.tag.size());
  out.ref.totals.files = reader.Take<uint64_t>();
  out.ref.totals.directories = reader.Take<uint64_t>();
  out.ref.totals.bytes = reader.Take<uint64_t>();
  out.ref.totals.linked = reader.Take<uint64_t>();
  if (!reader.ok()) return Damaged();
  std::copy(blob.begin(), blob.end(), out.ref.blob.bytes.begin());
  std::copy(tag.begin(), tag.end(), out.tag.begin());
  if (!trusted_.contains(out.tag)) return std::optional<Directory>();
  return std::optional(out);
}

Status CopyState::PutDirectory(const BlobId& source, const DirectoryRef& copy) {
  Bytes value;
  Append(value, copy.blob.view());
  Append(value, current_);
  for (uint64_t number :
       {copy.totals.files, copy.totals.directories, copy.totals.bytes, copy.totals.linked}) {
    AppendInt(value, number);
  }
  return Put(KeyOf(kDirectory, source.view()), std::move(value));
}

Result<std::optional<BlobId>> CopyState::FindContents(const BlobId& source) {
  BKFS_ASSIGN(auto stored, Get(KeyOf(kContents, source.view())));
  if (!stored) return std::optional<BlobId>();
  if (stored->size() != BlobId::kSize) return Damaged();
  BlobId out;
  std::copy(stored->begin(), stored->end(), out.bytes.begin());
  return std::optional(out);
}

Status CopyState::PutContents(const BlobId& source, const BlobId& copy) {
  const ByteView id = copy.view();
  return Put(KeyOf(kContents, source.view()), Bytes(id.begin(), id.end()));
}

}  // namespace bkfs

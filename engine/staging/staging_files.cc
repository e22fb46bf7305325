// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <linux/falloc.h>

#include <algorithm>

#include "engine/repo/tree_writer.h"
#include "engine/staging/staging_impl.h"

namespace bkfs {

StagingImpl::FilePtr StagingImpl::FindFile(NodeId node) {
  MutexLock lock(files_mutex_);
  auto found = files_.find(node);
  return found == files_.end() ? nullptr : found->second;
}

StagingImpl::FilePtr StagingImpl::GetFile(NodeId node) {
  MutexLock lock(files_mutex_);
  auto& file = files_[node];
  if (!file) file = std::make_shared<OpenFileState>(node);
  return file;
}

void StagingImpl::DropFileIfIdle(const FilePtr& file) {
  MutexLock lock(files_mutex_);
  if (file->readers == 0 && file->writers == 0) files_.erase(file->id);
}

Status StagingImpl::LoadContent(OpenFileState& file) {
  BKFS_TRY(file.lost);
  if (file.content) return {};
  Entry entry;
  {
    MutexLock lock(tree_mutex_);
    BKFS_ASSIGN(NodePtr node, Load(file.id));
    if (node->is_directory()) return {Code::kIsDirectory, "it is a directory"};
    if (node->entry.kind != EntryKind::kFile) return {Code::kInvalid, "not a regular file"};
    entry = node->entry;
  }
  BKFS_ASSIGN(auto extents, repo_.trees().LoadExtents(entry));
  file.content =
      std::make_unique<Content>(*writer_, repo_.blobs(), chunker_, std::move(extents), entry.size);
  return {};
}

// Runs `operation` on the node's contents, which need not be open: a mapped page may be written
// back after the last handle is gone.
template <typename Operation>
Status StagingImpl::WithContent(NodeId node, const Operation& operation) {
  FilePtr file = GetFile(node);
  Status status;
  {
    MutexLock holding(file->mutex);
    status = LoadContent(*file);
    if (status.ok()) status = operation(*file);
    bool idle = false;
    {
      MutexLock lock(files_mutex_);
      idle = file->readers == 0 && file->writers == 0;
    }
    if (idle && status.ok() && file->changed) status = Settle(*file);
  }
  DropFileIfIdle(file);
  return status;
}

Status StagingImpl::OpenFile(NodeId node, bool for_writing, bool truncate) {
  FilePtr file;
  {
    MutexLock lock(tree_mutex_);
    BKFS_ASSIGN(NodePtr loaded, Load(node));
    if (loaded->is_directory()) return {Code::kIsDirectory, "it is a directory"};
    // Counted under the tree's lock, so that an unlink sees the handle.
    MutexLock files(files_mutex_);
    auto& entry = files_[node];
    if (!entry) entry = std::make_shared<OpenFileState>(node);
    (for_writing ? entry->writers : entry->readers) += 1;
    file = entry;
    if (Series* series = SeriesOfNode(node); series && for_writing) ++series->open_writers;
  }
  if (!truncate) return {};
  Status status = Truncate(node, 0);
  if (!status.ok()) CloseFile(node, for_writing);
  return status;
}

void StagingImpl::CloseFile(NodeId node, bool for_writing) {
  FilePtr file = FindFile(node);
  if (!file) return;
  // Flush came before, and told of errors; what came after it (a mapped page) is settled here.
  {
    MutexLock holding(file->mutex);
    if (for_writing && file->changed) {
      Status status = Settle(*file);
      if (!status.ok()) repo_.log().Error("a file could not be stored: " + status.message());
    }
  }
  MutexLock lock(tree_mutex_);
  bool last = false;
  {
    MutexLock files(files_mutex_);
    auto& count = for_writing ? file->writers : file->readers;
    if (count > 0) --count;
    last = file->readers == 0 && file->writers == 0;
    if (last) files_.erase(node);
  }
  if (Series* series = SeriesOfNode(node); series && for_writing) {
    if (series->open_writers > 0) --series->open_writers;
    series->last_activity = repo_.clock().MonotonicNanos();
  }
  if (!last) return;
  auto loaded = Load(node);
  if (!loaded.ok() || !(*loaded)->orphan) return;
  Journal::Batch batch;
  batch.Delete(journal_keys::NodeKey(node));
  batch.Delete(journal_keys::OrphanKey(node));
  Forget(node);
  Status status = Save(batch);
  if (!status.ok()) repo_.log().Warning(status.message());  // dropped at the next start
}

void StagingImpl::MarkWritten(OpenFileState& file) {
  file.changed = true;
  file.mtime = Now();
}

Result<size_t> StagingImpl::Read(NodeId node, uint64_t offset, MutableByteView out) {
  size_t done = 0;
  BKFS_TRY(WithContent(node, [&](OpenFileState& file) BKFS_NO_ANALYSIS -> Status {
    BKFS_ASSIGN(done, file.content->Read(offset, out));
    return {};
  }));
  return done;
}

Status StagingImpl::Write(NodeId node, uint64_t offset, ByteView data) {
  return WithContent(node, [&](OpenFileState& file) BKFS_NO_ANALYSIS -> Status {
    MarkWritten(file);
    return file.content->Write(offset, data);
  });
}

Result<uint64_t> StagingImpl::Append(NodeId node, ByteView data) {
  uint64_t at = 0;
  BKFS_TRY(WithContent(node, [&](OpenFileState& file) BKFS_NO_ANALYSIS -> Status {
    MarkWritten(file);
    at = file.content->size();
    return file.content->Write(at, data);
  }));
  return at;
}

Status StagingImpl::Truncate(NodeId node, uint64_t size) {
  return WithContent(node, [&](OpenFileState& file) BKFS_NO_ANALYSIS -> Status {
    if (file.content->size() == size) return {};
    MarkWritten(file);
    return file.content->Truncate(size);
  });
}

Status StagingImpl::Allocate(NodeId node, int mode, uint64_t offset, uint64_t length) {
  if (length == 0 || offset + length < offset) return {Code::kInvalid, "empty range"};
  const bool keep_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
  const int what = mode & ~FALLOC_FL_KEEP_SIZE;
  if (what != 0 && what != FALLOC_FL_PUNCH_HOLE && what != FALLOC_FL_ZERO_RANGE) {
    return {Code::kUnsupported, "this kind of fallocate is not supported"};
  }
  if (what == FALLOC_FL_PUNCH_HOLE && !keep_size) {
    return {Code::kInvalid, "punching a hole keeps the size"};
  }
  return WithContent(node, [&](OpenFileState& file) BKFS_NO_ANALYSIS -> Status {
    Content& content = *file.content;
    const bool grows = !keep_size && offset + length > content.size();
    if (what == 0 && !grows) return {};
    MarkWritten(file);
    if (what != 0) BKFS_TRY(content.PunchHole(offset, length));
    if (grows) BKFS_TRY(content.Truncate(offset + length));
    return {};
  });
}

Result<uint64_t> StagingImpl::SeekData(NodeId node, uint64_t offset) {
  uint64_t at = 0;
  BKFS_TRY(WithContent(node, [&](OpenFileState& file) BKFS_NO_ANALYSIS -> Status {
    BKFS_ASSIGN(at, file.content->SeekData(offset));
    return {};
  }));
  return at;
}

Result<uint64_t> StagingImpl::SeekHole(NodeId node, uint64_t offset) {
  uint64_t at = 0;
  BKFS_TRY(WithContent(node, [&](OpenFileState& file) BKFS_NO_ANALYSIS -> Status {
    BKFS_ASSIGN(at, file.content->SeekHole(offset));
    return {};
  }));
  return at;
}

// Contents become blobs, blobs survive kill -9, and only then does the journal name them.
Status StagingImpl::Settle(OpenFileState& file) {
  if (!file.changed || !file.content) return {};
  BKFS_TRY(file.content->Settle());
  Entry contents;
  contents.size = file.content->size();
  BKFS_TRY(SetExtents(contents, file.content->Extents(), *writer_, &journal_->trees()));
  BKFS_TRY(writer_->Protect());
  MutexLock lock(tree_mutex_);
  BKFS_ASSIGN(NodePtr node, Load(file.id));
  BKFS_TRY(PrepareLinkChange(*node));
  Journal::Batch batch;
  BKFS_TRY(MarkParentsDirty(*node, batch));
  node->entry.size = contents.size;
  node->entry.extents = std::move(contents.extents);
  node->entry.lists = std::move(contents.lists);
  if (file.mtime) node->entry.mtime = node->entry.ctime = *file.mtime;
  PutNode(node, batch);
  BKFS_TRY(Save(batch));
  file.changed = false;
  file.mtime.reset();
  return {};
}

Status StagingImpl::Flush(NodeId node) {
  FilePtr file = FindFile(node);
  if (!file) return {};
  MutexLock holding(file->mutex);
  BKFS_TRY(file->lost);
  return Settle(*file);
}

Status StagingImpl::Fsync(NodeId node) {
  BKFS_TRY(Flush(node));
  if (options_.fsync_to_store) BKFS_TRY(writer_->Flush());
  BKFS_TRY(writer_->Sync());
  return journal_->Sync();
}

uint64_t StagingImpl::PendingBytes() { return writer_->stats().bytes_pending; }

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
// Relief for trees that refer to what is not held: it is stored again where it can be read, and
// what cannot be goes from /incoming, with a word in the log and in .status (doc/maintenance.md,
// W4).
#include <algorithm>

#include "engine/staging/staging_impl.h"

namespace bkfs {

namespace {
constexpr size_t kPortion = 1000;       // pieces looked for before the tree is let go again
constexpr size_t kDropBatch = 1 << 20;  // bytes of journal changes at a time
constexpr int kMaxListDepth = 8;        // of extent lists, as everywhere
constexpr std::string_view kIndent = "    ";

// Trying again would give the same answer.
bool IsUnreadable(const Status& status) {
  return status.Is(Code::kCorrupt) || status.Is(Code::kDenied) || status.Is(Code::kNotFound);
}
}  // namespace

Status StagingImpl::ForEachNode(const Series& series, NodeId from, const NodeVisitor& visit) {
  const NodeId first = GenerationOf(series.record.root) << kNodeBits;
  const NodeId last = first + (NodeId{1} << kNodeBits);
  return journal_->Scan({{'n'}}, journal_keys::NodeKey(std::max(first, from)),
                        [&](ByteView key, ByteView value) -> Result<bool> {
                          NodeId id = 0;
                          for (size_t i = 1; i < key.size(); ++i) id = id << 8 | key[i];
                          if (id >= last) return false;
                          BKFS_ASSIGN(Node node, DecodeNode(id, value));
                          return visit(std::move(node));
                        });
}

Result<bool> StagingImpl::VisitLists(const std::vector<ListRef>& lists, const BlobVisitor& visit,
                                     int depth) {
  if (depth >= kMaxListDepth) return false;
  for (const auto& ref : lists) {
    BKFS_ASSIGN(bool more, visit(PackKind::kTrees, ref.blob));
    if (!more) return false;
    auto list = repo_.trees().LoadList(ref.blob);
    if (!list.ok() && IsUnreadable(list.status())) return false;
    if (!list.ok()) return list.status();
    if ((*list)->level == 0) {
      BKFS_ASSIGN(more, VisitPieces((*list)->extents, visit));
    } else {
      BKFS_ASSIGN(more, VisitLists((*list)->lists, visit, depth + 1));
    }
    if (!more) return false;
  }
  return true;
}

Result<bool> StagingImpl::VisitPieces(const std::vector<Extent>& extents,
                                      const BlobVisitor& visit) {
  for (const auto& extent : extents) {
    if (extent.is_hole()) continue;
    BKFS_ASSIGN(bool more, visit(PackKind::kContents, extent.blob));
    if (!more) return false;
  }
  return true;
}

// Visits every blob that a file's contents consist of. False when the visitor had enough, or they
// cannot all be told.
Result<bool> StagingImpl::VisitContents(const Entry& entry, const BlobVisitor& visit) {
  return entry.lists.empty() ? VisitPieces(entry.extents, visit)
                             : VisitLists(entry.lists, visit, 0);
}

// Whether everything that a file's contents consist of is pending, or stored where it stays.
Result<bool> StagingImpl::HasContents(const Entry& entry) {
  return VisitContents(entry,
                       [&](PackKind kind, const BlobId& id) { return writer_->Has(kind, id); });
}

// A blob that is only where it will be deleted comes into a new pack. One that cannot be read stays
// as absent as it is.
Status StagingImpl::StoreBlobAgain(PackKind kind, const BlobId& id) {
  BKFS_ASSIGN(bool has, writer_->Has(kind, id));
  if (has) return {};
  Bytes bytes;
  if (kind == PackKind::kTrees) {
    auto tree = repo_.trees().Fetch(id);
    if (!tree.ok()) return IsUnreadable(tree.status()) ? OkStatus() : tree.status();
    bytes = *std::move(tree);
  } else {
    BKFS_ASSIGN(auto known, repo_.index().Find(id));
    if (!known) return {};  // asking the reader would look through the store's index for each
    auto blob = repo_.blobs().Read(kind, id);
    if (!blob.ok()) return IsUnreadable(blob.status()) ? OkStatus() : blob.status();
    bytes.assign(blob->bytes.begin(), blob->bytes.end());
  }
  return writer_->Add(kind, bytes).status();
}

// Takes note of some blobs that files refer to and that are not held, from node `next` on, which is
// moved. False: the tree has been looked through.
Result<bool> StagingImpl::FindAbsent(const Series& series, NodeId& next,
                                     std::vector<AbsentBlob>& absent) {
  bool more = false;
  size_t looked = 0;
  BKFS_TRY(ForEachNode(series, next, [&](Node node) -> Result<bool> {
    if (looked >= kPortion || absent.size() >= kPortion) {
      next = node.id;
      more = true;
      return false;
    }
    ++looked;
    if (node.entry.kind != EntryKind::kFile || node.entry.size == 0) return true;
    BKFS_ASSIGN(bool told, VisitContents(node.entry, [&](PackKind kind, const BlobId& id) {
                  return NoteAbsent({kind, id}, absent);
                }));
    (void)told;  // what cannot be told is dropped later
    return true;
  }));
  return more;
}

Result<bool> StagingImpl::NoteAbsent(const AbsentBlob& blob, std::vector<AbsentBlob>& absent) {
  BKFS_ASSIGN(bool has, writer_->Has(blob.kind, blob.id));
  if (!has) absent.push_back(blob);
  return true;
}

// Files with handles may refer to pieces that no journal names yet. Who writes into one that has
// lost some is told; the tree has the file as it was when it was last settled.
Status StagingImpl::RelieveOpenFiles(bool& stored) {
  std::vector<FilePtr> files;
  {
    MutexLock lock(files_mutex_);
    for (const auto& [node, file] : files_) files.push_back(file);
  }
  for (const auto& file : files) {
    MutexLock holding(file->mutex);
    if (!file->content || !file->changed) continue;
    std::vector<AbsentBlob> absent;
    BKFS_TRY(VisitPieces(file->content->Extents(), [&](PackKind kind, const BlobId& id) {
               return NoteAbsent({kind, id}, absent);
             }).status());
    for (const auto& blob : absent) BKFS_TRY(StoreBlobAgain(blob.kind, blob.id));
    stored = stored || !absent.empty();
    for (const auto& blob : absent) {
      BKFS_ASSIGN(bool has, writer_->Has(blob.kind, blob.id));
      if (has) continue;
      file->lost = Status(Code::kIo,
                          "what was written into this file before has been deleted by maintenance, "
                          "which had given up waiting for this machine");
      repo_.log().Error("a file that is open for writing: " + file->lost.message());
      file->content.reset();
      file->changed = false;
      break;
    }
    BKFS_TRY(SettleUnlessLost(*file));
  }
  return {};
}

// So that the journal names it: what is dropped from the trees is judged by that.
Status StagingImpl::SettleUnlessLost(OpenFileState& file) {
  return file.lost.ok() ? Settle(file) : OkStatus();
}

// Everything that can be read is in the store before anything is dropped, and before a state of the
// lease lets go of the packs it was in. An error leaves the trees as they are.
Status StagingImpl::StoreAgain() {
  writer_->TryAgain();
  bool stored = false;
  BKFS_TRY(RelieveOpenFiles(stored));
  std::vector<std::string> names;
  {
    MutexLock lock(tree_mutex_);
    for (const auto& [name, series] : series_) names.push_back(name);
  }
  for (const auto& name : names) {
    NodeId next = 0;
    for (bool more = true; more;) {
      std::vector<AbsentBlob> absent;
      {
        MutexLock lock(tree_mutex_);
        const Series* series = FindSeries(name);
        if (!series || !series->record.changed) break;
        BKFS_ASSIGN(more, FindAbsent(*series, next, absent));
      }
      for (const auto& blob : absent) BKFS_TRY(StoreBlobAgain(blob.kind, blob.id));
      stored = stored || !absent.empty();
    }
  }
  return stored ? writer_->Flush() : OkStatus();
}

Status StagingImpl::Relieve(std::string_view why) {
  BKFS_TRY(StoreAgain().WithContext("storing again what maintenance would delete"));
  MutexLock lock(tree_mutex_);
  return DropUnstored(why);
}

// Files whose contents are gone leave their trees, so that no snapshot refers to what is not there
// and the next rsync brings them.
Status StagingImpl::DropUnstored(std::string_view why) {
  for (auto& [name, series] : series_) {
    if (series.record.ended || !series.record.changed) continue;
    std::vector<NodeId> lost;
    BKFS_TRY(ForEachNode(series, 0, [&](Node node) -> Result<bool> {
      if (node.entry.kind != EntryKind::kFile || node.entry.size == 0) return true;
      BKFS_ASSIGN(bool has, HasContents(node.entry));
      if (!has) lost.push_back(node.id);
      return true;
    }));
    if (!lost.empty()) BKFS_TRY(DropFiles(series, lost, why));
  }
  return {};
}

// What .status says of them goes into the journal together with their going.
Status StagingImpl::DropFiles(Series& series, const std::vector<NodeId>& files,
                              std::string_view why) {
  const LostFiles before = series.record.lost;
  LostFiles lost;
  lost.set_why(why);
  Journal::Batch batch;
  for (size_t i = 0; i < files.size(); ++i) {
    BKFS_ASSIGN(NodePtr node, Load(files[i]));
    BKFS_ASSIGN(std::string path, PathOf(*node));
    lost.Add(1, std::move(path));
    BKFS_TRY(MarkParentsDirty(*node, batch));
    BKFS_TRY(DropNames(*node, batch));
    if (batch.bytes() < kDropBatch && i + 1 < files.size()) continue;
    series.record.lost = before;
    series.record.lost.Add(lost);
    batch.Put(journal_keys::SeriesKey(HashName(series.record.name)), EncodeSeries(series.record));
    BKFS_TRY(Save(batch));
  }
  series.lost_at = series.change_count;
  repo_.log().Warning("series " + series.record.name + ": " + lost.Text(kIndent));
  return {};
}

Status StagingImpl::DropNames(const Node& node, Journal::Batch& batch) {
  auto drop = [&](NodeId parent, const Bytes& key) BKFS_NO_ANALYSIS -> Status {
    BKFS_ASSIGN(auto bytes, journal_->Get(key));
    if (!bytes) return {};
    BKFS_ASSIGN(Dirent dirent, DecodeDirent(*bytes));
    gone_.push_back({parent, std::move(dirent.name)});
    batch.Delete(key);
    return {};
  };
  BKFS_TRY(journal_->Scan(journal_keys::LinkPrefix(node.id), {},
                          [&](ByteView key, ByteView) -> Result<bool> {
                            NodeId parent = 0;
                            for (size_t i = 9; i < 17; ++i) parent = parent << 8 | key[i];
                            Bytes dirent{'d'};
                            bkfs::Append(dirent, key.subspan(9));
                            BKFS_TRY(drop(parent, dirent));
                            batch.Delete(key);
                            return true;
                          }));
  if (node.entry.link_group == 0) {
    BKFS_TRY(drop(node.parent, journal_keys::DirentKey(node.parent, node.name_hash)));
  }
  batch.Delete(journal_keys::NodeKey(node.id));
  if (node.entry.link_group != 0) {
    // A name in a directory that was not looked into is another file from now on.
    batch.Delete(journal_keys::GroupKey(GenerationOf(node.id), node.entry.link_group));
  }
  Forget(node.id);
  return {};
}

// From the series' directory; of a file with several names one of them.
Result<std::string> StagingImpl::PathOf(const Node& node) {
  std::string path;
  NodeId parent = node.parent;
  NameHash hash = node.name_hash;
  while (parent != 0) {
    BKFS_ASSIGN(auto bytes, journal_->Get(journal_keys::DirentKey(parent, hash)));
    std::string name = "?";
    if (bytes) {
      BKFS_ASSIGN(Dirent dirent, DecodeDirent(*bytes));
      name = std::move(dirent.name);
    }
    path = path.empty() ? name : name + "/" + path;
    BKFS_ASSIGN(NodePtr dir, Load(parent));
    parent = dir->parent;
    hash = dir->name_hash;
  }
  return path;
}

std::vector<Staging::GoneName> StagingImpl::TakeGone() {
  MutexLock lock(tree_mutex_);
  return std::exchange(gone_, {});
}

}  // namespace bkfs

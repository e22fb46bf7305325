// SPDX-License-Identifier: Apache-2.0
#include "engine/staging/tree_sweep.h"

#include <algorithm>
#include <set>

namespace bkfs {

namespace {
constexpr std::string_view kSweptKey = "mtrees swept";
constexpr uint64_t kFewTrees = 1000;

// Every tree blob below the roots that is kept here.
Result<std::set<BlobId>> Reachable(Journal& journal, const std::vector<Entry>& roots) {
  std::set<BlobId> live;
  std::vector<BlobId> todo;
  for (const auto& root : roots) {
    if (!root.directory.is_zero()) todo.push_back(root.directory);
  }
  while (!todo.empty()) {
    const BlobId id = todo.back();
    todo.pop_back();
    if (!live.insert(id).second) continue;
    BKFS_ASSIGN(auto blob, journal.trees().Get(id));
    if (!blob) continue;  // never was here, so nothing below it either
    auto list = DecodeExtentList(*blob);
    auto view = DirectoryView::Parse(std::move(*blob));
    if (view.ok()) {
      for (size_t i = 0; i < (*view)->children(); ++i) todo.push_back((*view)->child(i).blob);
      for (size_t i = 0; i < (*view)->entries(); ++i) {
        const Entry entry = (*view)->entry(i);
        if (!entry.directory.is_zero()) todo.push_back(entry.directory);
        for (const auto& ref : entry.lists) todo.push_back(ref.blob);
      }
    } else if (list.ok()) {
      for (const auto& ref : list->lists) todo.push_back(ref.blob);
    }
  }
  return live;
}
}  // namespace

Status SweepUnreachableTrees(Journal& journal, const std::vector<Entry>& roots) {
  BKFS_ASSIGN(uint64_t count, journal.CountTrees());
  BKFS_ASSIGN(auto stored, journal.Get(AsBytes(kSweptKey)));
  const uint64_t before =
      stored && stored->size() == sizeof(uint64_t) ? Load<uint64_t>(stored->data()) : kFewTrees;
  if (count < 2 * before) return {};
  BKFS_ASSIGN(auto live, Reachable(journal, roots));
  BKFS_TRY(journal.SweepTrees([&](const BlobId& id) { return live.contains(id); }));
  Bytes swept;
  AppendInt<uint64_t>(swept, std::max<uint64_t>(live.size(), kFewTrees));
  Journal::Batch batch;
  batch.Put(AsBytes(kSweptKey), swept);
  return journal.Write(batch);
}

}  // namespace bkfs

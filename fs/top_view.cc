// SPDX-License-Identifier: Apache-2.0
#include "fs/top_view.h"

namespace bkfs {

Result<Node> TopView::Lookup(const Caller&, Ino dir, std::string_view name) {
  if (dir != kRootIno) return StaleInode(dir);
  for (const Item& item : items_) {
    if (item.name == name) return views_.GetAttr(item.ino);
  }
  return Status(Code::kNotFound, "no such name");
}

Result<Node> TopView::GetAttr(Ino ino) {
  if (ino != kRootIno) return StaleInode(ino);
  Node node;
  node.attr.ino = kRootIno;
  node.attr.kind = EntryKind::kDirectory;
  node.attr.mode = 0555;
  node.attr.nlink = static_cast<uint32_t>(2 + items_.size());
  node.attr.uid = owner_.uid;
  node.attr.gid = owner_.gid;
  node.attr.atime = node.attr.mtime = node.attr.ctime = started_;
  return node;
}

Status TopView::ReadDir(Ino dir, uint64_t from, bool, const DirSink& sink) {
  if (dir != kRootIno) return StaleInode(dir);
  if (!EmitDots(from, kRootIno, kRootIno, sink)) return {};
  for (size_t i = from < kDots ? 0 : from - kDots; i < items_.size(); ++i) {
    DirItem item{items_[i].name, i + 1 + kDots, items_[i].ino, EntryKind::kDirectory, nullptr};
    if (!sink(item)) break;
  }
  return {};
}

}  // namespace bkfs

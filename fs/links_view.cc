// SPDX-License-Identifier: Apache-2.0
#include "fs/links_view.h"

namespace bkfs {

namespace {
constexpr int64_t kNanosPerSecond = 1'000'000'000;

Timestamp FromNanos(int64_t nanos) {
  Timestamp t{nanos / kNanosPerSecond, 0};
  int64_t rest = nanos % kNanosPerSecond;
  if (rest < 0) {
    --t.seconds;
    rest += kNanosPerSecond;
  }
  t.nanos = static_cast<uint32_t>(rest);
  return t;
}

std::string TargetOf(const Catalog::Link& link) {
  return (link.latest ? "../snapshots/" : "../../snapshots/") + link.snapshot->id.hex();
}

Status NoSuchName(std::string_view name) {
  return {Code::kNotFound, "no '" + std::string(name) + "' here"};
}
}  // namespace

LinksView::LinksView(Repository& repo, CatalogKeeper& catalog, const Caller& owner)
    : catalog_(catalog), owner_(owner), started_ns_(repo.clock().WallNanos()) {}

Node LinksView::DirectoryNode(Ino ino, int64_t time_ns) const {
  Node node;
  node.keep_ms = kKeepShort;
  node.attr.ino = ino;
  node.attr.kind = EntryKind::kDirectory;
  node.attr.mode = 0555;
  node.attr.nlink = 2;
  node.attr.uid = owner_.uid;
  node.attr.gid = owner_.gid;
  node.attr.mtime = node.attr.ctime = node.attr.atime =
      FromNanos(time_ns == 0 ? started_ns_ : time_ns);
  return node;
}

Node LinksView::LinkNode(Ino ino, const Catalog::Link& link) const {
  if (!link.snapshot) return DirectoryNode(ino, link.series->latest->body.time_ns);
  Node node = DirectoryNode(ino, link.snapshot->body.time_ns);
  node.attr.kind = EntryKind::kSymlink;
  node.attr.mode = 0777;
  node.attr.nlink = 1;
  node.attr.size = TargetOf(link).size();
  return node;
}

Result<Node> LinksView::Lookup(const Caller&, Ino dir, std::string_view name) {
  BKFS_ASSIGN(CatalogPtr catalog, catalog_.Get());
  Ino found = 0;
  if (dir == kLatestIno || dir == kByNameIno) {
    const Catalog::Series* series = catalog->FindSeries(name);
    if (series == nullptr) return NoSuchName(name);
    found = dir == kLatestIno ? series->latest_link : series->directory;
  } else {
    const Catalog::Link* link = catalog->FindLink(dir);
    if (link == nullptr || link->snapshot) return StaleInode(dir);
    auto number = link->series->by_name.find(name);
    if (number == link->series->by_name.end()) return NoSuchName(name);
    found = link->series->items.at(number->second).link;
  }
  return LinkNode(found, *catalog->FindLink(found));
}

Result<Node> LinksView::GetAttr(Ino ino) {
  CatalogPtr catalog = catalog_.Peek();
  if (ino == kLatestIno || ino == kByNameIno) {
    return DirectoryNode(ino, catalog ? catalog->newest_ns() : 0);
  }
  const Catalog::Link* link = catalog ? catalog->FindLink(ino) : nullptr;
  if (link == nullptr) return StaleInode(ino);
  return LinkNode(ino, *link);
}

Result<std::string> LinksView::ReadLink(Ino ino) {
  BKFS_ASSIGN(CatalogPtr catalog, catalog_.Get());
  const Catalog::Link* link = catalog->FindLink(ino);
  if (link == nullptr) return StaleInode(ino);
  if (!link->snapshot) return Status(Code::kInvalid, "not a symbolic link");
  return TargetOf(*link);
}

Result<Opened> LinksView::OpenDir(Ino) {
  BKFS_ASSIGN([[maybe_unused]] CatalogPtr catalog, catalog_.Get());
  return Opened{};
}

Status LinksView::ReadSeriesList(Ino dir, const Catalog& catalog, uint64_t from,
                                 const DirSink& sink) {
  const bool latest = dir == kLatestIno;
  const auto& all = catalog.series();
  for (auto it = all.lower_bound(from < kDots ? 0 : from - kDots + 1); it != all.end(); ++it) {
    const Catalog::Series& series = it->second;
    Ino ino = latest ? series.latest_link : series.directory;
    Node node = LinkNode(ino, *catalog.FindLink(ino));
    if (!sink({series.name, it->first + kDots, ino, node.attr.kind, &node})) break;
  }
  return {};
}

Status LinksView::ReadDir(Ino dir, uint64_t from, bool, const DirSink& sink) {
  BKFS_ASSIGN(CatalogPtr catalog, catalog_.Get());
  const bool top = dir == kLatestIno || dir == kByNameIno;
  const Catalog::Link* link = top ? nullptr : catalog->FindLink(dir);
  if (!top && (link == nullptr || link->snapshot)) return StaleInode(dir);
  if (!EmitDots(from, dir, top ? kRootIno : kByNameIno, sink)) return {};
  if (top) return ReadSeriesList(dir, *catalog, from, sink);
  const auto& items = link->series->items;
  for (auto it = items.lower_bound(from < kDots ? 0 : from - kDots + 1); it != items.end(); ++it) {
    const Catalog::Series::Item& item = it->second;
    Node node = LinkNode(item.link, *catalog->FindLink(item.link));
    if (!sink({item.name, it->first + kDots, item.link, node.attr.kind, &node})) break;
  }
  return {};
}

}  // namespace bkfs

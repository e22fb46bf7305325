// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "fs/catalog_keeper.h"
#include "fs/view.h"

namespace bkfs {

// /latest/<series> and /by-name/<series>/<time>: links to the snapshots. Follows the catalog.
class LinksView final : public View {
 public:
  // `owner` owns everything shown. References must outlive it.
  LinksView(Repository& repo, CatalogKeeper& catalog, const Caller& owner);

  Result<Node> Lookup(const Caller& caller, Ino dir, std::string_view name) override;
  Result<Node> GetAttr(Ino ino) override;
  Result<std::string> ReadLink(Ino ino) override;
  Result<Opened> OpenDir(Ino dir) override;
  Status ReadDir(Ino dir, uint64_t from, bool with_nodes, const DirSink& sink) override;

 private:
  Node DirectoryNode(Ino ino, int64_t time_ns) const;
  Node LinkNode(Ino ino, const Catalog::Link& link) const;
  Status ReadSeriesList(Ino dir, const Catalog& catalog, uint64_t from, const DirSink& sink);

  CatalogKeeper& catalog_;
  const Caller owner_;
  const int64_t started_ns_;
};

}  // namespace bkfs

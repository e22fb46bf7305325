// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "fs/view.h"

namespace bkfs {

// The root directory: the fixed names under which the views hang.
class TopView final : public View {
 public:
  struct Item {
    std::string name;
    Ino ino = 0;
  };
  // `views` gives the attributes of the items; it must outlive this.
  TopView(View& views, std::vector<Item> items, const Caller& owner, Timestamp started)
      : views_(views), items_(std::move(items)), owner_(owner), started_(started) {}

  Result<Node> Lookup(const Caller& caller, Ino dir, std::string_view name) override;
  Result<Node> GetAttr(Ino ino) override;
  Status ReadDir(Ino dir, uint64_t from, bool with_nodes, const DirSink& sink) override;
  uint32_t KeepAbsence(Ino) override { return kKeepForever; }

 private:
  View& views_;
  const std::vector<Item> items_;
  const Caller owner_;
  const Timestamp started_;
};

// Knows no inode.
class NoView final : public View {
 public:
  Result<Node> Lookup(const Caller&, Ino dir, std::string_view) override { return StaleInode(dir); }
  Result<Node> GetAttr(Ino ino) override { return StaleInode(ino); }
  Status ReadDir(Ino dir, uint64_t, bool, const DirSink&) override { return StaleInode(dir); }
  Result<Opened> OpenDir(Ino dir) override { return StaleInode(dir); }
};

}  // namespace bkfs

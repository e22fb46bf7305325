// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine/maintain/check.h"
#include "engine/maintain/repair.h"
#include "tests/transfer/transfer_fixture.h"

namespace bkfs {

using Names = std::set<std::string>;
using FileCounts = std::map<std::string, int>;

// A repository of two snapshots in four packs, things to damage it with, and what a check says.
class CheckFixture : public TransferTest {
 protected:
  CheckFixture() {
    Write(At("dir/a"), PseudoRandom(400'000, 1));
    Write(At("dir/b"), PseudoRandom(400'000, 2));
    Write(At("c"), PseudoRandom(100, 3));
    EXPECT_TRUE(IsOk(Backup()));
    Write(At("dir/b"), PseudoRandom(400'000, 4));
    EXPECT_TRUE(IsOk(Backup()));
    for (const auto& name : Objects("packs/")) {
      auto kind = DecodePackHeader(ByteView(*store_.Get(name)).first(kPackHeader));
      (*kind == PackKind::kContents ? contents_ : trees_).push_back(name);
    }
    std::sort(contents_.begin(), contents_.end(),
              [&](const auto& a, const auto& b) { return *store_.Size(a) < *store_.Size(b); });
  }

  CheckReport Check(bool read_data, KeyMaterial key) {
    Reopen(std::move(key), "check-" + std::to_string(++round_));
    auto report = CheckRepository(
        *repo_,
        {.read = {.what = read_data ? ReadSelection::What::kAll : ReadSelection::What::kNothing}},
        {});
    EXPECT_TRUE(IsOk(report));
    return *report;
  }
  CheckReport Check(bool read_data) { return Check(read_data, test_.CloneMaster()); }
  static std::set<std::string> Damaged(const CheckReport& report) {
    std::set<std::string> names;
    for (const auto& problem : report.objects) names.insert(problem.object);
    return names;
  }
  // As path@number of snapshots it is affected in.
  static std::map<std::string, int> Files(const CheckReport& report) {
    std::map<std::string, int> files;
    for (const auto& file : report.files) ++files[file.path];
    return files;
  }
  void Flip(const std::string& name, size_t at) {
    Bytes data = *store_.Get(name);
    data[at % data.size()] ^= 4;
    store_.Replace(name, data);
  }
  void Cut(const std::string& name, size_t by) {
    Bytes data = *store_.Get(name);
    data.resize(data.size() - by);
    store_.Replace(name, data);
  }

  using Store = std::map<std::string, Bytes>;
  Store Save() {
    Store saved;
    for (const auto& name : Objects("")) saved[name] = *store_.Get(name);
    return saved;
  }
  void PutBack(const Store& saved) {
    for (const auto& name : Objects("")) {
      if (saved.contains(name)) continue;
      EXPECT_TRUE(IsOk(store_.Remove(name)));
    }
    for (const auto& [name, data] : saved) {
      auto there = store_.Get(name);
      if (!there.ok() || *there != data) store_.Replace(name, data);
    }
  }

  // What a reader with an empty cache meets, which is what a check must foretell: files whose
  // contents, and directories (with a '/' behind them) whose entries, cannot be read.
  FileCounts Unreadable() {
    Reopen(test_.CloneMaster(), "reader-" + std::to_string(++round_));
    FileCounts out;
    auto list = repo_->snapshots().List();
    EXPECT_TRUE(IsOk(list));
    for (const auto& snapshot : list->snapshots) {
      ReadTree(repo_->snapshots().Root(*snapshot)->directory, "", out);
    }
    return out;
  }
  void ReadTree(const BlobId& dir, const std::string& path, FileCounts& out) {
    Status read = repo_->trees().ForEach(
        dir, 0, [&](uint64_t, const DirectoryPtr& leaf, size_t i) -> Result<bool> {
          const Entry entry = leaf->entry(i);
          const std::string name = path + "/" + entry.name;
          if (entry.is_directory()) ReadTree(entry.directory, name, out);
          bool good = true;
          auto extents = repo_->trees().LoadExtents(entry);
          for (const auto& extent : extents.ok() ? *extents : std::vector<Extent>()) {
            if (extent.is_hole()) continue;
            good = good && repo_->blobs().Read(PackKind::kContents, extent.blob).ok();
          }
          if (!good || !extents.ok()) ++out[name];
          return true;
        });
    if (!read.ok()) ++out[path + "/"];
  }

  RepairReport Repair(bool read_data, KeyMaterial key, std::vector<std::string> sources = {}) {
    Reopen(std::move(key), "repair-" + std::to_string(++round_));
    RepairOptions options;
    if (read_data) options.check.read.what = ReadSelection::What::kAll;
    options.sources = std::move(sources);
    auto report = RepairRepository(*repo_, options, {});
    EXPECT_TRUE(IsOk(report));
    return report.ok() ? *report : RepairReport();
  }
  RepairReport Repair(bool read_data) { return Repair(read_data, test_.CloneMaster()); }

  std::vector<std::string> contents_;  // packs, smallest first
  std::vector<std::string> trees_;
  int round_ = 0;
};

}  // namespace bkfs

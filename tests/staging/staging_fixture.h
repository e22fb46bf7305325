// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>

#include "engine/repo/file_reader.h"
#include "engine/staging/staging.h"
#include "tests/support/test_repository.h"

namespace bkfs {

// A staging area over a repository, reopened at will.
class StagedRepository {
 public:
  explicit StagedRepository(Backend& store, const CreateOptions& create = {},
                            Clock* clock = nullptr)
      : test_(store, create, clock) {
    options.commit_idle_ns = 0;
    options.host = "host";
  }

  // Opens with `key`; commits only when asked.
  void Open(KeyMaterial key, const std::string& cache = "cache") {
    ASSERT_TRUE(IsOk(TryOpen(std::move(key), cache)));
  }
  Status TryOpen(KeyMaterial key, const std::string& cache = "cache") {
    BKFS_ASSIGN(repo_, test_.Open(std::move(key), test_.folder() + "/" + cache));
    options.directory = repo_->local_directory() + "/staging";
    auto staging = Staging::Open(*repo_, options);
    if (!staging.ok()) {
      repo_.reset();
      return staging.status();
    }
    staging_ = std::move(staging).value();
    return {};
  }
  void OpenMaster() { Open(test_.CloneMaster()); }
  void Close() {
    staging_.reset();
    repo_.reset();
  }

  Staging& staging() { return *staging_; }
  Repository& repo() { return *repo_; }
  TestRepository& test() { return test_; }
  Staging::Options options;  // for Open; the directory is set by it

  NodeId Series(const std::string& name) {
    auto attr = staging_->LookupSeries(name);
    if (!attr.ok()) {
      NewNode how;
      how.mode = 0755;
      attr = staging_->CreateSeries(name, how);
    }
    EXPECT_TRUE(IsOk(attr));
    return attr->id;
  }
  NodeId WriteFile(NodeId parent, const std::string& name, ByteView data) {
    auto made = staging_->Create(parent, name, {});
    NodeId id = 0;
    if (made.ok()) {
      id = made->id;
    } else {
      auto there = staging_->Lookup(parent, name);
      EXPECT_TRUE(IsOk(there));
      id = there->id;
    }
    EXPECT_TRUE(IsOk(staging_->OpenFile(id, true, true)));
    EXPECT_TRUE(IsOk(staging_->Write(id, 0, data)));
    EXPECT_TRUE(IsOk(staging_->Flush(id)));
    staging_->CloseFile(id, true);
    return id;
  }
  Bytes ReadFile(NodeId id) {
    auto attr = staging_->GetAttr(id);
    EXPECT_TRUE(IsOk(attr));
    Bytes out(attr->size);
    auto n = staging_->Read(id, 0, out);
    EXPECT_TRUE(IsOk(n));
    EXPECT_EQ(*n, out.size());
    return out;
  }
  // Path -> contents of every file in a snapshot.
  std::map<std::string, Bytes> ReadSnapshot(const SnapshotId& id) {
    return ReadSnapshotOf(*repo_, id);
  }
  static std::map<std::string, Bytes> ReadSnapshotOf(Repository& repo, const SnapshotId& id) {
    std::map<std::string, Bytes> files;
    auto snapshot = repo.snapshots().Resolve(id.hex());
    EXPECT_TRUE(IsOk(snapshot));
    auto root = repo.snapshots().Root(**snapshot);
    EXPECT_TRUE(IsOk(root));
    Collect(repo, *root, "", files);
    return files;
  }

 private:
  static void Collect(Repository& repo, const Entry& dir, const std::string& path,
                      std::map<std::string, Bytes>& files) {
    EXPECT_TRUE(IsOk(repo.trees().ForEach(
        dir.directory, 0, [&](uint64_t, const DirectoryPtr& leaf, size_t i) -> Result<bool> {
          const Entry entry = leaf->entry(i);
          const std::string name = path + "/" + entry.name;
          if (entry.is_directory()) {
            Collect(repo, entry, name, files);
          } else if (entry.kind == EntryKind::kFile) {
            BKFS_ASSIGN(auto map, FileMap::Open(repo.trees(), entry));
            FileReader reader(repo.blobs(), std::move(map));
            Bytes data(entry.size);
            BKFS_ASSIGN(size_t n, reader.Read(0, data));
            EXPECT_EQ(n, entry.size);
            files[name] = std::move(data);
          }
          return true;
        })));
  }

  TestRepository test_;
  std::unique_ptr<Repository> repo_;
  std::unique_ptr<Staging> staging_;
};

}  // namespace bkfs

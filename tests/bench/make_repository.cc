// SPDX-License-Identifier: Apache-2.0
// Fills an empty repository with synthetic snapshots, quicker than backups of as many real files:
//   make_repository REPOSITORY KEYFILE CACHE [BLOBS [SNAPSHOTS]]
// A tenth of the blobs are the files of the first snapshot, 200 in a directory; each later snapshot
// changes some files in every tenth directory. All blobs are different, of 60 to 300 bytes that do
// not compress. Everything follows from a fixed seed, but for the keys. Takes no lease: nobody else
// is to use the repository meanwhile.
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <random>

#include "engine/repo/tree_writer.h"
#include "tools/open_repository.h"

namespace bkfs {
namespace {

constexpr uint64_t kFilesInDirectory = 200;
constexpr uint64_t kDirectoriesInGroup = 50;
constexpr uint64_t kChangedOf = 10;  // a snapshot changes one directory of so many
constexpr uint64_t kInFirst = 10;    // one blob of so many is in the first snapshot
constexpr uint32_t kSmallest = 60;
constexpr uint32_t kLargest = 300;
constexpr int64_t kDay = 24LL * 3600 * 1'000'000'000;

struct Shape {
  uint64_t blobs = 5'000'000;
  uint64_t snapshots = 200;
};

std::string Numbered(const std::string& what, uint64_t number) {
  std::string digits = std::to_string(number);
  return what + std::string(6 - std::min<size_t>(6, digits.size()), '0') + digits;
}

class Filler {
 public:
  Filler(Repository& repo, BlobWriter& writer, const Shape& shape)
      : repo_(repo), writer_(writer), shape_(shape), start_(repo.clock().WallNanos()) {
    const uint64_t files = std::max(shape.blobs / kInFirst, kFilesInDirectory);
    files_.resize(files / kFilesInDirectory);
    for (auto& directory : files_) directory.resize(kFilesInDirectory);
    directories_.resize(files_.size());
    groups_.resize((files_.size() + kDirectoriesInGroup - 1) / kDirectoriesInGroup);
  }
  Status Fill();

 private:
  Status ChangeFile(uint64_t directory, uint64_t file);
  Status ChangeSome(uint64_t files);
  Status WriteDirectory(uint64_t directory);
  Status WriteGroup(uint64_t group);
  Status Commit(uint64_t number);
  Entry EntryOf(std::string name, const DirectoryRef& ref) const;
  DirectoryWriter NewDirectory() { return {writer_, repo_.key().chunker_key.view(), nullptr}; }

  Repository& repo_;
  BlobWriter& writer_;
  const Shape shape_;
  const int64_t start_;
  std::mt19937_64 random_{1};
  uint64_t made_ = 0;
  std::vector<std::vector<Extent>> files_;  // of each directory
  std::vector<DirectoryRef> directories_;
  std::vector<DirectoryRef> groups_;
};

Entry Filler::EntryOf(std::string name, const DirectoryRef& ref) const {
  Entry entry;
  entry.name = std::move(name);
  entry.kind = EntryKind::kDirectory;
  entry.mode = 0755;
  entry.directory = ref.blob;
  entry.totals = ref.totals;
  return entry;
}

Status Filler::ChangeFile(uint64_t directory, uint64_t file) {
  Bytes data(kSmallest + random_() % (kLargest - kSmallest + 1));
  for (auto& byte : data) byte = static_cast<uint8_t>(random_());
  Store(data.data(), made_++);  // so that none is like another
  Extent& extent = files_[directory][file];
  extent.length = data.size();
  BKFS_ASSIGN(extent.blob, writer_.Add(PackKind::kContents, data));
  return {};
}

Status Filler::WriteDirectory(uint64_t directory) {
  DirectoryWriter writer = NewDirectory();
  for (uint64_t i = 0; i < kFilesInDirectory; ++i) {
    Entry entry;
    entry.name = Numbered("file-", i);
    entry.mode = 0644;
    entry.mtime.seconds = start_ / 1'000'000'000;
    entry.extents = {files_[directory][i]};
    entry.size = entry.extents[0].length;
    BKFS_TRY(writer.Add(entry));
  }
  BKFS_ASSIGN(directories_[directory], writer.Finish());
  return {};
}

Status Filler::WriteGroup(uint64_t group) {
  DirectoryWriter writer = NewDirectory();
  const uint64_t first = group * kDirectoriesInGroup;
  const uint64_t end = std::min<uint64_t>(first + kDirectoriesInGroup, directories_.size());
  for (uint64_t i = first; i < end; ++i) {
    BKFS_TRY(writer.Add(EntryOf(Numbered("directory-", i), directories_[i])));
  }
  BKFS_ASSIGN(groups_[group], writer.Finish());
  return {};
}

// In directories and files that chance picks.
Status Filler::ChangeSome(uint64_t files) {
  const uint64_t changed = std::max<uint64_t>(1, directories_.size() / kChangedOf);
  for (uint64_t i = 0; i < changed; ++i) {
    const uint64_t directory = random_() % directories_.size();
    const uint64_t count = files * (i + 1) / changed - files * i / changed;
    for (uint64_t j = 0; j < count; ++j) {
      BKFS_TRY(ChangeFile(directory, random_() % kFilesInDirectory));
    }
    BKFS_TRY(WriteDirectory(directory));
  }
  return {};
}

// A snapshot a day, the last one today.
Status Filler::Commit(uint64_t number) {
  DirectoryWriter writer = NewDirectory();
  for (uint64_t i = 0; i < groups_.size(); ++i) {
    BKFS_TRY(WriteGroup(i));
    BKFS_TRY(writer.Add(EntryOf(Numbered("group-", i), groups_[i])));
  }
  BKFS_ASSIGN(DirectoryRef root, writer.Finish());
  BKFS_TRY(writer_.Flush());
  SnapshotBody body;
  body.name = "bench";
  body.host = "bench";
  body.user = "bench";
  body.time_ns = start_ - static_cast<int64_t>(shape_.snapshots - number) * kDay;
  body.end_ns = body.time_ns;
  body.totals = root.totals;
  body.program = "make_repository";
  return repo_.snapshots().Commit(std::move(body), EntryOf("", root)).status();
}

Status Filler::Fill() {
  for (uint64_t directory = 0; directory < files_.size(); ++directory) {
    for (uint64_t i = 0; i < kFilesInDirectory; ++i) BKFS_TRY(ChangeFile(directory, i));
    BKFS_TRY(WriteDirectory(directory));
  }
  BKFS_TRY(Commit(1));
  const uint64_t first = made_;
  for (uint64_t number = 2; number <= shape_.snapshots; ++number) {
    const uint64_t until = first + (shape_.blobs - first) * (number - 1) / (shape_.snapshots - 1);
    BKFS_TRY(ChangeSome(until - made_));
    BKFS_TRY(Commit(number));
  }
  return {};
}

Status Make(const Config& config, const Shape& shape) {
  SystemClock clock;
  NullLogger log;
  BKFS_ASSIGN(auto repo, OpenRepository(
                             config, [](const char*) { return nullptr; }, {}, log, clock));
  BKFS_ASSIGN(auto writer, repo->NewWriter(NewMemorySpool(), {}));
  return Filler(*repo, *writer, shape).Fill();
}
}  // namespace
}  // namespace bkfs

int main(int argc, char** argv) {
  if (argc < 4 || argc > 6) {
    std::cerr << "usage: make_repository REPOSITORY KEYFILE CACHE [BLOBS [SNAPSHOTS]]\n";
    return 2;
  }
  bkfs::Config config;
  config.url = argv[1];
  config.key_file = argv[2];
  config.cache_directory = argv[3];
  bkfs::Shape shape;
  if (argc > 4) shape.blobs = std::strtoull(argv[4], nullptr, 10);
  if (argc > 5) shape.snapshots = std::strtoull(argv[5], nullptr, 10);
  if (shape.blobs < 2000 || shape.snapshots < 2) {
    std::cerr << "make_repository: at least 2000 blobs and 2 snapshots\n";
    return 2;
  }
  bkfs::Status made = bkfs::Make(config, shape);
  if (!made.ok()) std::cerr << "make_repository: " << made.message() << "\n";
  return made.ok() ? 0 : 1;
}

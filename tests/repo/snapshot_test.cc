// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/support/test_repository.h"

namespace bkfs {
namespace {

SnapshotBody Body(const std::string& name, int64_t time_ns) {
  SnapshotBody body;
  body.name = name;
  body.host = "host";
  body.user = "user";
  body.time_ns = time_ns;
  return body;
}

Entry Root() {
  Entry root;
  root.kind = EntryKind::kDirectory;
  root.mode = 0755;
  return root;
}

constexpr int64_t kDay = 86400LL * 1'000'000'000;

class SnapshotTest : public ::testing::Test {
 protected:
  SnapshotTest() : test_(store_) {}
  std::unique_ptr<Repository> Open(KeyMaterial key, const std::string& cache = "cache") {
    auto repo = test_.Open(std::move(key), test_.folder() + "/" + cache);
    EXPECT_TRUE(IsOk(repo));
    return std::move(repo).value();
  }
  SnapshotId Commit(Repository& repo, const std::string& name, int64_t time) {
    auto made = repo.snapshots().Commit(Body(name, time), Root());
    EXPECT_TRUE(IsOk(made));
    return (*made)->id;
  }
  void Revoke(const KeyId& key) {
    auto master = Open(test_.CloneMaster());
    Revocation revocation;
    revocation.key = key;
    revocation.time_ns = 1;
    revocation.accepted = *master->snapshots().RecordsOf(key);
    ASSERT_TRUE(IsOk(
        store_.PutOne(KeyDirectory::RevocationName(key),
                      EncodeRevocation(revocation, test_.master().repo, test_.master().signing))));
  }

  MemoryBackend store_;
  TestRepository test_;
};

TEST_F(SnapshotTest, ListedOldestFirstAndResolvedByEveryName) {
  auto repo = Open(test_.CloneMaster());
  const SnapshotId b = Commit(*repo, "home", 2 * kDay);
  const SnapshotId a = Commit(*repo, "home", 1 * kDay);
  const SnapshotId c = Commit(*repo, "etc", 3 * kDay);
  auto list = repo->snapshots().List();
  ASSERT_TRUE(IsOk(list));
  ASSERT_EQ(list->snapshots.size(), 3U);
  EXPECT_TRUE(list->problems.empty());
  EXPECT_EQ(list->snapshots[0]->id, a);
  EXPECT_EQ(list->snapshots[2]->id, c);
  auto id = [&](const std::string& what) { return (*repo->snapshots().Resolve(what))->id; };
  EXPECT_EQ(id("home"), b);
  EXPECT_EQ(id("latest"), c);
  EXPECT_EQ(id(a.hex()), a);
  EXPECT_EQ(id(c.hex().substr(0, 12)), c);
  EXPECT_EQ(id("home@1970-01-02T12:00:00Z"), a);
  EXPECT_EQ(id("home@1970-01-03"), b);
  EXPECT_EQ(repo->snapshots().Resolve("home@1970-01-01").code(), Code::kNotFound);
  EXPECT_EQ(repo->snapshots().Resolve("nothing").code(), Code::kNotFound);
}

TEST_F(SnapshotTest, AWriteOnlyKeyMakesThemAndCannotListThem) {
  auto writer = Open(test_.Derive(KeyType::kWriteOnly), "w");
  Commit(*writer, "home", kDay);
  EXPECT_EQ(writer->snapshots().List().code(), Code::kDenied);
  auto log_only = Open(test_.Derive(KeyType::kLogOnly), "l");
  auto list = log_only->snapshots().List();
  ASSERT_TRUE(IsOk(list));
  ASSERT_EQ(list->snapshots.size(), 1U);
  EXPECT_EQ(list->snapshots[0]->body.name, "home");
  EXPECT_EQ(log_only->snapshots().Root(*list->snapshots[0]).code(), Code::kDenied);
  auto reader = Open(test_.Derive(KeyType::kReadOnly), "r");
  auto seen = reader->snapshots().List();
  ASSERT_TRUE(IsOk(seen));
  EXPECT_TRUE(IsOk(reader->snapshots().Root(*seen->snapshots.at(0))));
}

TEST_F(SnapshotTest, RecordsBeforeARevocationStayThoseAfterAreRefused) {
  const KeyMaterial key = test_.Derive(KeyType::kReadWrite);
  auto writer = Open(TestRepository::Reload(key), "w");
  const SnapshotId before = Commit(*writer, "home", kDay);
  Revoke(key.id());
  // The thief goes on with the repository opened before, and sets the clock back.
  const SnapshotId after = Commit(*writer, "home", kDay / 2);
  auto master = Open(test_.CloneMaster());
  auto list = master->snapshots().List();
  ASSERT_TRUE(IsOk(list));
  ASSERT_EQ(list->snapshots.size(), 1U);
  EXPECT_EQ(list->snapshots[0]->id, before);
  EXPECT_EQ(list->snapshots[0]->signature, SignatureState::kRevokedAccepted);
  ASSERT_EQ(list->problems.size(), 1U);
  EXPECT_EQ(list->problems[0].object, SnapshotName(after));
  auto again = Open(TestRepository::Reload(key), "w2");
  EXPECT_EQ(again->NewWriter(NewMemorySpool(), {}).code(), Code::kDenied);
}

TEST_F(SnapshotTest, ForgedSwappedAndDamagedRecordsAreNamedAndDoNotHideOthers) {
  auto repo = Open(test_.CloneMaster());
  const SnapshotId good = Commit(*repo, "good", kDay);
  const SnapshotId flipped = Commit(*repo, "flipped", 2 * kDay);
  const SnapshotId swapped = Commit(*repo, "swapped", 3 * kDay);
  Bytes object = *store_.Get(SnapshotName(flipped));
  object[object.size() / 2] ^= 1;
  store_.Replace(SnapshotName(flipped), object);
  store_.Replace(SnapshotName(swapped), *store_.Get(SnapshotName(good)));
  // Signed by a key of its own making.
  MemoryBackend foreign_store;
  TestRepository foreign(foreign_store);
  SnapshotEnvelope envelope;
  envelope.repo = test_.master().repo;
  envelope.signer = foreign.master().id();
  SnapshotBody body = Body("forged", 4 * kDay);
  body.sealed_root = SealRoot(Root(), repo->header().epochs.back().tree);
  Bytes forged =
      EncodeSnapshot(envelope, body, repo->header().epochs.back().log, foreign.master().signing);
  store_.Replace(SnapshotName(SnapshotIdOf(forged)), forged);
  // By a key that may not write.
  const KeyMaterial reader = test_.Derive(KeyType::kReadOnly);
  envelope.signer = reader.id();
  forged = EncodeSnapshot(envelope, body, repo->header().epochs.back().log, reader.signing);
  store_.Replace(SnapshotName(SnapshotIdOf(forged)), forged);

  auto fresh = Open(test_.CloneMaster(), "fresh");
  auto list = fresh->snapshots().List();
  ASSERT_TRUE(IsOk(list));
  ASSERT_EQ(list->snapshots.size(), 1U);
  EXPECT_EQ(list->snapshots[0]->id, good);
  EXPECT_GE(list->problems.size(), 4U);
}

TEST_F(SnapshotTest, AVanishedRecordIsNoticedByTheChainAndByMemory) {
  auto repo = Open(test_.CloneMaster());
  Commit(*repo, "a", kDay);
  const SnapshotId middle = Commit(*repo, "b", 2 * kDay);
  const SnapshotId last = Commit(*repo, "c", 3 * kDay);
  ASSERT_TRUE(IsOk(repo->snapshots().List()));
  ASSERT_TRUE(IsOk(store_.Remove(SnapshotName(middle))));
  auto stranger = Open(test_.CloneMaster(), "fresh");
  auto list = stranger->snapshots().List();
  ASSERT_TRUE(IsOk(list));
  ASSERT_EQ(list->problems.size(), 1U);
  EXPECT_EQ(list->problems[0].object, SnapshotName(middle));
  // The newest can only be missed by whoever saw it.
  ASSERT_TRUE(IsOk(store_.Remove(SnapshotName(last))));
  list = repo->snapshots().List();
  ASSERT_TRUE(IsOk(list));
  ASSERT_EQ(list->problems.size(), 1U);
  EXPECT_EQ(list->problems[0].object, SnapshotName(last));
}

TEST_F(SnapshotTest, ForeignKeysAndNewerFormatsAreRefused) {
  MemoryBackend other_store;
  TestRepository other(other_store);
  EXPECT_EQ(test_.Open(other.CloneMaster(), test_.cache()).code(), Code::kWrongKey);
  MemoryBackend empty;
  Repository::Options options;
  options.cache_directory = test_.cache();
  EXPECT_EQ(Repository::Open(std::make_unique<BorrowedBackend>(empty), test_.CloneMaster(), options,
                             test_.log(), test_.clock())
                .code(),
            Code::kNoRepository);
  Bytes header = *store_.Get("bkfs.repo");
  header[8] = 9;
  store_.Replace("bkfs.repo", header);
  EXPECT_EQ(test_.Open(test_.CloneMaster(), test_.cache()).code(), Code::kUnsupported);
}

TEST_F(SnapshotTest, ARepositoryIsNotMadeTwice) {
  auto again =
      CreateRepository(store_, {}, test_.clock(), [](const KeyMaterial&) { return Status(); });
  EXPECT_EQ(again.code(), Code::kExists);
}

TEST_F(SnapshotTest, NoRepositoryIsMadeWhenItsKeyCannotBeSaved) {
  MemoryBackend empty;
  auto made = CreateRepository(empty, {}, test_.clock(), [](const KeyMaterial&) {
    return Status(Code::kNoSpace, "no room for the key");
  });
  EXPECT_EQ(made.code(), Code::kNoSpace);
  EXPECT_EQ(ReadHeader(empty).code(), Code::kNoRepository);
}

}  // namespace
}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/rotation.h"

#include <gtest/gtest.h>

#include "engine/codec/frame_codec.h"
#include "engine/crypto/hash.h"
#include "engine/format/maintenance.h"
#include "engine/repo/lease_holder.h"
#include "tests/support/test_repository.h"

namespace bkfs {
namespace {

class RotationTest : public ::testing::Test {
 protected:
  RotationTest() : test_(store_) {}
  Result<std::unique_ptr<Repository>> TryOpen(const KeyMaterial& key) {
    const std::string cache = test_.folder() + "/" + std::to_string(++opened_);
    if (key.type == KeyType::kMaster) return test_.Open(test_.CloneMaster(), cache);
    return test_.Open(TestRepository::Reload(key), cache);
  }
  std::unique_ptr<Repository> Open(const KeyMaterial& key) {
    auto repo = TryOpen(key);
    EXPECT_TRUE(IsOk(repo));
    return std::move(repo).value();
  }
  Rotated Rotate() {
    auto rotated = RotateKeys(*Open(test_.master()));
    EXPECT_TRUE(IsOk(rotated));
    return *rotated;
  }
  // One blob of each kind and a record, by a repository that is open.
  struct Written {
    BlobId contents;
    BlobId tree;
    SnapshotId snapshot;
  };
  Written Write(Repository& repo, uint64_t seed) {
    Written out;
    auto writer = repo.NewWriter(NewMemorySpool(), {});
    EXPECT_TRUE(IsOk(writer));
    out.contents = *(*writer)->Add(PackKind::kContents, PseudoRandom(1000, seed));
    out.tree = *(*writer)->Add(PackKind::kTrees, PseudoRandom(1000, seed + 1));
    EXPECT_TRUE(IsOk((*writer)->Flush()));
    SnapshotBody body;
    body.name = "s" + std::to_string(seed);
    body.host = "host";
    body.time_ns = static_cast<int64_t>(seed);
    Entry root;
    root.kind = EntryKind::kDirectory;
    auto made = repo.snapshots().Commit(body, root);
    EXPECT_TRUE(IsOk(made));
    out.snapshot = (*made)->id;
    return out;
  }
  void ExpectReads(const KeyMaterial& key, const Written& what, bool expected) {
    auto repo = Open(key);
    EXPECT_EQ(repo->blobs().Read(PackKind::kContents, what.contents).ok(), expected);
    EXPECT_EQ(repo->blobs().Read(PackKind::kTrees, what.tree).ok(), expected);
    if (!expected) {
      EXPECT_EQ(repo->blobs().Read(PackKind::kContents, what.contents).code(), Code::kDenied);
    }
    auto list = repo->snapshots().List();
    ASSERT_TRUE(IsOk(list));
    const bool listed =
        std::any_of(list->snapshots.begin(), list->snapshots.end(),
                    [&](const auto& snapshot) { return snapshot->id == what.snapshot; });
    EXPECT_EQ(listed, expected);
    EXPECT_EQ(list->problems.size(), expected ? 0U : 1U);
  }
  std::string WhyNotOpened(const KeyMaterial& key) {
    auto repo = TryOpen(key);
    // A master key that an epoch does not follow from may be as wrong as the epoch.
    EXPECT_TRUE(repo.code() == Code::kCorrupt || repo.code() == Code::kWrongKey);
    return repo.status().message();
  }

  MemoryBackend store_;
  TestRepository test_;
  int opened_ = 0;
};

TEST_F(RotationTest, ARevokedReaderOpensNothingNewAndEverythingOld) {
  const KeyMaterial good = test_.Derive(KeyType::kReadOnly, "good");
  const KeyMaterial thief = test_.Derive(KeyType::kReadOnly, "thief");
  const KeyMaterial writer = test_.Derive(KeyType::kWriteOnly, "writer");
  const Written before = Write(*Open(writer), 10);
  auto master = Open(test_.master());
  ASSERT_TRUE(IsOk(RevokeKey(*master, thief.id())));
  auto rotated = RotateKeys(*master);
  ASSERT_TRUE(IsOk(rotated));
  EXPECT_EQ(rotated->epoch, 2U);
  EXPECT_EQ(rotated->grants, 1U);
  const Written after = Write(*Open(writer), 20);
  for (const KeyMaterial* key : {&good, &test_.master()}) {
    ExpectReads(*key, before, true);
    ExpectReads(*key, after, true);
  }
  ExpectReads(thief, after, false);
  auto repo = Open(thief);
  EXPECT_TRUE(IsOk(repo->blobs().Read(PackKind::kContents, before.contents)));
  EXPECT_TRUE(IsOk(repo->blobs().Read(PackKind::kTrees, before.tree)));
  auto list = repo->snapshots().List();
  ASSERT_TRUE(IsOk(list));
  ASSERT_EQ(list->snapshots.size(), 1U);
  EXPECT_TRUE(IsOk(repo->snapshots().Root(*list->snapshots[0])));
}

TEST_F(RotationTest, KeysDerivedBeforeBetweenAndAfterReadAllEpochs) {
  std::vector<KeyMaterial> keys;
  std::vector<Written> written;
  for (uint32_t epoch = 1; epoch <= 3; ++epoch) {
    if (epoch > 1) {
      EXPECT_EQ(Rotate().epoch, epoch);
    }
    const KeyMaterial all =
        MasterMaterial(test_.master().master.Clone(), test_.master().repo, epoch);
    keys.push_back(DeriveMaterial(all, KeyType::kReadWrite, "", 1));
    ASSERT_TRUE(IsOk(store_.PutOne(KeyDirectory::BadgeName(keys.back().id()), keys.back().badge)));
    written.push_back(Write(*Open(keys.back()), epoch * 100));
  }
  for (const KeyMaterial& key : keys) {
    for (const Written& what : written) ExpectReads(key, what, true);
  }
}

TEST_F(RotationTest, WhoHasItOpenTakesItUp) {
  const KeyMaterial reader_key = test_.Derive(KeyType::kReadOnly);
  const KeyMaterial writer_key = test_.Derive(KeyType::kReadWrite);
  auto reader = Open(reader_key);
  auto writer = Open(writer_key);
  Write(*writer, 10);
  Rotate();
  ASSERT_TRUE(IsOk(writer->epochs().Refresh()));
  const Written after = Write(*writer, 20);
  EXPECT_EQ(writer->epochs().Newest().epoch, 2U);
  EXPECT_TRUE(IsOk(reader->blobs().Read(PackKind::kContents, after.contents)));
  auto list = reader->snapshots().List();
  ASSERT_TRUE(IsOk(list));
  ASSERT_EQ(list->snapshots.size(), 2U);
  EXPECT_EQ(list->snapshots[1]->envelope.epoch, 2U);
  // A commit looks for itself.
  Rotate();
  EXPECT_EQ(writer->snapshots().Resolve("s20").value()->envelope.epoch, 2U);
  Write(*writer, 30);
  EXPECT_EQ(writer->snapshots().Resolve("s30").value()->envelope.epoch, 3U);
}

TEST_F(RotationTest, ForgedEpochsAreRefusedByName) {
  const KeyMaterial key = test_.Derive(KeyType::kReadWrite);
  auto running = Open(key);
  Epoch forged;
  forged.keys = PublicKeysOf(MasterEpoch(RandomSecret(32), 2));
  store_.Replace(EpochName(2), EncodeEpoch(forged, test_.master().repo, key.signing));
  EXPECT_NE(WhyNotOpened(key).find("keys/epoch-2"), std::string::npos);
  EXPECT_NE(WhyNotOpened(test_.master()).find("keys/epoch-2"), std::string::npos);
  // Who has it open already does not seal to it.
  ASSERT_TRUE(IsOk(running->epochs().Refresh()));
  EXPECT_EQ(running->epochs().Newest().epoch, 1U);
  // Signed by the master, but not what follows from its key.
  store_.Replace(EpochName(2), EncodeEpoch(forged, test_.master().repo, test_.master().signing));
  EXPECT_NE(WhyNotOpened(test_.master()).find("epoch 2"), std::string::npos);
  // A grant that does not open.
  forged.keys = PublicKeysOf(MasterEpoch(test_.master().master, 2));
  forged.grants = {{key.id(), SealBox(forged.keys.log, Bytes(80))}};
  store_.Replace(EpochName(2), EncodeEpoch(forged, test_.master().repo, test_.master().signing));
  EXPECT_NE(WhyNotOpened(key).find("keys/epoch-2, grant of this key"), std::string::npos);
}

TEST_F(RotationTest, MissingEpochsAreNamed) {
  const KeyMaterial old_key = test_.Derive(KeyType::kReadWrite);
  Rotate();
  const KeyMaterial two = MasterMaterial(test_.master().master.Clone(), test_.master().repo, 2);
  for (KeyType type : {KeyType::kWriteOnly, KeyType::kReadOnly}) {
    const KeyMaterial key = DeriveMaterial(two, type, "", 1);
    ASSERT_TRUE(IsOk(store_.PutOne(KeyDirectory::BadgeName(key.id()), key.badge)));
    auto hidden = store_.Clone();
    ASSERT_TRUE(IsOk(hidden->Remove(EpochName(2))));
    Repository::Options options;
    options.cache_directory = test_.folder() + "/hidden";
    auto repo = Repository::Open(std::make_unique<BorrowedBackend>(*hidden),
                                 TestRepository::Reload(key), options, test_.log(), test_.clock());
    EXPECT_EQ(repo.code(), Code::kCorrupt);
    EXPECT_NE(repo.status().message().find("keys/epoch-2 is missing"), std::string::npos);
  }
  // A gap.
  Rotate();
  const Bytes second = *store_.Get(EpochName(2));
  const Bytes third = *store_.Get(EpochName(3));
  ASSERT_TRUE(IsOk(store_.Remove(EpochName(2))));
  EXPECT_NE(WhyNotOpened(old_key).find("keys/epoch-2 is missing"), std::string::npos);
  // One under another's name.
  store_.Replace(EpochName(2), third);
  EXPECT_NE(WhyNotOpened(old_key).find("keys/epoch-2 is epoch 3"), std::string::npos);
  store_.Replace(EpochName(2), second);
  // A machine that saw the newest misses it.
  const std::string cache = test_.folder() + "/remembers";
  ASSERT_TRUE(IsOk(test_.Open(TestRepository::Reload(old_key), cache)));
  ASSERT_TRUE(IsOk(store_.Remove(EpochName(3))));
  auto again = test_.Open(TestRepository::Reload(old_key), cache);
  EXPECT_EQ(again.code(), Code::kCorrupt);
  EXPECT_NE(again.status().message().find("keys/epoch-3 was here before"), std::string::npos);
}

TEST_F(RotationTest, TheMasterMakesLostEpochsAgain) {
  const KeyMaterial reader = test_.Derive(KeyType::kReadOnly);
  const KeyMaterial thief = test_.Derive(KeyType::kReadOnly);
  Rotate();
  const Written two = Write(*Open(test_.master()), 10);
  ASSERT_TRUE(IsOk(RevokeKey(*Open(test_.master()), thief.id())));
  Rotate();
  const Written three = Write(*Open(test_.master()), 20);
  auto repair = [&] { return RepairEpochs(store_, test_.master(), test_.log(), test_.clock()); };
  EXPECT_TRUE(repair()->empty());
  // Missing below and above, damaged, and rubbish further on.
  ASSERT_TRUE(IsOk(store_.Remove(EpochName(2))));
  store_.Replace(EpochName(3), Bytes(100));
  store_.Replace(EpochName(9), Bytes(100));
  EXPECT_EQ(*repair(), (std::vector<uint32_t>{2, 3}));
  ExpectReads(reader, two, true);
  ExpectReads(reader, three, true);
  EXPECT_FALSE(Open(thief)->blobs().Read(PackKind::kContents, three.contents).ok());
  ASSERT_TRUE(IsOk(store_.Remove(EpochName(3))));
  EXPECT_EQ(*repair(), std::vector<uint32_t>{3});  // a record tells of it
  // One that nothing else tells of keeps its number.
  store_.Replace(EpochName(4), Bytes(100));
  EXPECT_EQ(*repair(), std::vector<uint32_t>{4});
  EXPECT_EQ(Rotate().epoch, 5U);
  EXPECT_EQ(RepairEpochs(store_, reader, test_.log(), test_.clock()).code(), Code::kDenied);
}

TEST_F(RotationTest, OnlyTheMasterRotatesAndOnePerEpoch) {
  EXPECT_EQ(RotateKeys(*Open(test_.Derive(KeyType::kMaintain))).code(), Code::kDenied);
  auto one = Open(test_.master());
  auto two = Open(test_.master());
  ASSERT_TRUE(IsOk(RotateKeys(*one)));
  auto second = RotateKeys(*two);  // goes on behind the other's
  ASSERT_TRUE(IsOk(second));
  EXPECT_EQ(second->epoch, 3U);
}

TEST_F(RotationTest, ALeaseThatIsRenewedLooksForNewEpochs) {
  auto writer = Open(test_.Derive(KeyType::kWriteOnly));
  auto lease = LeaseHolder::Begin(*writer, {});
  ASSERT_TRUE(IsOk(lease));
  ASSERT_TRUE(IsOk((*lease)->Start([](const auto&) { return Result<LeasePins>(LeasePins()); })));
  Rotate();
  EXPECT_EQ(writer->epochs().Newest().epoch, 1U);
  ASSERT_TRUE(IsOk((*lease)->Renew()));
  EXPECT_EQ(writer->epochs().Newest().epoch, 2U);
}

// Maintenance moves frames with their slots: a pack may hold some of several epochs.
TEST_F(RotationTest, FramesOfTwoEpochsInOnePackAreRead) {
  const KeyMaterial reader = test_.Derive(KeyType::kReadOnly);
  Rotate();
  auto master = Open(test_.master());
  const RepoHeader& header = master->header();
  Bytes object = EncodePackHeader(PackKind::kContents);
  PackFooter footer;
  footer.kind = PackKind::kContents;
  footer.signer = master->key().id();
  std::vector<std::pair<BlobId, Bytes>> blobs;
  for (uint32_t i = 0; i < 2; ++i) {
    Secret data_key = RandomSecret(32);
    const EpochPublicKeys& epoch = header.epochs.at(i);
    footer.slots.push_back(
        {epoch.epoch, header.cipher, footer.signer, SealBox(epoch.content, data_key.view())});
    FrameSealer sealer(header.cipher, std::move(data_key), header.repo, 1);
    const Bytes plain = PseudoRandom(500, i);
    const Bytes inner = FrameCodec(3).Encode(plain, false);
    const ByteView part(inner);
    const Bytes frame = sealer.Seal(std::span(&part, 1));
    footer.frames.push_back(
        {static_cast<uint32_t>(object.size()), static_cast<uint32_t>(frame.size()), 500, i});
    Append(object, frame);
    BlobId id;
    id.bytes = KeyedHash(master->key().id_key.view(), plain);
    footer.blobs.push_back({id, i, 0, 500});
    blobs.emplace_back(id, plain);
  }
  footer.data_hash = HashBytes(object);
  const SignedFooter signed_footer = SignFooter(footer, header.repo, master->key().signing);
  Append(object,
         EncodePackEnd(signed_footer, header.cipher, master->key().index_key.view(), header.repo));
  PackId id;
  id.bytes = HashBytes(object);
  ASSERT_TRUE(IsOk(store_.PutOne(PackName(id), object)));
  auto repo = Open(reader);
  ASSERT_TRUE(IsOk(repo->RebuildIndex()));
  for (const auto& [blob, plain] : blobs) {
    auto read = repo->blobs().Read(PackKind::kContents, blob);
    ASSERT_TRUE(IsOk(read));
    EXPECT_EQ(Bytes(read->bytes.begin(), read->bytes.end()), plain);
  }
}

// What a Maintain key did before it was revoked stays in force, what comes later does not.
TEST_F(RotationTest, RevokingAMaintainKeyKeepsWhatItDid) {
  const KeyMaterial key = test_.Derive(KeyType::kMaintain);
  auto master = Open(test_.master());
  const Written first = Write(*master, 10);
  const Written second = Write(*master, 20);
  const RepoId& repo = test_.master().repo;
  auto put = [&](const std::string& name, const Bytes& object) {
    ASSERT_TRUE(IsOk(store_.PutOne(name, object)));
  };
  const Bytes removal = EncodeRemoval({key.id(), 1, {first.snapshot}}, repo, key.signing);
  put(RemovalName(RemovalIdOf(removal)), removal);
  LeaseId lease;
  lease.bytes.fill(7);
  const Bytes closure = EncodeClosure({key.id(), lease, 1, {}}, repo, key.signing);
  put(ClosureName(lease), closure);
  LogEntry entry;
  entry.signer = key.id();
  const Bytes logged = EncodeLogEntry(entry, repo, key.signing);
  put(LogEntryName(1), logged);
  put(LogEntryName(2), logged);  // under another's name: not valid, and not accepted
  auto revoked = RevokeKey(*master, key.id());
  ASSERT_TRUE(IsOk(revoked));
  std::vector<SnapshotId> want = {AcceptanceIdOf(removal), AcceptanceIdOf(closure),
                                  AcceptanceIdOf(logged)};
  std::sort(want.begin(), want.end());
  EXPECT_EQ(revoked->accepted, want);
  const Bytes late = EncodeRemoval({key.id(), 2, {second.snapshot}}, repo, key.signing);
  put(RemovalName(RemovalIdOf(late)), late);
  auto fresh = Open(test_.master());
  auto list = fresh->snapshots().List();
  ASSERT_TRUE(IsOk(list));
  ASSERT_EQ(list->snapshots.size(), 1U);
  EXPECT_EQ(list->snapshots[0]->id, second.snapshot);
  ASSERT_TRUE(IsOk(fresh->maintenance().Refresh()));
  EXPECT_EQ(fresh->maintenance().Current()->last, 1U);
  EXPECT_EQ(RevokeKey(*fresh, key.id()).code(), Code::kInvalid);
  EXPECT_EQ(RevokeKey(*fresh, test_.master().id()).code(), Code::kInvalid);
}

}  // namespace
}  // namespace bkfs

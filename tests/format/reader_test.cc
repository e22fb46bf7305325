// SPDX-License-Identifier: Apache-2.0
// scripts/read_repo.py on the golden repository, to which maintenance was done: what this program
// writes must mean to the independent reader what doc/format.md sections 5, 7 and 11 to 14 say.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <set>

#include "engine/base/fd.h"
#include "engine/format/epoch.h"
#include "engine/format/keyfile.h"
#include "engine/format/maintenance.h"
#include "engine/format/snapshot.h"
#include "tests/support/scratch.h"

namespace bkfs {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kTime = 1'800'000'000'000'000'000;

class ReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(InitCrypto().ok());
    fs::copy(BKFS_GOLDEN, scratch_.path(), fs::copy_options::recursive);
    fs::permissions(Path("master.key"), fs::perms::owner_read);
    const Bytes text = ReadWholeFile(Path("master.key")).value();
    master_ = DecodeKeyfile(AsText(text), nullptr).value();
    log_key_ = &master_.epochs.at(0).log;
    for (const auto& file : fs::directory_iterator(Path("repo/snapshots"))) {
      golden_.insert(ParseSnapshotName("snapshots/" + file.path().filename().string()).value());
    }
    ASSERT_EQ(golden_.size(), 2U);
  }
  std::string Path(const std::string& name) const { return scratch_.path() + "/" + name; }
  Bytes Get(const std::string& name) const { return ReadWholeFile(Path("repo/" + name)).value(); }
  void Put(const std::string& name, ByteView object) const {
    fs::create_directories(fs::path(Path("repo/" + name)).parent_path());
    ASSERT_TRUE(WriteNewFile(Path("repo/" + name), object, 0644).ok());
  }
  // Puts the removal and returns its bytes.
  Bytes Remove(const std::vector<SnapshotId>& ids, const SigningKey& key) const {
    Bytes object = EncodeRemoval({key.id(), kTime, ids}, master_.repo, key);
    Put(RemovalName(RemovalIdOf(object)), object);
    return object;
  }
  void Close(const LeaseId& lease, const std::vector<SnapshotId>& accepted,
             const SigningKey& key) const {
    Put(ClosureName(lease), EncodeClosure({key.id(), lease, kTime, accepted}, master_.repo, key));
  }
  KeyMaterial Derive(KeyType type) const {
    KeyMaterial out = DeriveMaterial(master_, type, "", kTime);
    Put("keys/" + out.id().hex(), out.badge);
    return out;
  }
  void Revoke(const KeyId& key, const std::vector<SnapshotId>& accepted) const {
    Put("keys/" + key.hex() + ".revoked",
        EncodeRevocation({key, kTime, accepted}, master_.repo, master_.signing));
  }
  // A further record of the tree of a golden one, made under a lease.
  SnapshotId Commit(const LeaseId& lease, uint64_t seq) const {
    const Bytes from = Get(SnapshotName(*golden_.begin()));
    SnapshotEnvelope envelope = DecodeSnapshotEnvelope(from, master_.repo).value();
    SnapshotBody body = OpenSnapshotBody(from, *log_key_).value();
    body.lease = lease;
    envelope.signer = master_.id();
    envelope.seq = seq;
    const Bytes object = EncodeSnapshot(envelope, body, log_key_->public_key(), master_.signing);
    Put(SnapshotName(SnapshotIdOf(object)), object);
    return SnapshotIdOf(object);
  }
  // What the reader lists. `complaints`: what it wrote beside that.
  std::set<SnapshotId> List(std::string* complaints = nullptr,
                            const std::string& keyfile = "master.key") const {
    std::string command = "/usr/bin/python3 -B '" BKFS_READER "'";
    for (const std::string& part : {std::string("repo"), keyfile})
      command += " '" + Path(part) + "'";
    command += " list > '" + Path("out") + "' 2> '" + Path("err") + "'";
    const int status = std::system(command.c_str());  // NOLINT(concurrency-mt-unsafe)
    const Bytes err = ReadWholeFile(Path("err")).value();
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << AsText(err);
    if (complaints == nullptr) {
      EXPECT_EQ(AsText(err), "");
    } else {
      complaints->assign(err.begin(), err.end());
    }
    std::set<SnapshotId> out;
    const Bytes listed = ReadWholeFile(Path("out")).value();
    for (std::string_view rest = AsText(listed); !rest.empty();
         rest.remove_prefix(rest.find('\n') + 1)) {
      out.insert(SnapshotId::FromHex(rest.substr(0, rest.find(' '))).value());
    }
    return out;
  }
  // Nothing that was put counts, and the reader says why.
  void ExpectPassedOver(const std::string& why) const {
    std::string complaints;
    EXPECT_EQ(List(&complaints), golden_);
    EXPECT_NE(complaints.find("is passed over: " + why), std::string::npos) << complaints;
  }

  ScratchFolder scratch_;
  KeyMaterial master_;
  const BoxKey* log_key_ = nullptr;
  std::set<SnapshotId> golden_;
};

TEST_F(ReaderTest, RemovedSnapshotsDoNotExist) {
  const SnapshotId first = *golden_.begin();
  const SnapshotId last = *golden_.rbegin();
  EXPECT_EQ(List(), golden_);
  Remove({first}, master_.signing);
  EXPECT_EQ(List(), std::set{last});
  Remove({first, last}, Derive(KeyType::kMaintain).signing);  // several count together
  EXPECT_TRUE(List().empty());
}

TEST_F(ReaderTest, RemovalsOfOthersArePassedOver) {
  const std::vector<SnapshotId> all(golden_.begin(), golden_.end());
  Remove(all, Derive(KeyType::kReadWrite).signing);
  ExpectPassedOver("signed by a key that may not do maintenance");
  Remove(all, SigningKey(RandomSecret(32)));
  ExpectPassedOver("unknown signer");
  Bytes object = EncodeRemoval({master_.id(), kTime, all}, master_.repo, master_.signing);
  Put(RemovalName({}), object);
  ExpectPassedOver("it does not hash to its name");
  object.back() ^= 1;
  Put(RemovalName(RemovalIdOf(object)), object);
  ExpectPassedOver("bad signature");
  object[8] = 2;
  Put(RemovalName(RemovalIdOf(object)), object);
  ExpectPassedOver("version 2 is newer");
}

TEST_F(ReaderTest, RevocationsNameTheRemovalsThatStay) {
  const KeyMaterial thief = Derive(KeyType::kMaintain);
  const Bytes seen = Remove({*golden_.begin()}, thief.signing);
  Remove({golden_.begin(), golden_.end()}, thief.signing);
  EXPECT_TRUE(List().empty());
  Revoke(thief.id(), {AcceptanceIdOf(seen)});
  std::string complaints;
  EXPECT_EQ(List(&complaints), std::set{*golden_.rbegin()});
  EXPECT_NE(complaints.find("made after its key was revoked"), std::string::npos) << complaints;
}

TEST_F(ReaderTest, EpochsAreOpenedByTheMasterAndByGrants) {
  const KeyMaterial reader = Derive(KeyType::kReadOnly);
  const KeyMaterial revoked = Derive(KeyType::kReadOnly);
  for (const auto& [name, key] : {std::pair("reader.key", &reader), {"revoked.key", &revoked}}) {
    const std::string text = EncodeKeyfile(*key, {});
    ASSERT_TRUE(WriteNewFile(Path(name), AsBytes(text), 0600).ok());
  }
  const EpochSecrets two = MasterEpoch(master_.master, 2);
  Epoch epoch;
  epoch.keys = PublicKeysOf(two);
  epoch.grants = {MakeGrant(two, reader.type, reader.signing.public_key()).value()};
  Put(EpochName(2), EncodeEpoch(epoch, master_.repo, master_.signing));
  // A golden record again, of the second epoch.
  const Bytes from = Get(SnapshotName(*golden_.begin()));
  SnapshotEnvelope envelope = DecodeSnapshotEnvelope(from, master_.repo).value();
  SnapshotBody body = OpenSnapshotBody(from, *log_key_).value();
  const Entry root = OpenRoot(body.sealed_root, master_.epochs.at(0).tree).value();
  body.sealed_root = SealRoot(root, two.tree.public_key());
  envelope.epoch = 2;
  envelope.signer = master_.id();
  const Bytes object = EncodeSnapshot(envelope, body, two.log.public_key(), master_.signing);
  Put(SnapshotName(SnapshotIdOf(object)), object);
  std::set<SnapshotId> all = golden_;
  all.insert(SnapshotIdOf(object));
  EXPECT_EQ(List(), all);
  EXPECT_EQ(List(nullptr, "reader.key"), all);
  std::string complaints;
  EXPECT_EQ(List(&complaints, "revoked.key"), golden_);
  EXPECT_NE(complaints.find("of which this key has no secrets"), std::string::npos) << complaints;
}

TEST_F(ReaderTest, ClosedLeases) {
  LeaseId ended;
  LeaseId living;
  ended.bytes.fill(1);
  living.bytes.fill(2);
  const SnapshotId early = Commit(ended, 1);
  const SnapshotId late = Commit(ended, 2);
  const SnapshotId other = Commit(living, 3);
  std::set<SnapshotId> want = golden_;
  want.insert({early, late, other});
  EXPECT_EQ(List(), want);
  Close(ended, {early}, Derive(KeyType::kMaintain).signing);
  want.erase(late);
  EXPECT_EQ(List(), want);
  std::string complaints;
  Close(living, {}, Derive(KeyType::kWriteOnly).signing);  // may not, so it closes nothing
  EXPECT_EQ(List(&complaints), want);
  EXPECT_NE(complaints.find("may not do maintenance"), std::string::npos) << complaints;
  Close({}, {}, master_.signing);  // snapshots made under no lease are not made under this one
  EXPECT_EQ(List(&complaints), want);
  EXPECT_NE(complaints.find("it is of another lease"), std::string::npos) << complaints;
}

// An index segment that was made before a pack was deleted still lists it.
TEST_F(ReaderTest, DeletedPacks) {
  std::string pack;
  for (const auto& file : fs::recursive_directory_iterator(Path("repo/packs"))) {
    if (file.is_regular_file()) pack = file.path().string();
  }
  const PackId id = PackId::FromHex(fs::path(pack).filename().string()).value();
  fs::remove(pack);
  LogEntry entry;
  entry.signer = master_.id();
  entry.doomed = {id};
  auto put = [&](uint64_t number) {
    entry.number = number;
    Put(LogEntryName(number), EncodeLogEntry(entry, master_.repo, master_.signing));
  };
  put(1);
  EXPECT_EQ(List(), golden_);
  // The entry is dropped, and a later one shows that there were others.
  fs::remove(Path("repo/" + LogEntryName(1)));
  entry.doomed.clear();
  entry.base = 2;
  put(2);
  EXPECT_EQ(List(), golden_);
}

}  // namespace
}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/staging/journal.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <thread>

#include "engine/crypto/secret.h"
#include "tests/support/loop_mount.h"
#include "tests/support/scratch.h"

namespace bkfs {
namespace {

constexpr uint64_t kMemory = 1 << 20;

std::unique_ptr<Journal> OpenAt(const std::string& directory) {
  static NullLogger log;
  EXPECT_TRUE(InitCrypto().ok());
  EXPECT_TRUE(MakeDirectories(directory).ok());
  auto journal = Journal::Open(directory, Secret::CopyOf(Bytes(32, 7)), kMemory, log);
  EXPECT_TRUE(journal.ok()) << journal.status().message();
  return journal.ok() ? std::move(*journal) : nullptr;
}

Bytes ToBytes(const std::string& text) { return Bytes(text.begin(), text.end()); }
Bytes Key(int i) { return ToBytes("n" + std::to_string(1000000 + i)); }

Status Put(Journal& journal, int i, ByteView value) {
  Journal::Batch batch;
  batch.Put(Key(i), value);
  return journal.Write(batch);
}

// What a scan finds.
std::map<Bytes, size_t> Contents(Journal& journal) {
  std::map<Bytes, size_t> out;
  Status scanned =
      journal.Scan(ToBytes("n"), {}, [&](ByteView key, ByteView value) -> Result<bool> {
        out[Bytes(key.begin(), key.end())] = value.size();
        return true;
      });
  EXPECT_TRUE(scanned.ok()) << scanned.message();
  return out;
}

TEST(JournalTest, KeepsWhatWasWritten) {
  ScratchFolder scratch;
  {
    auto journal = OpenAt(scratch.path() + "/j");
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(Put(*journal, i, Bytes(100)).ok());
    Journal::Batch batch;
    batch.Delete(Key(3));
    batch.DeleteRange(Key(10), Key(20));
    ASSERT_TRUE(journal->Write(batch).ok());
    EXPECT_TRUE(batch.empty());
    ASSERT_TRUE(journal->Sync().ok());
  }
  auto journal = OpenAt(scratch.path() + "/j");
  EXPECT_EQ(Contents(*journal).size(), 89U);
  EXPECT_FALSE(journal->Get(Key(3)).value().has_value());
  EXPECT_EQ(journal->Get(Key(4)).value()->size(), 100U);
}

TEST(JournalTest, ValuesAreSealed) {
  ScratchFolder scratch;
  const std::string secret = "a sentence that nobody else shall read";
  {
    auto journal = OpenAt(scratch.path() + "/j");
    ASSERT_TRUE(Put(*journal, 1, AsBytes(secret)).ok());
    ASSERT_TRUE(journal->trees().Put(BlobId(), AsBytes(secret)).ok());
    ASSERT_TRUE(journal->Sync().ok());
  }
  EXPECT_NE(Shell("grep -r -q -a '" + secret.substr(2, 20) + "' " + scratch.path()), 0);
}

TEST(JournalTest, AKeyThatDoesNotFitOpensNothing) {
  ScratchFolder scratch;
  ASSERT_TRUE(Put(*OpenAt(scratch.path() + "/j"), 1, Bytes(10)).ok());
  NullLogger log;
  auto other = Journal::Open(scratch.path() + "/j", Secret::CopyOf(Bytes(32, 8)), kMemory, log);
  ASSERT_TRUE(other.ok());
  EXPECT_EQ((*other)->Get(Key(1)).code(), Code::kCorrupt);
}

// Fills the disk under the journal, makes room, fills it again: what was acknowledged is there,
// what was refused is not, and no state of it ends the process.
TEST(JournalTest, FullDiskAgainAndAgain) {
  if (!IsRoot()) GTEST_SKIP() << "needs root";
  LoopMount disk("mkfs.ext4 -q -F", "40M");
  ASSERT_TRUE(disk.mounted());
  const std::string ballast = disk.path() + "/ballast";
  std::map<Bytes, size_t> model;
  int next = 0;
  {
    auto journal = OpenAt(disk.path() + "/j");
    for (int round = 0; round < 4; ++round) {
      ASSERT_EQ(Shell("fallocate -l 1G " + ballast + " 2>/dev/null || dd if=/dev/zero of=" +
                      ballast + " bs=64k 2>/dev/null; true"),
                0);
      int refused = 0;
      for (; refused < 30; ++next) {
        const Bytes value(20000 + static_cast<size_t>(next % 7));
        const Status put = Put(*journal, next, value);
        if (put.ok()) {
          model[Key(next)] = value.size();
        } else {
          EXPECT_TRUE(put.Is(Code::kNoSpace)) << put.message();
          ++refused;
        }
        (void)journal->Sync();
      }
      EXPECT_EQ(Contents(*journal), model);  // still readable
      ASSERT_EQ(::unlink(ballast.c_str()), 0);
      const Status put = Put(*journal, next, Bytes(10));
      ASSERT_TRUE(put.ok()) << put.message();
      model[Key(next++)] = 10;
      ASSERT_TRUE(journal->Sync().ok());
      EXPECT_EQ(Contents(*journal), model);
    }
  }
  EXPECT_EQ(Contents(*OpenAt(disk.path() + "/j")), model);
}

// A writer that scans meanwhile gets its turn; readers go on while the database is opened anew.
TEST(JournalTest, FullDiskUnderManyThreads) {
  if (!IsRoot()) GTEST_SKIP() << "needs root";
  LoopMount disk("mkfs.ext4 -q -F", "40M");
  ASSERT_TRUE(disk.mounted());
  const std::string ballast = disk.path() + "/ballast";
  auto journal = OpenAt(disk.path() + "/j");
  std::atomic<bool> stop = false;
  std::atomic<int> wrong = 0;
  std::vector<std::map<Bytes, size_t>> models(3);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = t * 100000; !stop; ++i) {
        const Status put = Put(*journal, i, Bytes(3000));
        if (put.ok()) models[static_cast<size_t>(t)][Key(i)] = 3000;
        if (!put.ok() && !put.Is(Code::kNoSpace)) ++wrong;
        auto got = journal->Get(Key(i));
        if (!got.ok() ? !got.status().Is(Code::kNoSpace) : got->has_value() != put.ok()) ++wrong;
        if (i % 64 == 0) {
          (void)journal->Scan(Key(i), {}, [&](ByteView, ByteView) -> Result<bool> {
            (void)Put(*journal, i, Bytes(3000));
            return true;
          });
          models[static_cast<size_t>(t)].erase(Key(i));
          Journal::Batch batch;
          batch.Delete(Key(i));
          while (!journal->Write(batch).ok() && !stop) ::usleep(1000);
          if (!batch.empty()) models[static_cast<size_t>(t)][Key(i)] = 0;  // not known
        }
        if (i % 1000 == 999) ::usleep(1000);
      }
    });
  }
  for (int round = 0; round < 3; ++round) {
    ::usleep(100'000);
    Shell("dd if=/dev/zero of=" + ballast + " bs=64k 2>/dev/null");
    ::usleep(200'000);
    ::unlink(ballast.c_str());
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  Journal::Batch last;
  last.Put(Key(999999), Bytes(1));
  ASSERT_TRUE(journal->Write(last).ok());
  for (const auto& model : models) {
    for (const auto& [key, size] : model) {
      if (size == 0) continue;
      auto got = journal->Get(key);
      ASSERT_TRUE(got.ok() && got->has_value());
      EXPECT_EQ((*got)->size(), size);
    }
  }
}

}  // namespace
}  // namespace bkfs

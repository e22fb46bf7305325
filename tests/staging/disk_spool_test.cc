// SPDX-License-Identifier: Apache-2.0
#include "engine/staging/disk_spool.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "backends/fault/fault_backend.h"
#include "engine/crypto/hash.h"
#include "tests/support/test_repository.h"

namespace bkfs {
namespace {

using Op = FaultBackend::Op;

// A writer whose pack is complete and cannot be stored, and the process after it.
class DiskSpoolTest : public ::testing::Test {
 protected:
  DiskSpoolTest() : test_(store_), faulty_(store_), folder_(test_.folder() + "/spool") {}

  void Begin() {
    Repository::Options options;
    options.cache_directory = test_.cache();
    auto repo = Repository::Open(std::make_unique<BorrowedBackend>(faulty_), test_.CloneMaster(),
                                 options, test_.log(), test_.clock());
    ASSERT_TRUE(IsOk(repo));
    repo_ = std::move(*repo);
    auto spool =
        DiskSpool::Open(folder_, repo_->LocalKey("spool"), repo_->header().repo, test_.log());
    ASSERT_TRUE(IsOk(spool));
    spool_ = spool->get();
    WriterOptions options_of_writer;
    options_of_writer.keep_trying = true;
    auto writer = repo_->NewWriter(std::move(*spool), options_of_writer);
    ASSERT_TRUE(IsOk(writer));
    writer_ = std::move(*writer);
  }
  void End() {
    writer_ = nullptr;
    repo_ = nullptr;
  }
  // One blob in a complete pack, which the store does not take; then the process ends.
  void LeaveAPack() {
    Begin();
    faulty_.Add({.op = Op::kPut, .prefix = "packs/", .error = {Code::kUnavailable, "away"}});
    auto id = writer_->Add(PackKind::kContents, PseudoRandom(5000, 1));
    ASSERT_TRUE(IsOk(id));
    id_ = *id;
    EXPECT_FALSE(writer_->Flush().ok());
    End();
    faulty_.Heal();
  }
  std::string PackFile() const {
    for (const auto& file : std::filesystem::directory_iterator(folder_)) {
      if (file.path().extension() == ".pack") return file.path();
    }
    return {};
  }
  // Stored so that somebody with nothing but the store finds it.
  void ExpectStored() {
    auto other = test_.Open(test_.CloneMaster(), test_.folder() + "/other");
    ASSERT_TRUE(IsOk(other));
    ASSERT_TRUE(IsOk((*other)->RebuildIndex()));
    EXPECT_TRUE(IsOk((*other)->blobs().Read(PackKind::kContents, id_)));
  }

  MemoryBackend store_;
  TestRepository test_;
  FaultBackend faulty_;
  const std::string folder_;
  std::unique_ptr<Repository> repo_;
  std::unique_ptr<BlobWriter> writer_;
  DiskSpool* spool_ = nullptr;  // the writer's
  BlobId id_;
};

TEST_F(DiskSpoolTest, WhatIsLeftIsStoredByTheNext) {
  ASSERT_NO_FATAL_FAILURE(LeaveAPack());
  ASSERT_NO_FATAL_FAILURE(Begin());
  ASSERT_TRUE(IsOk(spool_->Recover(*writer_)));
  ASSERT_TRUE(IsOk(writer_->Flush()));
  ASSERT_TRUE(PackFile().empty());
  ExpectStored();
}

// As a power cut may leave it while the pack is given another name.
TEST_F(DiskSpoolTest, ATornEndIsMadeAnew) {
  ASSERT_NO_FATAL_FAILURE(LeaveAPack());
  {
    std::fstream file(PackFile(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-60, std::ios::end);
    file.write("torn", 4);
    ASSERT_TRUE(file.good());
  }
  ASSERT_NO_FATAL_FAILURE(Begin());
  ASSERT_TRUE(IsOk(spool_->Recover(*writer_)));
  ASSERT_TRUE(IsOk(writer_->Flush()));
  ExpectStored();
}

// The first process had stored it without knowing, and maintenance gave it up.
TEST_F(DiskSpoolTest, APackThatWasGivenUpGetsAnotherName) {
  ASSERT_NO_FATAL_FAILURE(LeaveAPack());
  Bytes object;
  {
    std::ifstream file(PackFile(), std::ios::binary);
    object.assign(std::istreambuf_iterator<char>(file), {});
  }
  PackId there;
  there.bytes = HashBytes(object);
  ASSERT_TRUE(IsOk(store_.PutOne(PackName(there), object)));
  ASSERT_NO_FATAL_FAILURE(Begin());
  auto given_up = std::make_shared<CondemnedPacks>();
  given_up->last = 2;
  given_up->doomed[there] = 2;
  EXPECT_TRUE(writer_->Heed(given_up).empty());
  ASSERT_TRUE(IsOk(spool_->Recover(*writer_)));
  ASSERT_TRUE(IsOk(writer_->Flush()));
  ASSERT_TRUE(IsOk(store_.Remove(PackName(there))));
  ExpectStored();
}

}  // namespace
}  // namespace bkfs

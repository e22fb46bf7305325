// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/object_reader.h"

#include <gtest/gtest.h>

#include "backends/fault/fault_backend.h"
#include "engine/base/transfer.h"
#include "tests/support/test_repository.h"

namespace bkfs {
namespace {

using Op = FaultBackend::Op;

class ObjectReaderTest : public testing::Test {
 protected:
  ObjectReaderTest() : store_(memory_) {
    store_.MakeFar();
    for (int i = 0; i < 100; ++i) {
      names_.push_back("snapshots/" + std::to_string(1000 + i));
      BKFS_CHECK(memory_.PutOne(names_.back(), AsBytes(names_.back())).ok());
    }
  }
  MemoryBackend memory_;
  FaultBackend store_;
  std::vector<std::string> names_;
};

TEST_F(ObjectReaderTest, AllInOrder) {
  ObjectReader objects(store_, names_);
  for (const auto& name : names_) EXPECT_EQ(AsText(objects.Get(name).value()), name);
  EXPECT_EQ(store_.Count(Op::kGet), names_.size());
}

TEST_F(ObjectReaderTest, SomeInOrder) {
  for (const size_t step : {size_t{2}, size_t{7}, size_t{40}, size_t{99}}) {
    ObjectReader objects(store_, names_, 5);
    for (size_t i = 0; i < names_.size(); i += step) {
      EXPECT_EQ(AsText(objects.Get(names_[i]).value()), names_[i]);
    }
  }
}

TEST_F(ObjectReaderTest, OutOfOrderAndNotAnnounced) {
  ObjectReader objects(store_, names_);
  ASSERT_TRUE(memory_.PutOne("other", AsBytes("x")).ok());
  for (const auto* name : {&names_[50], &names_[3], &names_[51], &names_[51]}) {
    EXPECT_EQ(AsText(objects.Get(*name).value()), *name);
  }
  EXPECT_EQ(AsText(objects.Get("other").value()), "x");
  EXPECT_EQ(objects.Get("absent").code(), Code::kNotFound);
}

TEST_F(ObjectReaderTest, EachFailureIsItsOwn) {
  store_.Add({.op = Op::kGet, .prefix = names_[10], .error = Status(Code::kUnavailable, "no")});
  ASSERT_TRUE(memory_.Remove(names_[20]).ok());
  ObjectReader objects(store_, names_);
  for (size_t i = 0; i < names_.size(); ++i) {
    const Code expected = i == 10 ? Code::kUnavailable : i == 20 ? Code::kNotFound : Code::kOk;
    EXPECT_EQ(objects.Get(names_[i]).code(), expected);
  }
}

TEST_F(ObjectReaderTest, NoMoreThanSoManyAhead) {
  ObjectReader objects(store_, names_, 4);
  ASSERT_TRUE(objects.Get(names_[0]).ok());
  ASSERT_TRUE(objects.Get(names_[1]).ok());
  EXPECT_LE(store_.Count(Op::kGet), 6U);
}

TEST_F(ObjectReaderTest, WhatIsNearIsNotFetchedAhead) {
  ObjectReader objects(memory_, names_);
  EXPECT_EQ(AsText(objects.Get(names_[5]).value()), names_[5]);
}

TEST_F(ObjectReaderTest, AWatchEndsTheWaitAndTheEndTheFetching) {
  store_.Add(
      {.op = Op::kGet, .action = FaultBackend::Action::kDelay, .delay_nanos = 3'600'000'000'000});
  ObjectReader objects(store_, names_);
  WaitLimit limit(50'000'000, nullptr);
  const WatchScope scope(limit);
  EXPECT_EQ(objects.Get(names_[0]).code(), Code::kUnavailable);
}

}  // namespace
}  // namespace bkfs

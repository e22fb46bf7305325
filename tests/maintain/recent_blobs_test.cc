// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/recent_blobs.h"

#include <gtest/gtest.h>

namespace bkfs {
namespace {

// Ids with the same first bytes want the same place.
BlobId IdOf(uint8_t first, uint8_t last) {
  BlobId id;
  id.bytes.front() = first;
  id.bytes.back() = last;
  return id;
}

TEST(RecentBlobs, KnowsWhatWasAddedAndNothingElse) {
  RecentBlobs recent;
  EXPECT_FALSE(recent.Contains(IdOf(1, 1)));
  recent.Add(IdOf(1, 1));
  recent.Add(IdOf(2, 1));
  EXPECT_TRUE(recent.Contains(IdOf(1, 1)));
  EXPECT_TRUE(recent.Contains(IdOf(2, 1)));
  EXPECT_FALSE(recent.Contains(IdOf(1, 2)));
  EXPECT_FALSE(recent.Contains(IdOf(3, 1)));
}

TEST(RecentBlobs, TheNewerOfTwoThatWantOnePlaceWins) {
  RecentBlobs recent;
  recent.Add(IdOf(1, 1));
  recent.Add(IdOf(1, 2));
  EXPECT_FALSE(recent.Contains(IdOf(1, 1)));
  EXPECT_TRUE(recent.Contains(IdOf(1, 2)));
}

TEST(RecentBlobs, ADirectoryThatIsEmptyOrAHoleIsNoBlob) {
  RecentBlobs recent;
  EXPECT_FALSE(recent.Contains(BlobId()));
}

}  // namespace
}  // namespace bkfs

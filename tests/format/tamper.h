// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include "engine/base/bytes.h"

namespace bkfs {

// Every single-byte change, every truncation and an added byte must be refused cleanly by
// `decode(ByteView) -> Status`.
template <typename Decode>
void ExpectTamperProof(ByteView object, Decode decode) {
  ASSERT_TRUE(decode(object).ok()) << decode(object).ToString();
  auto expect_refused = [&decode](ByteView bad, const char* what, size_t at) {
    Status status = decode(bad);
    EXPECT_FALSE(status.ok()) << what << " at " << at;
    EXPECT_TRUE(status.ok() || !status.message().empty());
  };
  Bytes bad(object.begin(), object.end());
  for (size_t i = 0; i < bad.size(); ++i) {
    uint8_t flip = static_cast<uint8_t>(1 << (i % 8));
    bad[i] ^= flip;
    expect_refused(bad, "flip", i);
    bad[i] ^= flip;
  }
  for (size_t i = 0; i < object.size(); ++i) expect_refused(object.first(i), "cut", i);
  bad.push_back(0);
  expect_refused(bad, "added byte", bad.size());
}

// For blobs without a seal of their own: changed values may be accepted (the blob's id tells), but
// nothing may crash. `decode` touches all it decoded.
template <typename Decode>
void ExpectNoCrash(ByteView object, Decode decode) {
  for (size_t i = 0; i < object.size(); ++i) {
    for (uint8_t value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      Bytes bad(object.begin(), object.end());
      bad[i] = value;
      decode(std::move(bad));
    }
    decode(Bytes(object.begin(), object.begin() + static_cast<ptrdiff_t>(i)));
  }
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/base/ids.h"
#include "engine/crypto/keys.h"

// Objects that no encoder makes: valid bytes, changed in one place and signed again, as somebody
// who holds a key could.
namespace bkfs {

// Where `part` is; it must be there once.
inline size_t FindOnce(ByteView whole, ByteView part) {
  auto at = std::search(whole.begin(), whole.end(), part.begin(), part.end());
  EXPECT_NE(at, whole.end());
  EXPECT_EQ(std::search(at + 1, whole.end(), part.begin(), part.end()), whole.end());
  return static_cast<size_t>(at - whole.begin());
}

inline void ReplaceOnce(Bytes& whole, ByteView part, ByteView by) {
  ASSERT_EQ(part.size(), by.size());
  const size_t at = FindOnce(whole, part);
  ASSERT_LE(at + by.size(), whole.size());
  std::copy(by.begin(), by.end(), whole.begin() + static_cast<ptrdiff_t>(at));
}

template <typename Int>
Bytes IntBytes(Int value) {
  Bytes out;
  AppendInt(out, value);
  return out;
}

// In a FlatBuffer: what refers to the vector whose first element has the bytes `other` shall refer
// to the one that begins with `kept`.
inline void ShareVector(Bytes& buffer, ByteView other, ByteView kept) {
  constexpr size_t kCount = sizeof(uint32_t);  // elements are counted in front of them
  const size_t from = FindOnce(buffer, other) - kCount;
  const size_t to = FindOnce(buffer, kept) - kCount;
  for (size_t at = 0; at < std::min(from, to); at += sizeof(uint32_t)) {
    if (at + Load<uint32_t>(buffer.data() + at) != from) continue;
    Bytes offset = IntBytes(static_cast<uint32_t>(to - at));
    std::copy(offset.begin(), offset.end(), buffer.begin() + static_cast<ptrdiff_t>(at));
    return;
  }
  ADD_FAILURE() << "nothing refers to the vector";
}

// A signature over context ‖ repo ‖ all bytes before it, in place of the one that is there.
inline void SignAgain(Bytes& object, std::string_view context, const RepoId& repo,
                      const SigningKey& key) {
  const ByteView covered = ByteView(object).first(object.size() - sizeof(Signature));
  Bytes message;
  Append(message, AsBytes(context));
  Append(message, repo.view());
  Append(message, covered);
  Bytes again(covered.begin(), covered.end());
  Append(again, key.Sign(message));
  object = std::move(again);
}

}  // namespace bkfs

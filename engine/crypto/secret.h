// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>

#include "engine/base/bytes.h"

namespace bkfs {

// A secret byte string in memory that is locked (kept out of swap where the limits allow), excluded
// from core dumps, guarded, and wiped when it goes. Move-only; cannot be printed or compared.
class Secret {
 public:
  Secret() = default;
  explicit Secret(size_t size);              // zeroed
  static Secret CopyOf(ByteView plaintext);  // the caller wipes its own copy
  Secret(Secret&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret();

  Secret Clone() const { return CopyOf(view()); }
  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  ByteView view() const { return {data_, size_}; }
  MutableByteView mutable_view() { return {data_, size_}; }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// Wipes memory in a way the compiler keeps.
void WipeMemory(MutableByteView memory);

// Must be called once by each program (and test) before anything else of crypto; thread-safe,
// may be called again.
Status InitCrypto();

// Fills with bytes from the kernel's random generator.
void RandomBytes(MutableByteView out);
Secret RandomSecret(size_t size);

}  // namespace bkfs

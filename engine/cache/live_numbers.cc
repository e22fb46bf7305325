// SPDX-License-Identifier: Apache-2.0
#include "engine/cache/live_numbers.h"

namespace bkfs {

bool LiveNumbers::Bit(uint32_t number) const {
  const size_t word = number / 64;
  return word < bits_.size() && ((bits_[word] >> (number % 64)) & 1) != 0;
}

bool LiveNumbers::Live(uint32_t number) const {
  ReaderLock lock(mutex_);
  return Bit(number);
}

bool LiveNumbers::Dead(uint32_t number) const {
  ReaderLock lock(mutex_);
  return number < settled_ && !Bit(number);
}

void LiveNumbers::Add(uint32_t number) {
  WriterLock lock(mutex_);
  if (Bit(number)) return;
  const size_t word = number / 64;
  if (word >= bits_.size()) bits_.resize(word + 1);
  bits_[word] |= uint64_t{1} << (number % 64);
  ++count_;
}

void LiveNumbers::Remove(uint32_t number) {
  WriterLock lock(mutex_);
  if (!Bit(number)) return;
  bits_[number / 64] &= ~(uint64_t{1} << (number % 64));
  --count_;
}

void LiveNumbers::SettleBelow(uint32_t limit) {
  WriterLock lock(mutex_);
  settled_ = limit;
}

uint64_t LiveNumbers::Count() const {
  ReaderLock lock(mutex_);
  return count_;
}

void LiveNumbers::Clear() {
  WriterLock lock(mutex_);
  bits_.clear();
  count_ = 0;
  settled_ = 0;
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/crypto/nonce_source.h"

#include <sys/mman.h>
#include <unistd.h>

#include "engine/crypto/secret.h"

namespace bkfs {

namespace {
size_t PageSize() { return static_cast<size_t>(::sysconf(_SC_PAGESIZE)); }
}  // namespace

NonceSource::NonceSource() {
  void* page =
      ::mmap(nullptr, PageSize(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return;
  if (::madvise(page, PageSize(), MADV_WIPEONFORK) != 0) {
    ::munmap(page, PageSize());
    return;
  }
  state_ = static_cast<State*>(page);
}

NonceSource::~NonceSource() {
  if (state_ != nullptr) ::munmap(state_, PageSize());
}

void NonceSource::Next(uint8_t* out12) {
  if (state_ == nullptr) {
    RandomBytes({out12, 12});
    return;
  }
  if (state_->seeded == 0 || state_->counter > UINT32_MAX) {
    RandomBytes({reinterpret_cast<uint8_t*>(&state_->prefix), sizeof state_->prefix});
    state_->counter = 0;
    state_->seeded = 1;
  }
  Store(out12, state_->prefix);
  Store(out12 + 8, static_cast<uint32_t>(state_->counter++));
}

}  // namespace bkfs

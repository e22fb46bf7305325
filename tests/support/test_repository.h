// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "backends/memory/memory_backend.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/crypto/secret.h"
#include "engine/repo/repository.h"
#include "tests/support/scratch.h"

namespace bkfs {

// Fails the test with the status' message.
inline ::testing::AssertionResult IsOk(const Status& status) {
  if (status.ok()) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << CodeName(status.code()) << ": " << status.message();
}
template <typename T>
::testing::AssertionResult IsOk(const Result<T>& result) {
  return IsOk(result.status());
}

// Passes everything to a store that outlives it: a Repository owns its Backend, a test keeps the
// objects.
class BorrowedBackend : public Backend {
 public:
  explicit BorrowedBackend(Backend& inner) : inner_(inner) {}
  BorrowedBackend(const BorrowedBackend&) = delete;  // around one that is one, too, say so
  Result<Bytes> Get(const std::string& name) override { return inner_.Get(name); }
  Status ReadAt(const std::string& name, uint64_t offset, MutableByteView out) override {
    return inner_.ReadAt(name, offset, out);
  }
  bool IsNear(const std::string& name, uint64_t offset, uint64_t length) override {
    return inner_.IsNear(name, offset, length);
  }
  Status Put(const std::string& name, std::span<const ByteView> parts) override {
    return inner_.Put(name, parts);
  }
  Result<uint64_t> Size(const std::string& name) override { return inner_.Size(name); }
  Result<int64_t> ModifiedAt(const std::string& name) override { return inner_.ModifiedAt(name); }
  Status List(const std::string& prefix,
              const std::function<Status(const std::string&, uint64_t)>& visit) override {
    return inner_.List(prefix, visit);
  }
  Status Remove(const std::string& name) override { return inner_.Remove(name); }
  Result<StoreSpace> Space() override { return inner_.Space(); }
  Result<RepackedObject> Repack(std::span<const RepackPiece> pieces) override {
    return inner_.Repack(pieces);
  }
  Result<int64_t> LockedUntil(const std::string& name) override { return inner_.LockedUntil(name); }
  Status Lock(const std::string& name, int64_t until_ns) override {
    return inner_.Lock(name, until_ns);
  }
  int64_t LockSpan() const override { return inner_.LockSpan(); }
  std::string Describe() const override { return inner_.Describe(); }

 private:
  Backend& inner_;
};

// A repository in memory with its master key, and scratch folders for caches.
class TestRepository {
 public:
  // `clock`, if not null, outlives it; otherwise it is the system's.
  explicit TestRepository(Backend& store, const CreateOptions& options = {}, Clock* clock = nullptr)
      : store_(store), clock_(clock ? *clock : system_clock_) {
    BKFS_CHECK(InitCrypto().ok());
    auto master =
        CreateRepository(store, options, clock_, [](const KeyMaterial&) { return Status(); });
    BKFS_CHECK(master.ok());
    master_ = std::move(master).value();
  }

  KeyMaterial CloneMaster() const {
    return MasterMaterial(master_.master.Clone(), master_.repo, 1);
  }
  // Derives a key and puts its badge.
  KeyMaterial Derive(KeyType type, const std::string& label = "test") {
    KeyMaterial key = DeriveMaterial(master_, type, label, clock_.WallNanos());
    BKFS_CHECK(store_.PutOne(KeyDirectory::BadgeName(key.id()), key.badge).ok());
    return key;
  }
  // The same key again, as if its keyfile were loaded a second time.
  static KeyMaterial Reload(const KeyMaterial& key) {
    auto again = DecodeKeyfile(EncodeKeyfile(key, {}), nullptr);
    BKFS_CHECK(again.ok());
    return std::move(again).value();
  }
  Result<std::unique_ptr<Repository>> Open(KeyMaterial key, const std::string& cache) {
    Repository::Options options;
    options.cache_directory = cache;
    options.index_memory = 8 << 20;
    return Repository::Open(std::make_unique<BorrowedBackend>(store_), std::move(key), options,
                            log_, clock_);
  }
  Result<std::unique_ptr<Repository>> OpenMaster() { return Open(CloneMaster(), cache()); }

  Backend& store() { return store_; }
  const KeyMaterial& master() const { return master_; }
  std::string cache() const { return scratch_.path() + "/cache"; }
  const std::string& folder() const { return scratch_.path(); }
  Clock& clock() { return clock_; }
  Logger& log() { return log_; }

 private:
  Backend& store_;
  ScratchFolder scratch_;
  SystemClock system_clock_;
  Clock& clock_;
  NullLogger log_;
  KeyMaterial master_;
};

// Bytes that look random but are the same for the same seed.
inline Bytes PseudoRandom(size_t size, uint64_t seed) {
  Bytes out(size);
  uint64_t x = seed * 0x9E3779B97F4A7C15ULL + 0x1234567;
  for (size_t i = 0; i < size; ++i) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    out[i] = static_cast<uint8_t>(x >> 32);
  }
  return out;
}

}  // namespace bkfs

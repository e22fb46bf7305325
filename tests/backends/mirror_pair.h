// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "backends/decorators/mirror_backend.h"
#include "backends/decorators/mirror_objects.h"
#include "backends/fault/fault_backend.h"
#include "backends/memory/memory_backend.h"
#include "engine/crypto/hash.h"
#include "engine/format/pack.h"
#include "engine/format/snapshot.h"
#include "tests/support/scratch.h"
#include "tests/support/test_logger.h"
#include "tests/support/test_repository.h"

namespace bkfs {

inline std::string PackNameOf(ByteView bytes) {
  PackId id;
  id.bytes = HashBytes(bytes);
  return PackName(id);
}
inline std::string IndexNameOf(ByteView bytes) {
  IndexId id;
  id.bytes = HashBytes(bytes);
  return IndexName(id);
}
inline std::string SnapshotNameOf(ByteView bytes) { return SnapshotName(SnapshotIdOf(bytes)); }

// Two stores in memory that can be made to fail, and a mirrored pair of them that can be opened
// again and again.
class MirrorPair {
 public:
  static constexpr int64_t kMillisecond = 1'000'000;

  Result<std::unique_ptr<MirrorBackend>> Open(const std::function<void(MirrorOptions&)>& set = {}) {
    MirrorOptions options;
    options.directory = scratch.path() + "/state";
    options.url = "mem:mirror";
    options.first_pause_ns = kMillisecond;
    options.longest_pause_ns = 8 * kMillisecond;
    options.open = [this](bool) -> Result<std::unique_ptr<Backend>> {
      if (!mirror_is_there) return Status(Code::kUnavailable, "nobody answers");
      return std::unique_ptr<Backend>(std::make_unique<BorrowedBackend>(mirror));
    };
    if (set) set(options);
    return MirrorBackend::Open(std::make_unique<BorrowedBackend>(primary), std::move(options), log);
  }
  std::unique_ptr<MirrorBackend> MustOpen(const std::function<void(MirrorOptions&)>& set = {}) {
    auto store = Open(set);
    EXPECT_TRUE(IsOk(store));
    return *std::move(store);
  }

  static std::map<std::string, Bytes> ObjectsOf(Backend& store) {
    std::map<std::string, Bytes> objects;
    EXPECT_TRUE(IsOk(store.List("", [&](const std::string& name, uint64_t) -> Status {
      if (!IsMirrored(name)) return {};
      auto bytes = store.Get(name);
      if (bytes.ok()) objects[name] = *bytes;
      return {};
    })));
    return objects;
  }
  void ExpectEqual() { EXPECT_EQ(ObjectsOf(primary_objects), ObjectsOf(mirror_objects)); }
  // The files that say what the mirror may lack.
  size_t Notes() {
    size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(scratch.path() + "/state")) {
      (void)entry;
      ++count;
    }
    return count;
  }
  static void AwaitInStep(MirrorBackend& store) {
    for (int i = 0; i < 5000 && store.IsBehind(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    EXPECT_FALSE(store.IsBehind());
  }

  ScratchFolder scratch;
  TestLogger log;
  MemoryBackend primary_objects;
  MemoryBackend mirror_objects;
  FaultBackend primary{primary_objects};
  FaultBackend mirror{mirror_objects};
  std::atomic<bool> mirror_is_there = true;
};

class MirrorTest : public testing::Test {
 protected:
  static Bytes Data(const std::string& text) {
    const ByteView view = AsBytes(text);
    return {view.begin(), view.end()};
  }
  static std::string PutPack(Backend& store, const std::string& text) {
    const Bytes data = Data(text);
    EXPECT_TRUE(IsOk(store.PutOne(PackNameOf(data), data)));
    return PackNameOf(data);
  }
  static bool Has(MemoryBackend& store, const std::string& name) { return store.Size(name).ok(); }

  MirrorPair pair_;
};

}  // namespace bkfs

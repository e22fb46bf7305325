// SPDX-License-Identifier: Apache-2.0
#include "tests/backends/conformance.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <thread>
#include <vector>

namespace bkfs {
namespace {

// Names that are none, by the rule in backend.h.
std::vector<std::string> BadNames() {
  return {"",
          "/",
          "/a",
          "a/",
          "a//b",
          ".",
          "..",
          "./a",
          "a/.",
          "a/..",
          "../a",
          "a/../b",
          "A",
          "a_b",
          "_tmp/a",
          "a b",
          "a\nb",
          "a\\b",
          "ä",
          "a:b",
          "a*",
          "a~",
          "packs/A",
          std::string("a\0b", 3),
          std::string(201, 'a'),
          std::string(100, 'a') + "/" + std::string(100, 'b')};
}

std::vector<std::string> GoodNames() {
  return {"a",
          "0",
          "-",
          "...",
          "..a",
          ".a",
          "a.",
          "a..b",
          "bkfs.repo",
          "keys/0011.revoked",
          "keys/epoch-2",
          "packs/ab/abcdef",
          "d/e/e/p/e/r",
          std::string(200, 'x'),
          std::string(100, 'y') + "/" + std::string(99, 'z')};
}

// Bytes that differ at every offset, so that a range from the wrong place is noticed.
Bytes Pattern(size_t size, uint64_t seed) {
  Bytes data(size);
  uint64_t state = seed * 0x9e3779b97f4a7c15 + 1;
  for (uint8_t& byte : data) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    byte = static_cast<uint8_t>(state);
  }
  return data;
}

std::map<std::string, uint64_t> ListAll(Backend& backend, const std::string& prefix) {
  std::map<std::string, uint64_t> seen;
  Status status = backend.List(prefix, [&](const std::string& name, uint64_t size) -> Status {
    EXPECT_TRUE(seen.emplace(name, size).second) << name << " twice";
    return {};
  });
  EXPECT_TRUE(status.ok()) << status.ToString();
  return seen;
}

void ExpectNames(const Status& status, const std::string& name) {
  EXPECT_NE(status.message().find(name), std::string::npos) << status.message();
}

TEST_P(BackendConformance, GetReturnsWhatWasPut) {
  Bytes data = Pattern(100'000, 1);
  ASSERT_TRUE(backend().PutOne("packs/ab/abcd", data).ok());
  auto back = backend().Get("packs/ab/abcd");
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  EXPECT_EQ(*back, data);
  auto size = backend().Size("packs/ab/abcd");
  ASSERT_TRUE(size.ok()) << size.status().ToString();
  EXPECT_EQ(*size, data.size());
}

TEST_P(BackendConformance, PutJoinsItsParts) {
  std::vector<Bytes> pieces;
  for (size_t i = 0; i < 3000; ++i) pieces.push_back(Pattern(i % 7 == 0 ? 0 : i % 50, i));
  std::vector<ByteView> parts(pieces.begin(), pieces.end());
  Bytes whole;
  for (ByteView part : parts) Append(whole, part);
  ASSERT_TRUE(backend().Put("a", parts).ok());
  auto back = backend().Get("a");
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(*back, whole);
}

TEST_P(BackendConformance, EmptyObjects) {
  ASSERT_TRUE(backend().Put("none", {}).ok());
  std::vector<ByteView> empty_parts(3);
  ASSERT_TRUE(backend().Put("empty", empty_parts).ok());
  for (const std::string name : {"none", "empty"}) {
    auto back = backend().Get(name);
    ASSERT_TRUE(back.ok()) << back.status().ToString();
    EXPECT_TRUE(back->empty());
    auto size = backend().Size(name);
    ASSERT_TRUE(size.ok());
    EXPECT_EQ(*size, 0U);
    EXPECT_TRUE(backend().ReadAt(name, 0, {}).ok());
    uint8_t byte = 0;
    EXPECT_EQ(backend().ReadAt(name, 0, {&byte, 1}).code(), Code::kCorrupt);
    EXPECT_EQ(backend().PutOne(name, AsBytes("x")).code(), Code::kExists);
  }
  EXPECT_EQ(ListAll(backend(), "").size(), 2U);
}

TEST_P(BackendConformance, LargeObject) {
  Bytes data = Pattern(64 << 20, 2);
  const ByteView whole(data);
  const ByteView parts[] = {whole.first(5), whole.subspan(5, 40 << 20),
                            whole.subspan(5 + (40 << 20))};
  ASSERT_TRUE(backend().Put("packs/00/large", parts).ok());
  Bytes middle(1 << 20);
  ASSERT_TRUE(backend().ReadAt("packs/00/large", 39 << 20, middle).ok());
  EXPECT_TRUE(std::equal(middle.begin(), middle.end(), data.begin() + (39 << 20)));
  auto back = backend().Get("packs/00/large");
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  EXPECT_TRUE(*back == data);
}

TEST_P(BackendConformance, RangesInsideAndPastTheEnd) {
  Bytes data = Pattern(10'000, 3);
  ASSERT_TRUE(backend().PutOne("r", data).ok());
  struct Range {
    uint64_t offset;
    size_t length;
    bool ok;
  };
  const Range ranges[] = {{0, 1, true},
                          {0, 10'000, true},
                          {9'999, 1, true},
                          {5'000, 5'000, true},
                          {17, 4'096, true},
                          {0, 0, true},
                          {10'000, 0, true},
                          {0, 10'001, false},
                          {9'999, 2, false},
                          {10'000, 1, false},
                          {10'001, 0, false},
                          {1ULL << 40, 16, false},
                          {~uint64_t{0}, 1, false},
                          {~uint64_t{0} - 4, 16, false}};
  for (const Range& range : ranges) {
    Bytes out(range.length);
    Status status = backend().ReadAt("r", range.offset, out);
    SCOPED_TRACE(std::to_string(range.offset) + "+" + std::to_string(range.length));
    EXPECT_EQ(status.code(), range.ok ? Code::kOk : Code::kCorrupt) << status.ToString();
    if (!range.ok) {
      ExpectNames(status, "r");
    } else if (status.ok()) {
      EXPECT_TRUE(
          std::equal(out.begin(), out.end(), data.begin() + static_cast<long>(range.offset)));
    }
  }
}

TEST_P(BackendConformance, AbsentObjectsAreNotFoundAndNamed) {
  ASSERT_TRUE(backend().PutOne("packs/ab/there", AsBytes("x")).ok());
  // Names beside, above and below one that is there.
  for (const std::string name : {"absent", "packs/ab/absent", "packs/absent/absent", "packs",
                                 "packs/ab", "packs/ab/ther", "packs/ab/there/below"}) {
    SCOPED_TRACE(name);
    uint8_t byte = 0;
    const Status all[] = {backend().Get(name).status(), backend().ReadAt(name, 0, {&byte, 1}),
                          backend().Size(name).status(), backend().Remove(name)};
    for (const Status& status : all) {
      EXPECT_EQ(status.code(), Code::kNotFound) << status.ToString();
      ExpectNames(status, name);
    }
  }
  EXPECT_TRUE(backend().Size("packs/ab/there").ok());
}

TEST_P(BackendConformance, PutNeverReplaces) {
  ASSERT_TRUE(backend().PutOne("snapshots/one", AsBytes("first")).ok());
  for (const std::string text : {"second", "first", "", "a longer one than before"}) {
    Status status = backend().PutOne("snapshots/one", AsBytes(text));
    EXPECT_EQ(status.code(), Code::kExists) << status.ToString();
    ExpectNames(status, "snapshots/one");
  }
  auto back = backend().Get("snapshots/one");
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(AsText(*back), "first");
}

TEST_P(BackendConformance, BadNamesAreInvalidEverywhere) {
  for (const std::string& name : BadNames()) {
    SCOPED_TRACE("'" + name + "'");
    uint8_t byte = 0;
    EXPECT_EQ(backend().Get(name).code(), Code::kInvalid);
    EXPECT_EQ(backend().ReadAt(name, 0, {&byte, 1}).code(), Code::kInvalid);
    EXPECT_EQ(backend().PutOne(name, AsBytes("x")).code(), Code::kInvalid);
    EXPECT_EQ(backend().Size(name).code(), Code::kInvalid);
    EXPECT_EQ(backend().Remove(name).code(), Code::kInvalid);
  }
  EXPECT_TRUE(ListAll(backend(), "").empty());
}

TEST_P(BackendConformance, GoodNamesAreTakenEverywhere) {
  std::map<std::string, uint64_t> expected;
  for (const std::string& name : GoodNames()) {
    SCOPED_TRACE(name);
    Status status = backend().PutOne(name, AsBytes(name));
    ASSERT_TRUE(status.ok()) << status.ToString();
    auto back = backend().Get(name);
    ASSERT_TRUE(back.ok()) << back.status().ToString();
    EXPECT_EQ(AsText(*back), name);
    expected[name] = name.size();
  }
  EXPECT_EQ(ListAll(backend(), ""), expected);
  for (const std::string& name : GoodNames()) EXPECT_TRUE(backend().Remove(name).ok()) << name;
  EXPECT_TRUE(ListAll(backend(), "").empty());
}

TEST_P(BackendConformance, ListByPrefix) {
  const std::vector<std::string> names = {"bkfs.repo",   "packs/aa/1",  "packs/aa/2", "packs/ab/3",
                                          "packsx/aa/4", "packs-old/5", "index/6",    "keys/7"};
  for (size_t i = 0; i < names.size(); ++i) {
    ASSERT_TRUE(backend().PutOne(names[i], Pattern(i * 11, i)).ok());
  }
  using Listing = std::map<std::string, uint64_t>;
  EXPECT_EQ(ListAll(backend(), "").size(), names.size());
  EXPECT_EQ(ListAll(backend(), "packs/"),
            (Listing{{"packs/aa/1", 11}, {"packs/aa/2", 22}, {"packs/ab/3", 33}}));
  EXPECT_EQ(ListAll(backend(), "packs/aa/"), (Listing{{"packs/aa/1", 11}, {"packs/aa/2", 22}}));
  EXPECT_EQ(ListAll(backend(), "index/"), (Listing{{"index/6", 66}}));
  EXPECT_EQ(ListAll(backend(), "leases/"), Listing{});
  EXPECT_EQ(ListAll(backend(), "packs/zz/"), Listing{});
  EXPECT_EQ(ListAll(backend(), "bkfs.repo/"), Listing{});
  auto ignore = [](const std::string&, uint64_t) { return OkStatus(); };
  for (const std::string prefix : {"packs", "/", "packs//", "../", "/packs/", "P/"}) {
    EXPECT_EQ(backend().List(prefix, ignore).code(), Code::kInvalid) << prefix;
  }
}

TEST_P(BackendConformance, ListStopsWithTheVisitorsError) {
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(backend().PutOne("index/" + std::to_string(i), AsBytes("x")).ok());
  }
  int calls = 0;
  Status status = backend().List("", [&](const std::string&, uint64_t) -> Status {
    if (++calls == 5) return {Code::kInterrupted, "enough"};
    return {};
  });
  EXPECT_EQ(status.code(), Code::kInterrupted);
  EXPECT_EQ(status.message(), "enough");
  EXPECT_EQ(calls, 5);
}

TEST_P(BackendConformance, TheVisitorMayUseTheStore) {
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(backend().PutOne("packs/00/" + std::to_string(i), AsBytes("x")).ok());
  }
  int removed = 0;
  Status status = backend().List("packs/", [&](const std::string& name, uint64_t) -> Status {
    BKFS_TRY(backend().Get(name).status());
    BKFS_TRY(backend().PutOne("copy/" + std::to_string(removed), AsBytes("y")));
    ++removed;
    return backend().Remove(name);
  });
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(removed, 50);
  EXPECT_TRUE(ListAll(backend(), "packs/").empty());
  EXPECT_EQ(ListAll(backend(), "copy/").size(), 50U);
}

TEST_P(BackendConformance, ManyObjects) {
  std::map<std::string, uint64_t> expected;
  for (int i = 0; i < 1500; ++i) {
    std::string name = "packs/" + std::to_string(i % 10) + "/" + std::to_string(i);
    ASSERT_TRUE(backend().PutOne(name, AsBytes(name)).ok());
    expected[name] = name.size();
  }
  EXPECT_EQ(ListAll(backend(), ""), expected);
}

TEST_P(BackendConformance, RemovedObjectsAreGone) {
  ASSERT_TRUE(backend().PutOne("packs/aa/1", AsBytes("one")).ok());
  ASSERT_TRUE(backend().PutOne("packs/aa/2", AsBytes("two")).ok());
  uint8_t byte = 0;
  ASSERT_TRUE(backend().ReadAt("packs/aa/1", 0, {&byte, 1}).ok());
  ASSERT_TRUE(backend().Remove("packs/aa/1").ok());
  EXPECT_EQ(backend().Remove("packs/aa/1").code(), Code::kNotFound);
  EXPECT_EQ(backend().Get("packs/aa/1").code(), Code::kNotFound);
  EXPECT_EQ(backend().ReadAt("packs/aa/1", 0, {&byte, 1}).code(), Code::kNotFound);
  EXPECT_EQ(backend().Size("packs/aa/1").code(), Code::kNotFound);
  EXPECT_EQ(ListAll(backend(), "packs/").size(), 1U);
  // The name is free again.
  ASSERT_TRUE(backend().PutOne("packs/aa/1", AsBytes("other")).ok());
  auto back = backend().Get("packs/aa/1");
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(AsText(*back), "other");
  Bytes range(5);
  ASSERT_TRUE(backend().ReadAt("packs/aa/1", 0, range).ok());
  EXPECT_EQ(AsText(range), "other");
}

TEST_P(BackendConformance, ManyAreRemovedTogether) {
  std::vector<std::string> names;
  for (int i = 0; i < 30; ++i) names.push_back("packs/aa/" + std::to_string(i));
  for (const auto& name : names) ASSERT_TRUE(backend().PutOne(name, AsBytes(name)).ok());
  ASSERT_TRUE(backend().PutOne("packs/aa/stays", AsBytes("x")).ok());
  names.push_back("packs/aa/never-was");
  EXPECT_TRUE(backend().RemoveAll(names).ok());
  EXPECT_EQ(ListAll(backend(), ""), (std::map<std::string, uint64_t>{{"packs/aa/stays", 1}}));
  EXPECT_TRUE(backend().RemoveAll({}).ok());
  EXPECT_EQ(backend().RemoveAll({"Bad name", "packs/aa/stays"}).code(), Code::kInvalid);
  EXPECT_EQ(backend().Get("packs/aa/stays").code(), Code::kNotFound);
}

// Locks are told whether a store has them or not; a store without says no, and keeps nothing.
TEST_P(BackendConformance, LocksAreTold) {
  ASSERT_TRUE(backend().PutOne("packs/aa/b", AsBytes("x")).ok());
  auto locked = backend().LockedUntil("packs/aa/b");
  ASSERT_TRUE(locked.ok()) << locked.status().ToString();
  EXPECT_EQ(backend().LockedUntil("packs/aa/absent").code(), Code::kNotFound);
  EXPECT_EQ(*locked > 0, backend().LockSpan() > 0);
  if (backend().LockSpan() == 0) {
    EXPECT_EQ(backend().Lock("packs/aa/b", 1).code(), Code::kUnsupported);
    EXPECT_TRUE(backend().Remove("packs/aa/b").ok());
  }
}

TEST_P(BackendConformance, AnotherClientSeesTheSame) {
  auto other = store().OpenAgain();
  if (!other) return;  // a store that only this object knows
  ASSERT_TRUE(backend().PutOne("keys/1", AsBytes("one")).ok());
  auto back = other->Get("keys/1");
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  EXPECT_EQ(AsText(*back), "one");
  EXPECT_EQ(other->PutOne("keys/1", AsBytes("two")).code(), Code::kExists);
  ASSERT_TRUE(other->PutOne("keys/2", AsBytes("two")).ok());
  EXPECT_EQ(ListAll(backend(), ""), ListAll(*other, ""));
  uint8_t byte = 0;
  ASSERT_TRUE(backend().ReadAt("keys/1", 0, {&byte, 1}).ok());
  ASSERT_TRUE(other->Remove("keys/1").ok());
  EXPECT_EQ(backend().ReadAt("keys/1", 0, {&byte, 1}).code(), Code::kNotFound);
  EXPECT_EQ(backend().Get("keys/1").code(), Code::kNotFound);
}

TEST_P(BackendConformance, OfManyPutsOfOneNameExactlyOneWins) {
  constexpr int kThreads = 8;
  auto other = store().OpenAgain();
  for (int round = 0; round < 10; ++round) {
    const std::string name = "races/" + std::to_string(round);
    std::atomic<int> ready{0};
    std::atomic<int> winner{-1};
    std::atomic<int> won{0};
    std::atomic<int> lost{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        Backend& client = other && i % 2 == 1 ? *other : backend();
        Bytes data = Pattern(50'000, static_cast<uint64_t>(i));
        ready.fetch_add(1);
        while (ready.load() < kThreads) std::this_thread::yield();
        Status status = client.PutOne(name, data);
        if (status.ok()) {
          won.fetch_add(1);
          winner.store(i);
        } else if (status.Is(Code::kExists)) {
          lost.fetch_add(1);
        }
      });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(won.load(), 1);
    EXPECT_EQ(lost.load(), kThreads - 1);
    auto back = backend().Get(name);
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(*back, Pattern(50'000, static_cast<uint64_t>(winner.load())));
  }
}

// What a reader beside a writer sees of one object: nothing or all.
void WatchObject(Backend& backend, const std::string& name, const Bytes& expected) {
  for (;;) {
    auto back = backend.Get(name);
    if (back.code() == Code::kNotFound) continue;
    ASSERT_TRUE(back.ok()) << back.status().ToString();
    ASSERT_EQ(*back, expected) << name;
    return;
  }
}

TEST_P(BackendConformance, AnObjectIsSeenWholeOrNotAtAll) {
  constexpr int kObjects = 10;
  auto name = [](int i) { return "packs/0" + std::to_string(i) + "/x"; };
  std::thread reader([&] {
    for (int i = 0; i < kObjects; ++i) {
      WatchObject(backend(), name(i), Pattern(1'000'000, static_cast<uint64_t>(i)));
    }
  });
  for (int i = 0; i < kObjects; ++i) {
    EXPECT_TRUE(backend().PutOne(name(i), Pattern(1'000'000, static_cast<uint64_t>(i))).ok());
  }
  reader.join();
}

TEST_P(BackendConformance, ManyThreadsAtOnce) {
  constexpr int kThreads = 8;
  constexpr int kRounds = 30;
  ASSERT_TRUE(backend().PutOne("shared", Pattern(200'000, 99)).ok());
  const Bytes shared = Pattern(200'000, 99);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRounds; ++i) {
        const std::string name = "packs/" + std::to_string(i) + "/" + std::to_string(t);
        const Bytes data = Pattern(1000 + static_cast<size_t>(i), static_cast<uint64_t>(t));
        EXPECT_TRUE(backend().PutOne(name, data).ok());
        auto back = backend().Get(name);
        EXPECT_TRUE(back.ok() && *back == data);
        Bytes range(1000);
        const auto offset = static_cast<uint64_t>(i) * 5000;
        EXPECT_TRUE(backend().ReadAt("shared", offset, range).ok());
        EXPECT_TRUE(std::equal(range.begin(), range.end(), shared.begin() + i * 5000));
        EXPECT_TRUE(i % 3 != 0 || backend().Remove(name).ok());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(ListAll(backend(), "packs/").size(), size_t{kThreads} * kRounds * 2 / 3);
}

TEST_P(BackendConformance, ModificationTimesFollowTheStoresClock) {
  ASSERT_TRUE(backend().PutOne("first", AsBytes("1")).ok());
  auto first = backend().ModifiedAt("first");
  ASSERT_TRUE(first.ok()) << first.status().message();
  EXPECT_GT(*first, 1'600'000'000LL * 1'000'000'000);
  EXPECT_EQ(backend().ModifiedAt("first").value(), *first);  // does not move by itself
  EXPECT_FALSE(backend().PutOne("first", AsBytes("other")).ok());
  EXPECT_EQ(backend().ModifiedAt("first").value(), *first);
  ASSERT_TRUE(backend().PutOne("second", AsBytes("2")).ok());
  EXPECT_GE(backend().ModifiedAt("second").value(), *first);
  EXPECT_EQ(backend().ModifiedAt("absent").code(), Code::kNotFound);
  EXPECT_EQ(backend().ModifiedAt("Bad name").code(), Code::kInvalid);
}

TEST_P(BackendConformance, SpaceIsPlausible) {
  auto space = backend().Space();
  ASSERT_TRUE(space.ok()) << space.status().ToString();
  EXPECT_LE(space->available, space->total);
}

TEST_P(BackendConformance, DescribesItself) { EXPECT_FALSE(backend().Describe().empty()); }

}  // namespace
}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
// Backend::Repack, which a store need not have: then nothing happens.
#include "engine/crypto/hash.h"
#include "engine/format/pack.h"
#include "tests/backends/conformance.h"

namespace bkfs {
namespace {

Bytes Filled(size_t size, uint8_t first) {
  Bytes data(size);
  for (size_t i = 0; i < size; ++i) data[i] = static_cast<uint8_t>(first + i * 7 + i / 251);
  return data;
}

std::string NameOf(ByteView data) {
  PackId id;
  id.bytes = HashBytes(data);
  return PackName(id);
}

// Two packs in a store, which may have the capability.
class RepackCase {
 public:
  explicit RepackCase(Backend& backend) : backend_(backend) {
    for (const Bytes& data : {one_, two_}) EXPECT_TRUE(backend_.PutOne(NameOf(data), data).ok());
    const RepackPiece piece{NameOf(one_), 0, 1, {}};
    supported_ = !backend_.Repack(std::span(&piece, 1)).status().Is(Code::kUnsupported);
    if (supported_) {
      EXPECT_TRUE(backend_.Remove(NameOf(ByteView(one_).first(1))).ok());
    }
  }
  bool supported() const { return supported_; }
  size_t Objects() {
    size_t count = 0;
    Status listed = backend_.List("", [&](const std::string&, uint64_t) {
      ++count;
      return Status();
    });
    EXPECT_TRUE(listed.ok()) << listed.ToString();
    return count;
  }
  // The answer to what the store is to refuse, and nothing comes of it.
  void Refuses(const std::vector<RepackPiece>& pieces, Code why, const std::string& named) {
    const size_t before = Objects();
    auto made = backend_.Repack(pieces);
    EXPECT_EQ(made.code(), supported_ ? why : Code::kUnsupported) << made.status().ToString();
    if (supported_) {
      EXPECT_NE(made.status().message().find(named), std::string::npos);
    }
    EXPECT_EQ(Objects(), before);
  }

  const Bytes one_ = Filled(100'000, 1);
  const Bytes two_ = Filled(50'000, 2);

 private:
  Backend& backend_;
  bool supported_ = false;
};

TEST_P(BackendConformance, RepackJoinsRangesAndBytesUnderTheNameOfWhatComesOut) {
  RepackCase at(backend());
  const Bytes head = Filled(16, 3);
  const Bytes tail = Filled(1000, 4);
  const std::vector<RepackPiece> pieces = {{"", 0, 0, head},
                                           {NameOf(at.two_), 10'000, 30'000, {}},
                                           {NameOf(at.one_), 99'999, 1, {}},
                                           {NameOf(at.two_), 0, 0, {}},
                                           {NameOf(at.one_), 0, 100'000, {}},
                                           {"", 0, 0, tail}};
  Bytes expected = head;
  Append(expected, ByteView(at.two_).subspan(10'000, 30'000));
  Append(expected, ByteView(at.one_).last(1));
  Append(expected, at.one_);
  Append(expected, tail);
  if (!at.supported()) return at.Refuses(pieces, Code::kUnsupported, "");
  for (int again = 0; again < 2; ++again) {
    auto made = backend().Repack(pieces);
    ASSERT_TRUE(made.ok()) << made.status().ToString();
    EXPECT_EQ(made->name, NameOf(expected));
    EXPECT_EQ(made->size, expected.size());
    auto back = backend().Get(made->name);
    ASSERT_TRUE(back.ok()) << back.status().ToString();
    EXPECT_TRUE(*back == expected);
    EXPECT_EQ(at.Objects(), 3U);
  }
  EXPECT_TRUE(*backend().Get(NameOf(at.one_)) == at.one_);
}

TEST_P(BackendConformance, RepackRefusesASourceThatDoesNotHashToItsName) {
  RepackCase at(backend());
  const std::string wrong = NameOf(AsBytes("something else"));
  ASSERT_TRUE(backend().PutOne(wrong, at.one_).ok());
  at.Refuses({{NameOf(at.two_), 0, 10, {}}, {wrong, 0, 10, {}}}, Code::kCorrupt, wrong);
}

TEST_P(BackendConformance, RepackRefusesARangeOutsideOfItsSource) {
  RepackCase at(backend());
  const std::string name = NameOf(at.two_);
  for (const auto& [offset, length] : std::vector<std::pair<uint64_t, uint64_t>>{
           {0, 50'001}, {50'000, 1}, {50'001, 0}, {UINT64_MAX, 2}, {2, UINT64_MAX}}) {
    at.Refuses({{NameOf(at.one_), 0, 10, {}}, {name, offset, length, {}}}, Code::kCorrupt, name);
  }
}

TEST_P(BackendConformance, RepackNamesASourceThatIsNotThere) {
  RepackCase at(backend());
  const std::string name = NameOf(AsBytes("absent"));
  at.Refuses({{NameOf(at.one_), 0, 10, {}}, {name, 0, 10, {}}}, Code::kNotFound, name);
}

TEST_P(BackendConformance, RepackTakesOnlyPacksAsSources) {
  RepackCase at(backend());
  ASSERT_TRUE(backend().PutOne("keys/key", at.one_).ok());
  at.Refuses({{"keys/key", 0, 10, {}}}, Code::kInvalid, "keys/key");
  at.Refuses({{"../" + NameOf(at.one_), 0, 10, {}}}, Code::kInvalid, "..");
  at.Refuses({}, Code::kInvalid, "");
}

}  // namespace
}  // namespace bkfs

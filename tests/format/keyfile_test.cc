// SPDX-License-Identifier: Apache-2.0
#include "engine/format/keyfile.h"

#include <gtest/gtest.h>

#include "engine/crypto/hash.h"
#include "tests/format/tamper.h"

namespace bkfs {
namespace {

class KeyfileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(InitCrypto().ok());
    RandomBytes(repo_.bytes);
    master_ = MasterMaterial(RandomSecret(32), repo_, 1);
    header_ = HeaderFor(master_, 1, Cipher::kAes256Gcm, false, {});
  }
  static PassphraseSource Answer(std::string_view text) {
    return [text]() -> Result<Secret> { return Secret::CopyOf(AsBytes(text)); };
  }
  // The text with another payload and a fitting checksum.
  static std::string WithPayload(const std::string& text, const Bytes& payload) {
    size_t begin = text.find('\n') + 1;
    size_t empty_line = text.find("\n\n");
    std::string lines = text.substr(begin, empty_line + 1 - begin);
    Bytes body = payload;
    Hash256 hash = HashParts({AsBytes(lines), payload});
    Append(body, ByteView(hash).first(8));
    return text.substr(0, empty_line + 2) + EncodeBase64(body) + "\n-----END BKFS KEY-----\n";
  }
  static Bytes Payload(const std::string& text) {
    size_t at = text.find("\n\n") + 2;
    Bytes body = DecodeBase64(text.substr(at, text.find("-----END") - at)).value();
    body.resize(body.size() - 8);
    return body;
  }
  RepoId repo_;
  KeyMaterial master_;
  RepoHeader header_;
};

TEST_F(KeyfileTest, MasterRoundTrip) {
  std::string text = EncodeKeyfile(master_, {});
  KeyMaterial read = DecodeKeyfile(text, nullptr).value();
  EXPECT_EQ(read.type, KeyType::kMaster);
  EXPECT_EQ(ToHex(read.master.view()), ToHex(master_.master.view()));
  EXPECT_EQ(ToHex(read.id_key.view()), ToHex(master_.id_key.view()));
  EXPECT_EQ(read.id(), master_.id());
  EXPECT_TRUE(CheckKeyfileAgainst(read, header_).ok());
}

TEST_F(KeyfileTest, EachTypeHoldsWhatItNeeds) {
  for (KeyType type : {KeyType::kReadWrite, KeyType::kReadOnly, KeyType::kWriteOnly,
                       KeyType::kLogOnly, KeyType::kMaintain}) {
    KeyMaterial made = DeriveMaterial(master_, type, "my label", 99);
    std::string text = EncodeKeyfile(made, {});
    auto decoded = DecodeKeyfile(text, nullptr);
    ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
    const KeyMaterial& read = *decoded;
    EXPECT_EQ(read.type, type);
    EXPECT_EQ(read.label, "my label");
    EXPECT_EQ(read.id(), made.id());
    EXPECT_TRUE(read.master.empty());
    EXPECT_EQ(read.id_key.empty(), type == KeyType::kLogOnly);
    EXPECT_EQ(read.index_key.empty(), type == KeyType::kLogOnly);
    EXPECT_EQ(read.chunker_key.empty(), !MayWrite(type));
    const EpochSecrets* epoch = read.FindEpoch(1);
    EXPECT_EQ(epoch != nullptr && !epoch->content.empty(), MayReadContents(type));
    EXPECT_EQ(epoch != nullptr && !epoch->tree.empty(), MayReadTrees(type));
    EXPECT_EQ(epoch != nullptr && !epoch->log.empty(), MayReadLog(type));
    EXPECT_TRUE(CheckKeyfileAgainst(read, header_).ok());
    Badge badge = DecodeBadge(read.badge, repo_, master_.master_public).value();
    EXPECT_EQ(badge.created_ns, 99);
  }
}

TEST_F(KeyfileTest, RefusesTampering) {
  KeyMaterial made = DeriveMaterial(master_, KeyType::kMaintain, "label", 1);
  std::string text = EncodeKeyfile(made, {});
  text.pop_back();  // the last line feed may be missing
  ExpectTamperProof(AsBytes(text),
                    [](ByteView bad) { return DecodeKeyfile(AsText(bad), nullptr).status(); });
}

TEST_F(KeyfileTest, Passphrase) {
  KeyMaterial made = DeriveMaterial(master_, KeyType::kReadOnly, "", 1);
  std::string text = EncodeKeyfile(made, AsBytes("correct horse"));
  EXPECT_EQ(DecodeKeyfile(text, Answer("correct horse")).value().id(), made.id());
  EXPECT_EQ(DecodeKeyfile(text, Answer("wrong")).code(), Code::kWrongKey);
  EXPECT_EQ(DecodeKeyfile(text, nullptr).code(), Code::kWrongKey);
  PassphraseSource failing = []() -> Result<Secret> { return Status(Code::kInterrupted, "no"); };
  EXPECT_EQ(DecodeKeyfile(text, failing).code(), Code::kInterrupted);
  // The header lines are bound to the payload.
  std::string moved = text;
  moved.replace(moved.find("ReadOnly"), 8, "Maintain");
  EXPECT_EQ(DecodeKeyfile(moved, Answer("correct horse")).code(), Code::kWrongKey);
  // Cost limits are checked before memory is asked for.
  std::string costly = text;
  costly.replace(costly.find(" 67108864 "), 10, " 99999999999999 ");
  EXPECT_EQ(DecodeKeyfile(costly, Answer("x")).code(), Code::kInvalid);
  costly = text;
  costly.replace(costly.find("argon2id 3 "), 11, "argon2id 17 ");
  EXPECT_EQ(DecodeKeyfile(costly, Answer("x")).code(), Code::kInvalid);
}

TEST_F(KeyfileTest, PayloadRules) {
  KeyMaterial made = DeriveMaterial(master_, KeyType::kReadWrite, "", 1);
  std::string text = EncodeKeyfile(made, {});
  Bytes payload = Payload(text);
  EXPECT_TRUE(DecodeKeyfile(WithPayload(text, payload), nullptr).ok());
  auto decode = [&](const Bytes& bad) { return DecodeKeyfile(WithPayload(text, bad), nullptr); };

  Bytes bad = payload;
  bad[0] = 2;
  EXPECT_EQ(decode(bad).code(), Code::kUnsupported);
  bad[0] = 0;
  EXPECT_EQ(decode(bad).code(), Code::kCorrupt);
  for (size_t i = 0; i < payload.size(); ++i) {
    Bytes cut(payload.begin(), payload.begin() + static_cast<ptrdiff_t>(i));
    EXPECT_EQ(decode(cut).code(), Code::kCorrupt) << i;
  }
  bad = payload;
  Append(bad, Bytes{11, 0, 0});  // unknown tag
  EXPECT_EQ(decode(bad).code(), Code::kCorrupt);
  bad = payload;
  bad.insert(bad.end(), payload.begin() + 4, payload.begin() + 4 + 3 + 32);  // a tag twice
  EXPECT_EQ(decode(bad).code(), Code::kCorrupt);
  bad = payload;
  bad.push_back(1);  // a tag of another type
  AppendInt(bad, uint16_t{32});
  bad.resize(bad.size() + 32);
  EXPECT_EQ(decode(bad).code(), Code::kCorrupt);
}

TEST_F(KeyfileTest, TextRules) {
  std::string text = EncodeKeyfile(master_, {});
  EXPECT_EQ(DecodeKeyfile("", nullptr).code(), Code::kCorrupt);
  EXPECT_EQ(DecodeKeyfile("hello", nullptr).code(), Code::kCorrupt);
  EXPECT_EQ(DecodeKeyfile(text + "more", nullptr).code(), Code::kCorrupt);
  EXPECT_EQ(DecodeKeyfile(" " + text, nullptr).code(), Code::kCorrupt);
  EXPECT_EQ(DecodeKeyfile(text.substr(0, text.find("\n\n")), nullptr).code(), Code::kCorrupt);
  for (size_t at = 0; at < text.size();) {  // lines of 76 at most
    size_t end = text.find('\n', at);
    EXPECT_LE(end - at, 76U);
    at = end + 1;
  }
}

TEST_F(KeyfileTest, AgainstAnotherRepository) {
  KeyMaterial made = DeriveMaterial(master_, KeyType::kReadOnly, "", 1);
  RepoHeader other = header_;
  other.repo.bytes[0] ^= 1;
  EXPECT_EQ(CheckKeyfileAgainst(made, other).code(), Code::kWrongKey);
  other = header_;
  other.master[0] ^= 1;
  EXPECT_EQ(CheckKeyfileAgainst(made, other).code(), Code::kWrongKey);
  other = header_;
  other.epochs[0].content[0] ^= 1;
  EXPECT_EQ(CheckKeyfileAgainst(made, other).code(), Code::kCorrupt);
  EXPECT_EQ(CheckKeyfileAgainst(master_, other).code(), Code::kCorrupt);
  other = header_;
  other.epochs[0].epoch = 5;
  EXPECT_EQ(CheckKeyfileAgainst(made, other).code(), Code::kCorrupt);
  // A badge of another key of the same repository.
  KeyMaterial swapped = DeriveMaterial(master_, KeyType::kReadOnly, "", 1);
  swapped.badge = made.badge;
  EXPECT_EQ(CheckKeyfileAgainst(swapped, header_).code(), Code::kCorrupt);
  EXPECT_EQ(DecodeKeyfile(EncodeKeyfile(swapped, {}), nullptr).code(), Code::kCorrupt);
}

TEST_F(KeyfileTest, EpochsDiffer) {
  KeyMaterial two = MasterMaterial(master_.master.Clone(), repo_, 2);
  EXPECT_EQ(two.FindEpoch(1)->tree.public_key(), master_.FindEpoch(1)->tree.public_key());
  EXPECT_NE(two.FindEpoch(2)->tree.public_key(), master_.FindEpoch(1)->tree.public_key());
  KeyMaterial derived = DeriveMaterial(two, KeyType::kReadWrite, "", 1);
  KeyMaterial read = DecodeKeyfile(EncodeKeyfile(derived, {}), nullptr).value();
  ASSERT_EQ(read.epochs.size(), 2U);
  EXPECT_EQ(read.FindEpoch(2)->log.public_key(), two.FindEpoch(2)->log.public_key());
}

}  // namespace
}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/base/bytes.h"

#include <gtest/gtest.h>

namespace bkfs {
namespace {

TEST(Hex, RoundTripAndRefuse) {
  EXPECT_EQ(ToHex(Bytes{0x00, 0x9f, 0xff}), "009fff");
  EXPECT_EQ(ParseHex("009fff").value(), (Bytes{0x00, 0x9f, 0xff}));
  EXPECT_TRUE(ParseHex("").value().empty());
  for (std::string_view bad : {"0", "0g", "FF", " 0", "0x"}) {
    EXPECT_EQ(ParseHex(bad).code(), Code::kInvalid) << bad;
  }
}

// RFC 4648 section 10.
TEST(Base64, Vectors) {
  const std::pair<std::string_view, std::string_view> vectors[] = {{"", ""},
                                                                   {"f", "Zg=="},
                                                                   {"fo", "Zm8="},
                                                                   {"foo", "Zm9v"},
                                                                   {"foob", "Zm9vYg=="},
                                                                   {"fooba", "Zm9vYmE="},
                                                                   {"foobar", "Zm9vYmFy"}};
  for (auto [plain, text] : vectors) {
    EXPECT_EQ(EncodeBase64(AsBytes(plain)), text);
    EXPECT_EQ(AsText(DecodeBase64(text).value()), plain);
  }
  EXPECT_EQ(AsText(DecodeBase64("Zm9v\r\nYm\nFy\n").value()), "foobar");
}

TEST(Base64, Refuses) {
  for (std::string_view bad : {"Z", "Zg", "Zg=", "Zg===", "=", "====", "Zh==", "Zm9=", "Zm9v=",
                               "Zg==Zg==", "Z g=", "Zm8-", "Z===", "=Zg="}) {
    EXPECT_EQ(DecodeBase64(bad).code(), Code::kInvalid) << bad;
  }
}

TEST(Base64, EveryByte) {
  Bytes all(256);
  for (size_t i = 0; i < 256; ++i) all[i] = static_cast<uint8_t>(i);
  for (size_t cut = 250; cut <= 256; ++cut) {
    ByteView part = ByteView(all).first(cut);
    EXPECT_EQ(DecodeBase64(EncodeBase64(part)).value(), Bytes(part.begin(), part.end()));
  }
}

TEST(ByteReader, TakesAndFails) {
  Bytes data;
  AppendInt(data, uint32_t{0x01020304});
  AppendInt(data, uint16_t{0xbeef});
  Append(data, AsBytes("tail"));
  EXPECT_EQ(ToHex(data), "04030201efbe7461696c");
  ByteReader reader(data);
  EXPECT_EQ(reader.Take<uint32_t>(), 0x01020304U);
  EXPECT_EQ(reader.Take<uint16_t>(), 0xbeef);
  EXPECT_EQ(AsText(reader.TakeBytes(2)), "ta");
  EXPECT_EQ(reader.remaining(), 2U);
  EXPECT_TRUE(reader.ok());
  EXPECT_EQ(reader.Take<uint32_t>(), 0U);  // two bytes are left
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.remaining(), 0U);
  EXPECT_EQ(reader.Take<uint8_t>(), 0U);
  EXPECT_TRUE(reader.TakeBytes(0).empty());
  EXPECT_FALSE(reader.ok());
}

}  // namespace
}  // namespace bkfs

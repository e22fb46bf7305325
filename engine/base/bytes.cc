// SPDX-License-Identifier: Apache-2.0
#include "engine/base/bytes.h"

#include <array>

namespace bkfs {

namespace {
constexpr char kHexDigits[] = "0123456789abcdef";
constexpr std::string_view kBase64Digits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}
}  // namespace

void Append(Bytes& out, ByteView more) { out.insert(out.end(), more.begin(), more.end()); }

std::string ToHex(ByteView bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (uint8_t b : bytes) {
    out.push_back(kHexDigits[b >> 4]);
    out.push_back(kHexDigits[b & 15]);
  }
  return out;
}

Result<Bytes> ParseHex(std::string_view hex) {
  if (hex.size() % 2 != 0) return Status(Code::kInvalid, "odd number of hexadecimal digits");
  Bytes out;
  out.reserve(hex.size() / 2);
  for (size_t i = 0; i < hex.size(); i += 2) {
    int high = HexValue(hex[i]);
    int low = HexValue(hex[i + 1]);
    if (high < 0 || low < 0) return Status(Code::kInvalid, "not a lower-case hexadecimal digit");
    out.push_back(static_cast<uint8_t>(high << 4 | low));
  }
  return out;
}

std::string EncodeBase64(ByteView bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    size_t have = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = bytes[i] << 16;
    if (have > 1) group |= bytes[i + 1] << 8;
    if (have > 2) group |= bytes[i + 2];
    out.push_back(kBase64Digits[group >> 18 & 63]);
    out.push_back(kBase64Digits[group >> 12 & 63]);
    out.push_back(have > 1 ? kBase64Digits[group >> 6 & 63] : '=');
    out.push_back(have > 2 ? kBase64Digits[group & 63] : '=');
  }
  return out;
}

Result<Bytes> DecodeBase64(std::string_view text) {
  Bytes out;
  out.reserve(text.size() / 4 * 3);
  uint32_t group = 0;
  int digits = 0;
  int padding = 0;
  for (char c : text) {
    if (c == '\n' || c == '\r') continue;
    if (c == '=') {
      ++padding;
      continue;
    }
    size_t value = kBase64Digits.find(c);
    if (value == std::string_view::npos || padding > 0) {
      return Status(Code::kInvalid, "not base64");
    }
    group = group << 6 | static_cast<uint32_t>(value);
    if (++digits == 4) {
      out.push_back(static_cast<uint8_t>(group >> 16));
      out.push_back(static_cast<uint8_t>(group >> 8));
      out.push_back(static_cast<uint8_t>(group));
      group = 0;
      digits = 0;
    }
  }
  if (digits == 0 && padding == 0) return out;
  if (digits + padding != 4 || digits < 2) return Status(Code::kInvalid, "base64 is cut short");
  group <<= 6 * padding;
  if ((group & ((1U << (8 * padding)) - 1)) != 0) {
    return Status(Code::kInvalid, "base64 has bits set in its padding");
  }
  out.push_back(static_cast<uint8_t>(group >> 16));
  if (digits == 3) out.push_back(static_cast<uint8_t>(group >> 8));
  return out;
}

}  // namespace bkfs

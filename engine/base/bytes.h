// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace bkfs {

using Bytes = std::vector<uint8_t>;
using ByteView = std::span<const uint8_t>;  // does not own; valid as long as what it points into
using MutableByteView = std::span<uint8_t>;

static_assert(std::endian::native == std::endian::little, "bkfs formats are little endian");

inline ByteView AsBytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
inline std::string_view AsText(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
// Not inline: g++ 12 sees overflows that are not there when vector::insert is inlined.
void Append(Bytes& out, ByteView more);

// Little-endian integers at any alignment.
template <typename T>
T Load(const uint8_t* p) {
  static_assert(std::is_integral_v<T>);
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}
template <typename T>
void Store(uint8_t* p, T value) {
  static_assert(std::is_integral_v<T>);
  std::memcpy(p, &value, sizeof value);
}
template <typename T>
void AppendInt(Bytes& out, T value) {
  uint8_t raw[sizeof value];
  Store(raw, value);
  Append(out, raw);
}

// Lower-case hexadecimal. ParseHex refuses odd lengths and anything but [0-9a-f].
std::string ToHex(ByteView bytes);
Result<Bytes> ParseHex(std::string_view hex);

// RFC 4648 base64 with padding; DecodeBase64 skips line breaks and refuses everything else.
std::string EncodeBase64(ByteView bytes);
Result<Bytes> DecodeBase64(std::string_view text);

// Reads fixed-size fields off the front of a buffer; every take is checked. After a failed take
// `ok()` is false and all further takes return zeros or empty views.
class ByteReader {
 public:
  explicit ByteReader(ByteView data) : data_(data) {}
  template <typename T>
  T Take() {
    if (data_.size() < sizeof(T)) {
      Fail();
      return 0;
    }
    T value = Load<T>(data_.data());
    data_ = data_.subspan(sizeof(T));
    return value;
  }
  ByteView TakeBytes(size_t count) {
    if (data_.size() < count) {
      Fail();
      return {};
    }
    ByteView out = data_.first(count);
    data_ = data_.subspan(count);
    return out;
  }
  size_t remaining() const { return data_.size(); }
  bool ok() const { return ok_; }

 private:
  void Fail() {
    ok_ = false;
    data_ = {};
  }
  ByteView data_;
  bool ok_ = true;
};

}  // namespace bkfs

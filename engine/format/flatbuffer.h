// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <flatbuffers/flatbuffers.h>

#include <string>
#include <string_view>
#include <vector>

#include "common_generated.h"
#include "engine/base/bytes.h"
#include "engine/base/ids.h"

// What the decoders and encoders of this folder share. Private to it.
namespace bkfs {

// FlatBuffers reads its scalars in place, so a buffer must lie as a buffer made by the builder
// does. Views the bytes where that holds already, and a copy of them where not.
class AlignedView {
 public:
  explicit AlignedView(ByteView bytes) : view_(bytes) {
    constexpr uintptr_t kAlignment = 8;
    if (reinterpret_cast<uintptr_t>(bytes.data()) % kAlignment == 0) return;
    copy_.assign(bytes.begin(), bytes.end());
    view_ = copy_;
  }
  AlignedView(const AlignedView&) = delete;
  AlignedView& operator=(const AlignedView&) = delete;
  ByteView view() const { return view_; }

 private:
  Bytes copy_;
  ByteView view_;
};

// The root table after complete verification, or null. `bytes_per_table`: what a table takes at
// least in a buffer whose tables are not shared. Tables that share their parts could otherwise make
// a small buffer mean endless work.
template <typename Table>
const Table* VerifiedRoot(ByteView aligned, size_t bytes_per_table) {
  constexpr flatbuffers::uoffset_t kMaxDepth = 8;
  auto max_tables = static_cast<flatbuffers::uoffset_t>(aligned.size() / bytes_per_table + 16);
  if (aligned.size() >= FLATBUFFERS_MAX_BUFFER_SIZE) return nullptr;
  flatbuffers::Verifier verifier(aligned.data(), aligned.size(), kMaxDepth, max_tables);
  if (!verifier.VerifyBuffer<Table>(nullptr)) return nullptr;
  return flatbuffers::GetRoot<Table>(aligned.data());
}

inline Bytes BuilderBytes(const flatbuffers::FlatBufferBuilder& builder) {
  return {builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize()};
}

// Fixed-size values. A struct that is absent reads as zeros.
static_assert(sizeof(fb::Id16) == 16 && sizeof(fb::Id32) == 32 && sizeof(fb::Totals) == 32);
template <typename Struct, size_t kBytes>
Struct ToStruct(const std::array<uint8_t, kBytes>& bytes) {
  static_assert(sizeof(Struct) == kBytes);
  Struct out;
  std::memcpy(static_cast<void*>(&out), bytes.data(), kBytes);
  return out;
}
template <typename Struct, size_t kBytes>
void FromStruct(const Struct* from, std::array<uint8_t, kBytes>& to) {
  static_assert(sizeof(Struct) == kBytes);
  if (from == nullptr) {
    to.fill(0);
  } else {
    std::memcpy(to.data(), from, kBytes);
  }
}

inline ByteView BytesOf(const flatbuffers::Vector<uint8_t>* vector) {
  if (vector == nullptr) return {};
  return {vector->data(), vector->size()};
}
inline std::string_view TextOf(const flatbuffers::Vector<uint8_t>* vector) {
  return AsText(BytesOf(vector));
}
inline std::string_view TextOf(const flatbuffers::String* text) {
  if (text == nullptr) return {};
  return {text->c_str(), text->size()};
}
// Absent when empty.
inline flatbuffers::Offset<flatbuffers::Vector<uint8_t>> PutBytes(
    flatbuffers::FlatBufferBuilder& builder, ByteView bytes) {
  if (bytes.empty()) return 0;
  return builder.CreateVector(bytes.data(), bytes.size());
}
inline flatbuffers::Offset<flatbuffers::String> PutText(flatbuffers::FlatBufferBuilder& builder,
                                                        std::string_view text) {
  if (text.empty()) return 0;
  return builder.CreateString(text.data(), text.size());
}

// Ids (16 or 32 bytes) as a vector of such structs.
template <typename Struct, typename IdType>
flatbuffers::Offset<flatbuffers::Vector<const Struct*>> PutIds(
    flatbuffers::FlatBufferBuilder& builder, const std::vector<IdType>& ids) {
  std::vector<Struct> raw;
  raw.reserve(ids.size());
  for (const IdType& id : ids) raw.push_back(ToStruct<Struct>(id.bytes));
  return builder.CreateVectorOfStructs(raw);
}

}  // namespace bkfs

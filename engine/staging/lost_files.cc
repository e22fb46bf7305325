// SPDX-License-Identifier: Apache-2.0
#include "engine/staging/lost_files.h"

#include "engine/base/printable.h"

namespace bkfs {

namespace {
constexpr size_t kNamed = 20;
constexpr size_t kLongestPath = 4096;  // of which the end is left out
}  // namespace

void LostFiles::Add(uint64_t files, std::string path) {
  files_ += files;
  if (named_.size() >= kNamed) return;
  if (path.size() > kLongestPath) path.resize(kLongestPath);
  named_.push_back({files, std::move(path)});
}

void LostFiles::Add(const LostFiles& more) {
  if (more.empty()) return;
  uint64_t rest = more.files_;
  for (const auto& named : more.named_) {
    Add(named.files, named.path);
    rest -= named.files;
  }
  files_ += rest;
  why_ = more.why_;
}

std::string LostFiles::Text(std::string_view indent) const {
  std::string out = std::to_string(files_) + (files_ == 1 ? " file that " : " files that ") + why_ +
                    (files_ == 1 ? " is gone; copy it again" : " are gone; copy them again");
  uint64_t rest = files_;
  for (const auto& named : named_) {
    out += "\n" + std::string(indent) + Printable(named.path);
    rest -= named.files;
  }
  if (rest > 0) out += "\n" + std::string(indent) + "and " + std::to_string(rest) + " more";
  return out;
}

Bytes LostFiles::Encode() const {
  Bytes out;
  if (empty()) return out;
  auto text = [&out](std::string_view what) {
    AppendInt(out, static_cast<uint32_t>(what.size()));
    Append(out, AsBytes(what));
  };
  AppendInt(out, files_);
  text(why_);
  AppendInt(out, static_cast<uint32_t>(named_.size()));
  for (const auto& named : named_) {
    AppendInt(out, named.files);
    text(named.path);
  }
  return out;
}

Result<LostFiles> LostFiles::Decode(ByteView bytes) {
  LostFiles lost;
  if (bytes.empty()) return lost;
  ByteReader in(bytes);
  const auto files = in.Take<uint64_t>();
  lost.why_ = AsText(in.TakeBytes(in.Take<uint32_t>()));
  const auto count = in.Take<uint32_t>();
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    const auto below = in.Take<uint64_t>();
    lost.Add(below, std::string(AsText(in.TakeBytes(in.Take<uint32_t>()))));
  }
  if (!in.ok() || in.remaining() > 0 || lost.files_ > files) {
    return Status(Code::kCorrupt, "journal: a list of lost files is unreadable");
  }
  lost.files_ = files;
  return lost;
}

}  // namespace bkfs

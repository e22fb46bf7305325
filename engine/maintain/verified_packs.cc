// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/verified_packs.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "engine/base/fd.h"
#include "engine/crypto/aead.h"

namespace bkfs {

namespace {
// began i64 ‖ length of the round's name u8 ‖ name ‖ (first half of PackId ‖ i64) ...
constexpr std::string_view kPlace = "bkfs verified packs 1";
constexpr uint64_t kLargest = uint64_t{1} << 32;
constexpr size_t kRecord = 16 + 8;
}  // namespace

VerifiedPacks::VerifiedPacks(std::string path, Secret key, Logger& log)
    : path_(std::move(path)), key_(std::move(key)), log_(&log) {}

VerifiedPacks::Short VerifiedPacks::Shorten(const PackId& id) {
  Short out;
  std::copy_n(id.bytes.begin(), Short::kSize, out.bytes.begin());
  return out;
}

VerifiedPacks VerifiedPacks::Load(const std::string& path, Secret key, Logger& log) {
  VerifiedPacks packs(path, std::move(key), log);
  Status read = packs.Read();
  if (!read.ok() && !read.Is(Code::kNotFound)) {
    log.Warning("when packs were verified is not known any more: " + read.message());
    packs.when_.clear();
    packs.round_.clear();
  }
  return packs;
}

Status VerifiedPacks::Read() {
  BKFS_ASSIGN(Bytes sealed, ReadWholeFile(path_, kLargest));
  BKFS_ASSIGN(Bytes plain, LocalSealer(key_.Clone()).Open(AsBytes(kPlace), sealed));
  return Parse(plain);
}

Status VerifiedPacks::Parse(ByteView plain) {
  Status cut(Code::kCorrupt, path_ + " is damaged");
  if (plain.size() < 9) return cut;
  round_began_ns_ = ::bkfs::Load<int64_t>(plain.data());
  const size_t name = plain[8];
  size_t at = 9 + name;
  if (plain.size() < at || (plain.size() - at) % kRecord != 0) return cut;
  round_.assign(plain.begin() + 9, plain.begin() + static_cast<ptrdiff_t>(at));
  for (; at < plain.size(); at += kRecord) {
    Short id;
    std::copy_n(plain.begin() + static_cast<ptrdiff_t>(at), Short::kSize, id.bytes.begin());
    int64_t& when = when_[id];
    when = std::max(when, ::bkfs::Load<int64_t>(plain.data() + at + Short::kSize));
  }
  return {};
}

int64_t VerifiedPacks::When(const PackId& id) const {
  auto found = when_.find(Shorten(id));
  return found == when_.end() ? 0 : found->second;
}

void VerifiedPacks::Set(const PackId& id, int64_t now_ns) { when_[Shorten(id)] = now_ns; }

int64_t VerifiedPacks::BeginRound(const std::string& name, int64_t now_ns, bool restart) {
  // A round that began in the future was begun by a clock that has been set since.
  if (restart || name.empty() || round_ != name || round_began_ns_ > now_ns) {
    round_ = name;
    round_began_ns_ = now_ns;
  }
  return round_began_ns_;
}

void VerifiedPacks::EndRound() {
  round_.clear();
  round_began_ns_ = 0;
}

Status VerifiedPacks::Save(const std::vector<PackId>* only) {
  {
    // What another process has verified meanwhile.
    VerifiedPacks other(path_, key_.Clone(), *log_);
    if (other.Read().ok()) {
      for (const auto& [id, when] : other.when_) {
        int64_t& mine = when_[id];
        mine = std::max(mine, when);
      }
    }
  }
  if (only) {
    std::unordered_map<Short, int64_t, IdHash> kept;
    for (const auto& id : *only) {
      if (const int64_t when = When(id); when > 0) kept[Shorten(id)] = when;
    }
    when_ = std::move(kept);
  }
  Bytes plain;
  AppendInt<int64_t>(plain, round_began_ns_);
  plain.push_back(static_cast<uint8_t>(round_.size()));
  Append(plain, AsBytes(round_));
  for (const auto& [id, when] : when_) {
    Append(plain, id.view());
    AppendInt<int64_t>(plain, when);
  }
  Bytes sealed;
  LocalSealer(key_.Clone()).Seal(AsBytes(kPlace), plain, sealed);
  const std::string fresh = path_ + "." + std::to_string(::getpid());
  ::unlink(fresh.c_str());
  Status written = WriteNewFile(fresh, sealed, 0600);
  if (written.ok() && ::rename(fresh.c_str(), path_.c_str()) != 0) {
    written = Status::FromErrno(errno, path_);
  }
  if (!written.ok()) ::unlink(fresh.c_str());
  return written;
}

}  // namespace bkfs

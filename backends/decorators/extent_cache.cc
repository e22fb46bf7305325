// SPDX-License-Identifier: Apache-2.0
#include "backends/decorators/extent_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>

#include "engine/crypto/hash.h"

namespace bkfs {

namespace {
// A record: magic u32, length of the name u32, offset u64, length u64, sum of these and the name,
// the name; then for each 64 KiB its sum and its bytes.
constexpr uint32_t kMagic = 0x58534b42;  // "BKSX"
constexpr size_t kSum = 8;
constexpr size_t kHead = 24 + kSum;
constexpr uint64_t kBlock = 64 << 10;
constexpr size_t kMaxName = 200;
constexpr uint64_t kMaxExtent = 64 << 20;
constexpr uint64_t kLeastSegment = 1 << 20;
constexpr uint64_t kMostSegment = 64 << 20;
constexpr uint64_t kSegments = 16;

uint64_t SumOf(ByteView bytes) {
  const auto hash = HashBytes(bytes);
  return Load<uint64_t>(hash.data());
}

uint64_t StoredSize(uint64_t length) { return length + (length + kBlock - 1) / kBlock * kSum; }

Bytes EncodeHead(const std::string& object, uint64_t offset, uint64_t length) {
  Bytes head;
  AppendInt(head, kMagic);
  AppendInt(head, static_cast<uint32_t>(object.size()));
  AppendInt(head, offset);
  AppendInt(head, length);
  Bytes summed = head;
  Append(summed, AsBytes(object));
  AppendInt(head, SumOf(summed));
  Append(head, AsBytes(object));
  return head;
}

std::optional<uint64_t> NumberOf(std::string_view name) {
  constexpr std::string_view kSuffix = ".seg";
  if (!name.ends_with(kSuffix)) return std::nullopt;
  name.remove_suffix(kSuffix.size());
  uint64_t number = 0;
  auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (name.empty() || error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return number;
}

Result<std::vector<uint64_t>> SegmentsIn(const std::string& directory) {
  DIR* dir = ::opendir(directory.c_str());
  if (dir == nullptr) return Status::FromErrno(errno, directory);
  std::vector<uint64_t> numbers;
  while (const dirent* entry = ::readdir(dir)) {  // NOLINT(concurrency-mt-unsafe): own stream
    if (auto number = NumberOf(entry->d_name)) numbers.push_back(*number);
  }
  ::closedir(dir);
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}
}  // namespace

ExtentCache::ExtentCache(std::string directory, uint64_t limit, Logger& log)
    : directory_(std::move(directory)),
      limit_(limit),
      segment_limit_(std::clamp(limit / kSegments, kLeastSegment, kMostSegment)),
      log_(log) {}

Result<std::unique_ptr<ExtentCache>> ExtentCache::Open(const std::string& directory,
                                                       uint64_t limit_bytes, Logger& log) {
  BKFS_TRY(MakeDirectories(directory, 0700));
  std::unique_ptr<ExtentCache> cache(new ExtentCache(directory, limit_bytes, log));
  const std::string lock = directory + "/lock";
  BKFS_ASSIGN(cache->lock_, OpenFile(lock, O_RDWR | O_CREAT));
  if (::flock(cache->lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    return Status(Code::kBusy, directory + " is in use by another process");
  }
  BKFS_TRY(cache->Load());
  return cache;
}

Status ExtentCache::Load() {
  BKFS_ASSIGN(const std::vector<uint64_t> numbers, SegmentsIn(directory_));
  for (const uint64_t number : numbers) {
    auto segment = std::make_shared<Segment>();
    segment->number = number;
    segment->path = directory_ + "/" + std::to_string(number) + ".seg";
    BKFS_ASSIGN(segment->fd, OpenFile(segment->path, O_RDWR));
    BKFS_TRY(LoadSegment(segment));
    MutexLock lock(mutex_);
    next_ = number + 1;
    bytes_ += segment->size;
    segments_.push_back(std::move(segment));
  }
  MutexLock lock(mutex_);
  (void)Shrink();  // the limit may be lower than it was
  return {};
}

// Up to the first record that is not whole: a kill may have cut the last one.
Status ExtentCache::LoadSegment(const SegmentPtr& segment) {
  struct stat st {};
  if (::fstat(segment->fd.get(), &st) != 0) return Status::FromErrno(errno, segment->path);
  const auto end = static_cast<uint64_t>(st.st_size);
  uint64_t at = 0;
  while (end - at >= kHead) {
    uint8_t head[kHead + kMaxName];
    const size_t have = std::min<uint64_t>(sizeof head, end - at);
    if (!PreadAll(segment->fd.get(), {head, have}, at, segment->path).ok()) break;
    const auto name_length = bkfs::Load<uint32_t>(head + 4);
    const auto offset = bkfs::Load<uint64_t>(head + 8);
    const auto length = bkfs::Load<uint64_t>(head + 16);
    if (bkfs::Load<uint32_t>(head) != kMagic || name_length > kMaxName ||
        kHead + name_length > have || length > kMaxExtent) {
      break;
    }
    const std::string object(reinterpret_cast<const char*>(head + kHead), name_length);
    const Bytes expected = EncodeHead(object, offset, length);
    if (!std::equal(expected.begin(), expected.end(), head)) break;
    const uint64_t first_block = at + kHead + name_length;
    if (StoredSize(length) > end - first_block) break;
    at = first_block + StoredSize(length);
    MutexLock lock(mutex_);
    Insert(object, offset, {segment, first_block, length, false});
  }
  segment->size = at;
  return {};
}

void ExtentCache::Insert(const std::string& object, uint64_t offset, Extent extent) {
  Extents& extents = objects_[object];
  auto next = extents.lower_bound(offset);
  // What overlaps another was written by two threads at once; the bytes are the same.
  if (next != extents.end() && next->first < offset + extent.length) return;
  if (next != extents.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second.length > offset) return;
  }
  extents.emplace(offset, std::move(extent));
}

std::vector<ExtentCache::Part> ExtentCache::Find(const std::string& object, uint64_t offset,
                                                 uint64_t length) {
  std::vector<Part> parts;
  MutexLock lock(mutex_);
  auto found = objects_.find(object);
  if (found == objects_.end()) return {};
  Extents& extents = found->second;
  if (length == 0 || offset + length < offset) return {};
  const uint64_t end = offset + length;
  while (offset < end) {
    auto at = extents.upper_bound(offset);
    if (at == extents.begin()) return {};
    --at;
    Extent& extent = at->second;
    if (at->first + extent.length <= offset) return {};
    extent.used = true;
    const uint64_t skip = offset - at->first;
    const uint64_t take = std::min(extent.length - skip, end - offset);
    parts.push_back({extent, skip, take});
    offset += take;
  }
  return parts;
}

bool ExtentCache::ReadPart(const Part& part, uint8_t* out) {
  const uint64_t end = part.skip + part.length;
  Bytes block(kBlock + kSum);
  for (uint64_t at = part.skip; at < end;) {
    const uint64_t number = at / kBlock;
    const uint64_t begin = number * kBlock;
    const uint64_t size = std::min(kBlock, part.extent.length - begin);
    block.resize(kSum + size);
    if (!PreadAll(part.extent.segment->fd.get(), block, part.extent.at + number * (kBlock + kSum),
                  part.extent.segment->path)
             .ok()) {
      return false;
    }
    const ByteView bytes = ByteView(block).subspan(kSum);
    if (SumOf(bytes) != bkfs::Load<uint64_t>(block.data())) return false;
    const uint64_t take = std::min(end, begin + size) - at;
    std::memcpy(out, bytes.data() + (at - begin), take);
    out += take;
    at += take;
  }
  return true;
}

bool ExtentCache::Read(const std::string& object, uint64_t offset, MutableByteView out) {
  const std::vector<Part> parts = Find(object, offset, out.size());
  if (parts.empty()) return false;
  uint8_t* to = out.data();
  for (const Part& part : parts) {
    if (!ReadPart(part, to)) {
      log_.Info(part.extent.segment->path + ": a cached range is damaged; it is fetched again");
      Forget(object);
      return false;
    }
    to += part.length;
  }
  return true;
}

bool ExtentCache::Has(const std::string& object, uint64_t offset, uint64_t length) {
  return !Find(object, offset, length).empty();
}

void ExtentCache::Keep(const std::string& object, uint64_t offset, ByteView bytes) {
  if (bytes.empty() || bytes.size() > kMaxExtent || object.size() > kMaxName) return;
  if (StoredSize(bytes.size()) > limit_ / 2) return;
  // Gaps between what is there already.
  std::vector<std::pair<uint64_t, uint64_t>> gaps;
  {
    MutexLock lock(mutex_);
    if (failed_) return;
    const uint64_t end = offset + bytes.size();
    uint64_t at = offset;
    if (auto found = objects_.find(object); found != objects_.end()) {
      auto next = found->second.upper_bound(offset);
      if (next != found->second.begin()) --next;
      for (; next != found->second.end() && next->first < end; ++next) {
        if (next->first + next->second.length <= at) continue;
        if (next->first > at) gaps.emplace_back(at, next->first);
        at = next->first + next->second.length;
      }
    }
    if (at < end) gaps.emplace_back(at, end);
  }
  for (const auto& [begin, end] : gaps) {
    Append(object, begin, bytes.subspan(begin - offset, end - begin));
  }
}

void ExtentCache::Append(const std::string& object, uint64_t offset, ByteView bytes) {
  MutexLock lock(mutex_);
  auto write = [&](const std::string& name, uint64_t from, ByteView data) -> Status {
    BKFS_ASSIGN(SegmentPtr segment, SegmentFor(kHead + name.size() + StoredSize(data.size())));
    uint64_t first_block = 0;
    BKFS_TRY(WriteRecord(segment, name, from, data, first_block));
    Insert(name, from, {segment, first_block, data.size(), false});
    return {};
  };
  Status written = write(object, offset, bytes);
  for (const Survivor& kept : Shrink()) {
    if (written.ok()) written = write(kept.object, kept.offset, kept.bytes);
  }
  if (!written.ok()) Fail(written);
}

Result<ExtentCache::SegmentPtr> ExtentCache::SegmentFor(uint64_t bytes) {
  if (!segments_.empty() && segments_.back()->number + 1 == next_ &&
      segments_.back()->size + bytes <= segment_limit_) {
    return segments_.back();
  }
  auto segment = std::make_shared<Segment>();
  segment->number = next_++;
  segment->path = directory_ + "/" + std::to_string(segment->number) + ".seg";
  BKFS_ASSIGN(segment->fd, OpenFile(segment->path, O_RDWR | O_CREAT | O_TRUNC));
  segments_.push_back(segment);
  return segment;
}

Status ExtentCache::WriteRecord(const SegmentPtr& segment, const std::string& object,
                                uint64_t offset, ByteView bytes, uint64_t& first_block) {
  Bytes record = EncodeHead(object, offset, bytes.size());
  first_block = segment->size + record.size();
  record.reserve(record.size() + StoredSize(bytes.size()));
  for (ByteView rest = bytes; !rest.empty();) {
    const ByteView block = rest.first(std::min<uint64_t>(rest.size(), kBlock));
    AppendInt(record, SumOf(block));
    bkfs::Append(record, block);
    rest = rest.subspan(block.size());
  }
  BKFS_TRY(PwriteAll(segment->fd.get(), record, segment->size, segment->path));
  segment->size += record.size();
  bytes_ += record.size();
  return {};
}

std::vector<ExtentCache::Survivor> ExtentCache::Shrink() {
  std::vector<Survivor> survivors;
  uint64_t kept = 0;
  while (bytes_ > limit_ && segments_.size() > 1) {
    const SegmentPtr oldest = segments_.front();
    segments_.pop_front();
    bytes_ -= oldest->size;
    ::unlink(oldest->path.c_str());
    for (auto object = objects_.begin(); object != objects_.end();) {
      Extents& extents = object->second;
      for (auto at = extents.begin(); at != extents.end();) {
        if (at->second.segment != oldest) {
          ++at;
          continue;
        }
        Survivor survivor{object->first, at->first, {}};
        // At most half a file, so that this comes to an end.
        if (at->second.used && kept + at->second.length <= segment_limit_ / 2) {
          survivor.bytes.resize(at->second.length);
          if (ReadPart({at->second, 0, at->second.length}, survivor.bytes.data())) {
            kept += survivor.bytes.size();
            survivors.push_back(std::move(survivor));
          }
        }
        at = extents.erase(at);
      }
      object = extents.empty() ? objects_.erase(object) : std::next(object);
    }
  }
  return survivors;
}

void ExtentCache::Fail(const Status& status) {
  if (failed_) return;
  failed_ = true;
  log_.Warning("what is read from the store is not kept on disk any more: " + status.message());
}

void ExtentCache::Forget(const std::string& object) {
  MutexLock lock(mutex_);
  objects_.erase(object);
}

uint64_t ExtentCache::bytes() {
  MutexLock lock(mutex_);
  return bytes_;
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/pack_rescue.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "engine/base/fd.h"
#include "engine/crypto/hash.h"
#include "engine/maintain/pack_builder.h"

namespace bkfs {

namespace {
constexpr uint64_t kReadSize = 1 << 20;
}  // namespace

Result<RescuedBlobs> RescuePack(Repository& repo, const PackFooter& footer,
                                const FrameVerdict& verdict, ByteView object) {
  PackBuilder::Options whole;
  whole.pack_target = kMaxPack;
  PackBuilder out(repo, footer.kind, whole);
  RescuedBlobs rescued;
  size_t at = 0;  // blobs are listed by frame
  for (uint32_t i = 0; i < footer.frames.size(); ++i) {
    std::vector<PackBlob> good;
    for (; at < footer.blobs.size() && footer.blobs[at].frame == i; ++at) {
      if (verdict.blobs[at]) good.push_back(footer.blobs[at]);
    }
    if (good.empty()) continue;
    const PackFrame& frame = footer.frames[i];
    rescued.blobs += good.size();
    BKFS_TRY(out.MoveFrame(object.subspan(frame.offset, frame.length), frame.plain,
                           footer.slots[frame.slot], good));
  }
  BKFS_TRY(out.Finish());
  rescued.packs = std::move(out.stored());
  return rescued;
}

SourceSearch::SourceSearch(Repository& repo, BlobWriter& writer, std::set<BlobId>& wanted,
                           std::function<Status(const std::string&)> tick)
    : writer_(writer),
      wanted_(wanted),
      tick_(std::move(tick)),
      id_key_(repo.key().id_key.Clone()),
      chunker_(repo.key().chunker_key.view(), repo.header().chunks) {}

// As ContentsStorer cuts: pieces that are sure, whatever follows.
Status SourceSearch::Cut(Bytes& buffer, bool last) {
  size_t used = 0;
  while (used < buffer.size() && (last || buffer.size() - used >= chunker_.sizes().max)) {
    const ByteView rest = ByteView(buffer).subspan(used);
    const ByteView piece = rest.first(chunker_.Cut(rest));
    BlobId id;
    id.bytes = KeyedHash(id_key_.view(), piece);
    if (wanted_.contains(id)) {
      BKFS_TRY(writer_.Add(PackKind::kContents, piece).status());
      wanted_.erase(id);
    }
    used += piece.size();
  }
  buffer.erase(buffer.begin(), buffer.begin() + static_cast<ptrdiff_t>(used));
  return {};
}

Status SourceSearch::ReadRange(int fd, uint64_t from, uint64_t to) {
  Bytes buffer;
  for (uint64_t at = from; at < to;) {
    const size_t before = buffer.size();
    const auto want = static_cast<size_t>(std::min(kReadSize, to - at));
    buffer.resize(before + want);
    const Status read = PreadAll(fd, MutableByteView(buffer).subspan(before), at, "");
    if (!read.ok()) return {};  // it is being changed, or its disk is damaged as well
    at += want;
    BKFS_TRY(Cut(buffer, at == to));
  }
  return {};
}

Status SourceSearch::ReadFile(const std::string& path) {
  auto fd = OpenFile(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  if (!fd.ok()) return {};
  const off_t end = ::lseek(fd->get(), 0, SEEK_END);
  for (off_t at = 0; at < end && !wanted_.empty();) {
    const off_t data = ::lseek(fd->get(), at, SEEK_DATA);
    if (data < 0 || data >= end) return {};
    off_t hole = ::lseek(fd->get(), data, SEEK_HOLE);
    if (hole <= data || hole > end) hole = end;
    BKFS_TRY(ReadRange(fd->get(), static_cast<uint64_t>(data), static_cast<uint64_t>(hole)));
    at = hole;
  }
  return {};
}

Status SourceSearch::Search(const std::string& directory) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::recursive_directory_iterator it(directory, fs::directory_options::skip_permission_denied,
                                      error);
  if (error) return Status::FromErrno(error.value(), directory);
  for (; it != fs::recursive_directory_iterator() && !wanted_.empty(); it.increment(error)) {
    if (error) return Status::FromErrno(error.value(), directory);
    std::error_code gone;
    if (it->symlink_status(gone).type() != fs::file_type::regular || gone) continue;
    BKFS_TRY(tick_(it->path().string()));
    BKFS_TRY(ReadFile(it->path().string()));
  }
  return error ? Status::FromErrno(error.value(), directory) : OkStatus();
}

}  // namespace bkfs

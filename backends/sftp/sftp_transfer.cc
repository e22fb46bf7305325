// SPDX-License-Identifier: Apache-2.0
// How an SftpClient moves the contents of files: many requests under way at once.
#include <algorithm>

#include "backends/sftp/sftp_client.h"
#include "engine/base/transfer.h"

namespace bkfs {

namespace {
constexpr size_t kPiece = 32 << 10;   // every server takes this much in one request
constexpr size_t kBatch = 256 << 10;  // what a watch is told of at a time
// Reads under way: what a line of 100 MB/s carries in 40 ms.
constexpr size_t kReadsAhead = 128;

// Goes through a list of parts as if they were one.
class PartReader {
 public:
  explicit PartReader(std::span<const ByteView> parts) : parts_(parts) {}
  // At most that many bytes and at least one, which must be there.
  ByteView Take(size_t most) {
    while (used_ == parts_[0].size()) {
      parts_ = parts_.subspan(1);
      used_ = 0;
    }
    const ByteView out = parts_[0].subspan(used_, std::min(most, parts_[0].size() - used_));
    used_ += out.size();
    return out;
  }

 private:
  std::span<const ByteView> parts_;
  size_t used_ = 0;  // of the first one
};
}  // namespace

// Forgets what a transfer that ends early has asked for.
class SftpClient::Forgetter {
 public:
  Forgetter(SftpClient& client, const std::set<uint32_t>& ids) : client_(client), ids_(ids) {}
  ~Forgetter() {
    for (uint32_t id : ids_) client_.Forget(id);
  }
  Forgetter(const Forgetter&) = delete;
  Forgetter& operator=(const Forgetter&) = delete;

 private:
  SftpClient& client_;
  const std::set<uint32_t>& ids_;
};

Status SftpClient::TakeWriteAnswers(std::set<uint32_t>& sent, bool all, const std::string& what) {
  while (!sent.empty()) {
    BKFS_ASSIGN(auto next, Next(all));
    if (!next) return {};
    if (sent.erase(next->first) == 0) {
      arrived_.insert(std::move(*next));
      continue;
    }
    BKFS_TRY(StatusOf(next->second, what));
  }
  return {};
}

Status SftpClient::SendBatch(uint64_t payload, std::set<uint32_t>& sent, const std::string& what) {
  Status status = TellSending(payload);
  if (!status.ok()) {
    session_->Break();
    return status;
  }
  BKFS_TRY(Flush());
  // A disk that is full is noticed here, and not only after everything has been sent.
  return TakeWriteAnswers(sent, false, what);
}

Status SftpClient::WriteAll(const SftpHandle& handle, std::span<const ByteView> parts,
                            const std::string& what, const std::function<void()>& then) {
  std::set<uint32_t> sent;
  const Forgetter forgetter(*this, sent);
  PartReader source(parts);
  uint64_t left = 0;
  for (ByteView part : parts) left += part.size();
  uint64_t offset = 0;
  size_t batch = 0;
  if (left == 0 && then) then();
  while (left > 0) {
    const auto length = static_cast<size_t>(std::min<uint64_t>(left, kPiece));
    WireWriter writer = Begin(SftpType::kWrite).Text(handle).U64(offset);
    writer.U32(static_cast<uint32_t>(length));
    for (size_t missing = length; missing > 0;) {
      const ByteView some = source.Take(missing);
      Append(out_, some);
      missing -= some.size();
    }
    offset += length;
    sent.insert(Finish());
    left -= length;
    batch += length;
    if (left == 0 && then) then();
    if (batch >= kBatch || left == 0) {
      BKFS_TRY(SendBatch(batch, sent, what));
      batch = 0;
    }
  }
  return TakeWriteAnswers(sent, true, what);
}

uint32_t SftpClient::QueueRead(const SftpHandle& handle, uint64_t offset, size_t length) {
  Begin(SftpType::kRead).Text(handle).U64(offset).U32(static_cast<uint32_t>(length));
  return Finish();
}

// How much of the piece has come: less than all, where the server likes to.
Result<size_t> SftpClient::TakeData(const Answer& answer, const Piece& piece, uint64_t offset,
                                    MutableByteView out, const std::string& what) {
  WireReader reader(answer.body);
  if (answer.type != SftpType::kData) {
    if (answer.type == SftpType::kStatus && reader.U32() == static_cast<uint32_t>(SftpCode::kEof)) {
      return Status(Code::kCorrupt, what + " ends too early: it has been cut");
    }
    BKFS_TRY(StatusOf(answer, what));
    return Garbled(what);
  }
  const ByteView data = reader.Blob();
  if (!reader.ok() || data.empty() || data.size() > piece.length) return Garbled(what);
  Status told = TellReceived(data.size());
  if (!told.ok()) {
    session_->Break();
    return told;
  }
  std::copy(data.begin(), data.end(),
            out.begin() + static_cast<std::ptrdiff_t>(piece.offset - offset));
  return data.size();
}

Status SftpClient::ReadAll(const SftpHandle& handle, uint64_t offset, MutableByteView out,
                           const std::string& what) {
  std::map<uint32_t, Piece> asked;
  std::set<uint32_t> ids;
  const Forgetter forgetter(*this, ids);
  auto ask = [&](uint64_t from, size_t length) {
    const uint32_t id = QueueRead(handle, from, length);
    asked[id] = {from, length};
    ids.insert(id);
  };
  uint64_t next = offset;
  const uint64_t end = offset + out.size();
  while (next < end || !asked.empty()) {
    for (; next < end && asked.size() < kReadsAhead;
         next += std::min<uint64_t>(kPiece, end - next)) {
      ask(next, static_cast<size_t>(std::min<uint64_t>(kPiece, end - next)));
    }
    BKFS_TRY(Flush());
    BKFS_ASSIGN(auto answer, Next(true));
    auto found = asked.extract(answer->first);
    if (!found) {
      arrived_.insert(std::move(*answer));
      continue;
    }
    ids.erase(answer->first);
    const Piece piece = found.mapped();
    BKFS_ASSIGN(size_t got, TakeData(answer->second, piece, offset, out, what));
    if (got < piece.length) ask(piece.offset + got, piece.length - got);
  }
  return {};
}

}  // namespace bkfs

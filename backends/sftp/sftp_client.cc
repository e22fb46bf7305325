// SPDX-License-Identifier: Apache-2.0
#include "backends/sftp/sftp_client.h"

#include <algorithm>

#include "engine/base/printable.h"
#include "engine/base/transfer.h"

namespace bkfs {

namespace {
// No honest answer is longer: reads ask for 32 KiB, folders come by the hundred names.
constexpr uint32_t kMaxPacket = 1 << 20;
constexpr size_t kReadBuffer = 64 << 10;
constexpr uint64_t kMostTold = 256 << 10;
constexpr uint32_t kAttributesHaveMode = 0x04;
constexpr uint64_t kReadOnlyFlag = 0x1;

Code CodeOf(SftpCode code) {
  switch (code) {
    case SftpCode::kNoSuchFile:
    case SftpCode::kNoSuchPath: return Code::kNotFound;
    case SftpCode::kPermissionDenied: return Code::kDenied;
    case SftpCode::kNoConnection:
    case SftpCode::kConnectionLost: return Code::kUnavailable;
    case SftpCode::kUnsupported: return Code::kUnsupported;
    case SftpCode::kFileExists: return Code::kExists;
    case SftpCode::kWriteProtected: return Code::kReadOnly;
    case SftpCode::kNoSpace: return Code::kNoSpace;
    case SftpCode::kQuotaExceeded: return Code::kQuota;
    default: return Code::kIo;
  }
}
}  // namespace

Result<std::unique_ptr<SftpClient>> SftpClient::Start(std::unique_ptr<SshSession> session) {
  std::unique_ptr<SftpClient> client(new SftpClient(std::move(session)));
  BKFS_TRY(client->Greet());
  return client;
}

Status SftpClient::Greet() {
  WireWriter(out_).U32(5).U8(static_cast<uint8_t>(SftpType::kInit)).U32(3);
  BKFS_TRY(Flush());
  BKFS_ASSIGN(auto packet, NextPacket(true));
  if (!packet) return Garbled("the greeting");
  WireReader reader(packet->body);
  const uint32_t version = reader.U32();
  if (packet->type != SftpType::kVersion || !reader.ok()) return Garbled("the greeting");
  if (version != 3) {
    session_->Break();
    return {Code::kUnsupported, peer() + ": the server speaks version " + std::to_string(version) +
                                    " of SFTP; bkfs needs 3"};
  }
  while (reader.ok() && reader.remaining() > 0) {
    std::string name(reader.Text());
    extensions_[std::move(name)] = std::string(reader.Text());
  }
  return {};
}

bool SftpClient::Offers(const std::string& extension, const std::string& version) const {
  auto found = extensions_.find(extension);
  return found != extensions_.end() && found->second == version;
}

WireWriter SftpClient::Begin(SftpType type) {
  begun_at_ = out_.size();
  // The length is written by Finish.
  return WireWriter(out_).U32(0).U8(static_cast<uint8_t>(type)).U32(++last_id_);
}

WireWriter SftpClient::BeginExtended(const std::string& extension) {
  return Begin(SftpType::kExtended).Text(extension);
}

uint32_t SftpClient::Finish() {
  const auto length = static_cast<uint32_t>(out_.size() - begun_at_ - 4);
  Store(out_.data() + begun_at_, __builtin_bswap32(length));
  asked_.insert(last_id_);
  return last_id_;
}

uint32_t SftpClient::WithText(SftpType type, const std::string& text) {
  Begin(type).Text(text);
  return Finish();
}

uint32_t SftpClient::Open(const std::string& path, uint32_t flags) {
  WireWriter writer = Begin(SftpType::kOpen).Text(path).U32(flags);
  if ((flags & kSftpCreate) != 0) {
    writer.U32(kAttributesHaveMode).U32(0600);
  } else {
    writer.U32(0);
  }
  return Finish();
}

uint32_t SftpClient::Close(const SftpHandle& handle) { return WithText(SftpType::kClose, handle); }
uint32_t SftpClient::Stat(const std::string& path) { return WithText(SftpType::kStat, path); }
uint32_t SftpClient::Lstat(const std::string& path) { return WithText(SftpType::kLstat, path); }
uint32_t SftpClient::Fstat(const SftpHandle& handle) { return WithText(SftpType::kFstat, handle); }
uint32_t SftpClient::Remove(const std::string& path) { return WithText(SftpType::kRemove, path); }
uint32_t SftpClient::OpenFolder(const std::string& path) {
  return WithText(SftpType::kOpenDir, path);
}
uint32_t SftpClient::ReadFolder(const SftpHandle& handle) {
  return WithText(SftpType::kReadDir, handle);
}

uint32_t SftpClient::Mkdir(const std::string& path) {
  Begin(SftpType::kMkdir).Text(path).U32(kAttributesHaveMode).U32(0700);
  return Finish();
}

uint32_t SftpClient::Rename(const std::string& from, const std::string& to) {
  Begin(SftpType::kRename).Text(from).Text(to);
  return Finish();
}

uint32_t SftpClient::Link(const std::string& from, const std::string& to) {
  BeginExtended("hardlink@openssh.com").Text(from).Text(to);
  return Finish();
}

uint32_t SftpClient::Sync(const SftpHandle& handle) {
  BeginExtended("fsync@openssh.com").Text(handle);
  return Finish();
}

uint32_t SftpClient::Space(const std::string& path) {
  BeginExtended("statvfs@openssh.com").Text(path);
  return Finish();
}

Status SftpClient::Flush() {
  if (out_.empty()) return {};
  Status status = session_->Write(out_);
  out_.clear();
  return status;
}

Status SftpClient::Garbled(const std::string& what) {
  session_->Break();
  return {Code::kUnavailable, peer() + ": the server's answer to " + what +
                                  " is not SFTP (does a login script there print something?)"};
}

std::optional<SftpClient::Answer> SftpClient::TakePacket() {
  const ByteView there = ByteView(in_).subspan(in_begin_);
  if (there.size() < 5) return std::nullopt;
  const uint32_t length = __builtin_bswap32(Load<uint32_t>(there.data()));
  if (there.size() - 4 < length) return std::nullopt;
  Answer answer{static_cast<SftpType>(there[4]),
                Bytes(there.begin() + 5, there.begin() + 4 + length)};
  in_begin_ += 4 + length;
  return answer;
}

Result<std::optional<SftpClient::Answer>> SftpClient::NextPacket(bool wait) {
  for (;;) {
    if (in_.size() - in_begin_ >= 4) {
      const uint32_t length = __builtin_bswap32(Load<uint32_t>(in_.data() + in_begin_));
      if (length == 0 || length > kMaxPacket) return Garbled("a request");
      if (auto packet = TakePacket()) return packet;
    }
    in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(in_begin_));
    in_begin_ = 0;
    const size_t before = in_.size();
    in_.resize(before + kReadBuffer);
    Result<size_t> got = session_->Read(MutableByteView(in_).subspan(before), wait);
    in_.resize(before + (got.ok() ? *got : 0));
    if (!got.ok()) return got.status();
    if (*got == 0) return std::optional<Answer>();
  }
}

Result<std::optional<std::pair<uint32_t, SftpClient::Answer>>> SftpClient::Next(bool wait) {
  using Numbered = std::optional<std::pair<uint32_t, Answer>>;
  for (;;) {
    BKFS_ASSIGN(auto packet, NextPacket(wait));
    if (!packet) return Numbered();
    WireReader reader(packet->body);
    const uint32_t id = reader.U32();
    if (!reader.ok() || asked_.erase(id) == 0) return Garbled("a request");
    if (forgotten_.erase(id) > 0) continue;
    packet->body.erase(packet->body.begin(), packet->body.begin() + 4);
    return Numbered(std::in_place, id, std::move(*packet));
  }
}

Result<SftpClient::Answer> SftpClient::Await(uint32_t id) {
  BKFS_TRY(Flush());
  for (;;) {
    if (auto found = arrived_.extract(id)) return std::move(found.mapped());
    BKFS_ASSIGN(auto next, Next(true));
    arrived_.insert(std::move(*next));
  }
}

void SftpClient::Forget(uint32_t id) {
  if (arrived_.erase(id) == 0 && asked_.contains(id)) forgotten_.insert(id);
}

Status SftpClient::StatusOf(const Answer& answer, const std::string& what) {
  WireReader reader(answer.body);
  const auto code = static_cast<SftpCode>(reader.U32());
  if (answer.type != SftpType::kStatus || !reader.ok()) return Garbled(what);
  if (code == SftpCode::kOk) return {};
  const std::string text = Printable(reader.Text());
  return {CodeOf(code), what + ": " + (text.empty() ? "the server reports a failure" : text)};
}

Status SftpClient::AwaitStatus(uint32_t id, const std::string& what) {
  BKFS_ASSIGN(Answer answer, Await(id));
  return StatusOf(answer, what);
}

Result<SftpHandle> SftpClient::AwaitHandle(uint32_t id, const std::string& what) {
  BKFS_ASSIGN(Answer answer, Await(id));
  if (answer.type == SftpType::kHandle) {
    WireReader reader(answer.body);
    SftpHandle handle(reader.Text());
    if (reader.ok()) return handle;
  }
  BKFS_TRY(StatusOf(answer, what));
  return Garbled(what);
}

Result<SftpAttributes> SftpClient::AwaitAttributes(uint32_t id, const std::string& what) {
  BKFS_ASSIGN(Answer answer, Await(id));
  if (answer.type == SftpType::kAttributes) {
    WireReader reader(answer.body);
    SftpAttributes attributes = TakeAttributes(reader);
    if (reader.ok()) return attributes;
  }
  BKFS_TRY(StatusOf(answer, what));
  return Garbled(what);
}

Result<std::optional<std::vector<SftpEntry>>> SftpClient::AwaitEntries(uint32_t id,
                                                                       const std::string& what) {
  using Entries = std::optional<std::vector<SftpEntry>>;
  BKFS_ASSIGN(Answer answer, Await(id));
  WireReader reader(answer.body);
  if (answer.type == SftpType::kName) {
    Status told = TellReceived(std::min<uint64_t>(answer.body.size(), kMostTold));
    if (!told.ok()) {
      session_->Break();
      return told;
    }
    std::vector<SftpEntry> entries;
    for (uint32_t left = reader.U32(); left > 0 && reader.ok(); --left) {
      std::string name(reader.Text());
      reader.Blob();  // a line as of "ls -l"
      SftpAttributes attributes = TakeAttributes(reader);
      if (name != "." && name != "..") entries.push_back({std::move(name), attributes});
    }
    if (!reader.ok()) return Garbled(what);
    return Entries(std::move(entries));
  }
  if (answer.type == SftpType::kStatus && reader.U32() == static_cast<uint32_t>(SftpCode::kEof)) {
    return Entries();
  }
  BKFS_TRY(StatusOf(answer, what));
  return Garbled(what);
}

Result<SftpClient::Room> SftpClient::AwaitSpace(uint32_t id, const std::string& what) {
  BKFS_ASSIGN(Answer answer, Await(id));
  if (answer.type != SftpType::kExtendedReply) {
    BKFS_TRY(StatusOf(answer, what));
    return Garbled(what);
  }
  WireReader reader(answer.body);
  reader.U64();  // the size of a block, which the counts are not in
  const uint64_t unit = reader.U64();
  const uint64_t total = reader.U64();
  reader.U64();  // free, counting what is kept for the system
  const uint64_t available = reader.U64();
  const uint64_t files = reader.U64();
  reader.U64();
  const uint64_t files_left = reader.U64();
  reader.U64();
  const uint64_t flags = reader.U64();
  if (!reader.ok()) return Garbled(what);
  return Room{.space = {.total = total * unit, .available = available * unit},
              .no_files_left = files != 0 && files_left == 0,
              .read_only = (flags & kReadOnlyFlag) != 0};
}

}  // namespace bkfs

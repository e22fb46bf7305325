// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "engine/base/log.h"
#include "fs/fuse/lowlevel.h"
#include "fs/types.h"

namespace bkfs {

// The answer to one request: exactly one, whatever happens. Answering twice is a broken invariant;
// a Reply that goes without an answer says EIO. Move-only; may answer on any thread.
class Reply {
 public:
  Reply(fuse_req_t request, Logger& log) : request_(request), log_(&log) {}
  Reply(Reply&& other) noexcept
      : request_(std::exchange(other.request_, nullptr)), log_(other.log_) {}
  Reply& operator=(Reply&&) = delete;
  ~Reply();

  // False: not answered, and the caller still has to.
  bool Failed(const Status& status);
  // Done, or the failure.
  void Outcome(const Status& status);
  void Errno(int error);
  void None();  // for forget
  // What a successful lookup found.
  void Entry(const Node& node);
  // No such name, and for how long that holds.
  void Absent(uint32_t keep_ms);
  void Attributes(const Node& node);
  void Link(const std::string& target);
  void Open(const Opened& opened, fuse_file_info* info);
  void OpenDirectory(const Opened& opened, fuse_file_info* info);
  void Create(const Node& node, const Opened& opened, fuse_file_info* info);
  void Data(const void* data, size_t size);
  void Written(size_t size);
  void Space(const SpaceInfo& space);
  // An xattr's value or list for a caller with room for `size` bytes; 0 asks how much there is.
  void Xattr(std::string_view value, size_t size);
  void Offset(uint64_t offset);
  void Ioctl(const void* answer, size_t size);

  bool answered() const { return request_ == nullptr; }
  // A signal has come to who asked, who still waits for the answer.
  bool interrupted() const { return request_ != nullptr && fuse_req_interrupted(request_) != 0; }

 private:
  fuse_req_t Take();
  fuse_req_t request_;
  Logger* log_;
};

fuse_entry_param EntryParam(const Node& node);
struct stat StatOf(const Attr& attr);
mode_t TypeOf(EntryKind kind);  // S_IF bits

}  // namespace bkfs

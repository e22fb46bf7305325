// SPDX-License-Identifier: Apache-2.0
#include "engine/base/status.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace bkfs {

std::string_view CodeName(Code code) {
  switch (code) {
    case Code::kOk: return "ok";
    case Code::kNotFound: return "not_found";
    case Code::kExists: return "exists";
    case Code::kNotDirectory: return "not_directory";
    case Code::kIsDirectory: return "is_directory";
    case Code::kNotEmpty: return "not_empty";
    case Code::kInvalid: return "invalid";
    case Code::kDenied: return "denied";
    case Code::kNotPermitted: return "not_permitted";
    case Code::kReadOnly: return "read_only";
    case Code::kNoSpace: return "no_space";
    case Code::kQuota: return "quota";
    case Code::kTooLarge: return "too_large";
    case Code::kNameTooLong: return "name_too_long";
    case Code::kNoData: return "no_data";
    case Code::kRange: return "range";
    case Code::kCorrupt: return "corrupt";
    case Code::kIo: return "io";
    case Code::kUnavailable: return "unavailable";
    case Code::kBusy: return "busy";
    case Code::kUnsupported: return "unsupported";
    case Code::kStale: return "stale";
    case Code::kInterrupted: return "interrupted";
    case Code::kCrossDevice: return "cross_device";
    case Code::kWrongKey: return "wrong_key";
    case Code::kNoRepository: return "no_repository";
  }
  return "unknown";
}

namespace {
Code CodeFromErrno(int e) {
  switch (e) {
    case ENOENT: return Code::kNotFound;
    case EEXIST: return Code::kExists;
    case ENOTDIR: return Code::kNotDirectory;
    case EISDIR: return Code::kIsDirectory;
    case ENOTEMPTY: return Code::kNotEmpty;
    case EINVAL: return Code::kInvalid;
    case EACCES: return Code::kDenied;
    case EPERM: return Code::kNotPermitted;
    case EROFS: return Code::kReadOnly;
    case ENOSPC: return Code::kNoSpace;
    case EDQUOT: return Code::kQuota;
    case EFBIG: return Code::kTooLarge;
    case ENAMETOOLONG: return Code::kNameTooLong;
    case ENODATA: return Code::kNoData;
    case ERANGE: return Code::kRange;
    case EBUSY:
    case ETXTBSY: return Code::kBusy;
    case EOPNOTSUPP:
    case ENOSYS: return Code::kUnsupported;
    case ESTALE: return Code::kStale;
    case EINTR: return Code::kInterrupted;
    case EXDEV: return Code::kCrossDevice;
    case EAGAIN:
    case ETIMEDOUT:
    case ECONNRESET:
    case ECONNREFUSED: return Code::kUnavailable;
    default: return Code::kIo;
  }
}
}  // namespace

Status Status::FromErrno(int system_errno, std::string_view what) {
  char buffer[128];
  std::string message(what);
  message += ": ";
  message += ::strerror_r(system_errno, buffer, sizeof buffer);
  return {CodeFromErrno(system_errno), std::move(message), system_errno};
}

const std::string& Status::message() const {
  static const std::string kEmpty;
  return rep_ ? rep_->message : kEmpty;
}

Status Status::WithContext(std::string_view context) const {
  if (ok()) return {};
  return {code(), std::string(context) + ": " + message(), system_errno()};
}

std::string Status::ToString() const { return ok() ? "ok" : message(); }

void Panic(std::string_view what, const char* file, int line) {
  std::fprintf(stderr, "bkfs: %.*s (%s:%d)\n", static_cast<int>(what.size()), what.data(), file,
               line);
  std::abort();
}

}  // namespace bkfs

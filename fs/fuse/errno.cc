// SPDX-License-Identifier: Apache-2.0
#include "fs/fuse/errno.h"

#include <cerrno>

namespace bkfs {

int ErrnoOf(Code code) {
  switch (code) {
    case Code::kOk: return 0;
    case Code::kNotFound:
    case Code::kNoRepository: return ENOENT;
    case Code::kExists: return EEXIST;
    case Code::kNotDirectory: return ENOTDIR;
    case Code::kIsDirectory: return EISDIR;
    case Code::kNotEmpty: return ENOTEMPTY;
    case Code::kInvalid: return EINVAL;
    case Code::kDenied:
    case Code::kWrongKey: return EACCES;
    case Code::kNotPermitted: return EPERM;
    case Code::kReadOnly: return EROFS;
    case Code::kNoSpace: return ENOSPC;
    case Code::kQuota: return EDQUOT;
    case Code::kTooLarge: return EFBIG;
    case Code::kNameTooLong: return ENAMETOOLONG;
    case Code::kNoData: return ENODATA;
    case Code::kRange: return ERANGE;
    case Code::kCorrupt:
    case Code::kIo:
    case Code::kUnavailable: return EIO;
    case Code::kBusy: return EBUSY;
    case Code::kUnsupported: return EOPNOTSUPP;
    case Code::kStale: return ESTALE;
    case Code::kInterrupted: return EINTR;
    case Code::kCrossDevice: return EXDEV;
  }
  return EIO;
}

}  // namespace bkfs

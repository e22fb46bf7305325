// SPDX-License-Identifier: Apache-2.0
#include "tools/exit_codes.h"

namespace bkfs {

ExitCode ExitCodeOf(const Status& status) {
  switch (status.code()) {
    case Code::kOk: return kExitDone;
    case Code::kInvalid: return kExitUsage;
    case Code::kNoRepository: return kExitNoRepository;
    case Code::kWrongKey: return kExitWrongKey;
    case Code::kCorrupt: return kExitDamaged;
    case Code::kInterrupted: return kExitInterrupted;
    case Code::kNotFound:
    case Code::kExists:
    case Code::kNotDirectory:
    case Code::kIsDirectory:
    case Code::kNotEmpty:
    case Code::kDenied:
    case Code::kNotPermitted:
    case Code::kReadOnly:
    case Code::kNoSpace:
    case Code::kQuota:
    case Code::kTooLarge:
    case Code::kNameTooLong:
    case Code::kNoData:
    case Code::kRange:
    case Code::kIo:
    case Code::kUnavailable:
    case Code::kBusy:
    case Code::kUnsupported:
    case Code::kStale:
    case Code::kCrossDevice: return kExitFailed;
  }
  return kExitFailed;
}

}  // namespace bkfs

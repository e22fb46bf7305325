// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "backends/s3/s3_url.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/crypto/secret.h"
#include "engine/repo/backend.h"

namespace bkfs {

struct S3Options {
  S3Location location;  // of ParseS3Url
  std::string access_key_id;
  Secret secret_key;
  Secret session_token;  // empty: none
  // "": nothing is locked. "COMPLIANCE" or "GOVERNANCE": packs, snapshots, keys and bkfs.repo are
  // put with an Object Lock of retain_days.
  std::string lock_mode;
  uint32_t retain_days = 0;
  std::string storage_class;  // of packs, "STANDARD_IA"; empty: the bucket's own
  std::string ca_file;        // certificates of the authorities to trust; empty: the system's
  size_t connections = 8;
  // Packs, index segments and snapshots above this go in parts of this size, unless they are
  // locked; at least 5 MiB, which S3 asks for.
  uint64_t multipart_size = uint64_t{64} << 20;
  const Clock* clock = nullptr;  // signs requests; outlives the store; nullptr: the system's
};

// A store in a bucket of an S3 host. Objects are keys below the location's prefix; besides them
// there are "_probe-<random>" and "_claims/..." for moments (which no object can be named).
//
// Put is put-if-absent by "If-None-Match: *" where a probe has shown, before the first put, that
// the host keeps to it; elsewhere as doc/s3-without-conditional-writes.md says. Bodies are sent
// with their SHA-256 in the signature. With a lock mode, the lock of the first object put is read
// back: kUnsupported where the host accepts locks and does not keep them. Where a bucket keeps
// versions (a bucket with Object Lock always does), Remove removes versions.
//
// The bucket must be there, `create` or not, and is asked for at once: kNoRepository without,
// kDenied for a wrong key, secret, token or clock, kInvalid for another region or bad options,
// kUnavailable when the host does not answer.
Result<std::unique_ptr<Backend>> OpenS3Backend(S3Options options, Logger& log, bool create);

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backends/s3/s3_objects.h"
#include "engine/base/log.h"
#include "engine/base/mutex.h"

namespace bkfs {

// What a host was seen to do with a bucket, never what it says.
struct S3HostTraits {
  // A PUT with "If-None-Match: *" does not replace.
  bool conditional_put = false;
  // A request signed more than 15 minutes ago is refused. Only known where it matters: without
  // conditional puts.
  bool refuses_old_requests = false;
};

// Finds the traits out, once, with throw-away objects "_probe-<random>" that it removes again.
// Thread-safe; while one caller probes the others wait, watched.
class S3HostProbe {
 public:
  S3HostProbe(S3Objects& objects, Logger& log) : objects_(objects), log_(log) {}

  // A failure is not remembered: the next caller tries again.
  Result<S3HostTraits> Traits() BKFS_EXCLUDES(mutex_);

 private:
  Result<S3HostTraits> Probe();
  Result<bool> ProbeConditional(const std::string& name);
  Result<bool> ProbeOldRequest(const std::string& name);
  void RemoveProbe(const std::string& name);
  bool WaitForAnswer(Result<S3HostTraits>& out) BKFS_EXCLUDES(mutex_);

  S3Objects& objects_;
  Logger& log_;
  Mutex mutex_;  // a leaf: not held while probing
  CondVar changed_;
  bool probing_ BKFS_GUARDED_BY(mutex_) = false;
  bool known_ BKFS_GUARDED_BY(mutex_) = false;
  S3HostTraits traits_ BKFS_GUARDED_BY(mutex_);
};

// Whether a host answers to "If-None-Match: *" that it has no such thing.
bool RefusesConditions(const HttpResponse& response);

// 32 random hexadecimal digits.
std::string RandomWord();
// A random time up to `limit_ns`, watched.
Status SleepAtRandom(int64_t limit_ns);
// A growing limit for the n-th (from 0) of such sleeps.
int64_t BackOffNs(int n);

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "backends/s3/s3_host_traits.h"
#include "backends/s3/s3_objects.h"
#include "engine/crypto/hash.h"

namespace bkfs {

// Put-if-absent on a host without conditional writes, for names that several may put with
// different contents. doc/s3-without-conditional-writes.md has the argument; in short: who wants
// to put a name first puts a claim "_claims/<name>/<random>", then lists the claims of that name,
// and puts the object only when its claim is the only one and the object is not there yet. Of two,
// whoever lists later sees the other's claim. It assumes that lists and reads see what was put
// before they began.
//
// A claim whose owner died counts for nothing once it is 20 minutes old by the store's own clock:
// the object's PUT is signed at most 2 minutes after its claim was put, by that clock too, and the
// store refuses requests signed more than 15 minutes ago.
//
// Thread-safe. Within one object of this class, one thread at a time works on a name.
class S3Claims {
 public:
  S3Claims(S3Objects& objects, Logger& log) : objects_(objects), log_(log) {}

  // kExists if the object is there; kUnavailable when others' claims stand in the way for a
  // minute, or when it is not known whether the object was put: then the claim is left to keep
  // others away until the PUT cannot arrive any more, while putting the same content again from
  // here goes ahead. kBusy for a dead claim on a host that executes requests of any age.
  Status PutIfAbsent(const S3PutRequest& put, const S3HostTraits& traits) BKFS_EXCLUDES(mutex_);

 private:
  // Our own claims that may still be listed: without a content, no PUT of the object went out
  // under it; with one, a PUT of that content may still arrive.
  using OwnClaims = std::map<std::string, std::optional<Hash256>>;
  enum class Standing { kAlone, kContended };

  Status Attempt(const S3PutRequest& put, const S3HostTraits& traits, const Hash256& content,
                 bool& contended);
  Status PutClaimed(const S3PutRequest& put, const std::string& claim, int64_t claimed_ns,
                    const Hash256& content, bool& contended);
  Result<Standing> LookAround(const std::string& name, const std::string& claim,
                              const S3HostTraits& traits, const Hash256& content,
                              int64_t& claimed_ns);
  Status DropDead(const S3ListedObject& claim, const S3HostTraits& traits);
  void DropOwn(const std::string& name, const std::optional<Hash256>& content);

  Status Begin(const std::string& name) BKFS_EXCLUDES(mutex_);
  void End(const std::string& name) BKFS_EXCLUDES(mutex_);
  OwnClaims OwnOf(const std::string& name) BKFS_EXCLUDES(mutex_);
  void Remember(const std::string& name, const std::string& claim,
                const std::optional<Hash256>& content) BKFS_EXCLUDES(mutex_);
  void Forget(const std::string& name, const std::string& claim) BKFS_EXCLUDES(mutex_);

  S3Objects& objects_;
  Logger& log_;
  Mutex mutex_;  // a leaf
  CondVar ended_;
  std::set<std::string> busy_ BKFS_GUARDED_BY(mutex_);
  std::map<std::string, OwnClaims> own_ BKFS_GUARDED_BY(mutex_);
};

}  // namespace bkfs

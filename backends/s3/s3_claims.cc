// SPDX-License-Identifier: Apache-2.0
#include "backends/s3/s3_claims.h"

#include <algorithm>

#include "engine/base/clock.h"
#include "engine/base/transfer.h"

namespace bkfs {

namespace {
constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kLookNs = 100'000'000;
constexpr int64_t kClaimLife = 20 * 60 * kSecond;
constexpr int64_t kSignWithin = 2 * 60 * kSecond;  // of the claim's own time
constexpr int64_t kPutWithin = 60 * kSecond;
constexpr int64_t kPatience = 60 * kSecond;

// Object names have no '_', so two names never share a folder of claims.
std::string FolderOf(const std::string& name) {
  std::string escaped = name;
  std::replace(escaped.begin(), escaped.end(), '/', '_');
  return std::string(kClaimsPrefix) + escaped + "/";
}

// Whether the store may have executed a PUT, or may do it yet.
bool IsUncertain(const Result<HttpResponse>& response) {
  if (!response.ok() || response->status >= 500 || response->status == 408) return true;
  return response->resent && response->status >= 300;  // of two, this answers the second
}
}  // namespace

Status S3Claims::Begin(const std::string& name) {
  for (;;) {
    {
      MutexLock lock(mutex_);
      if (busy_.contains(name)) ended_.WaitFor(mutex_, kLookNs);
      if (busy_.insert(name).second) return {};
    }
    BKFS_TRY(TellWaiting());
  }
}

void S3Claims::End(const std::string& name) {
  MutexLock lock(mutex_);
  busy_.erase(name);
  ended_.NotifyAll();
}

S3Claims::OwnClaims S3Claims::OwnOf(const std::string& name) {
  MutexLock lock(mutex_);
  const auto found = own_.find(name);
  return found == own_.end() ? OwnClaims{} : found->second;
}

void S3Claims::Remember(const std::string& name, const std::string& claim,
                        const std::optional<Hash256>& content) {
  MutexLock lock(mutex_);
  own_[name][claim] = content;
}

void S3Claims::Forget(const std::string& name, const std::string& claim) {
  MutexLock lock(mutex_);
  const auto found = own_.find(name);
  if (found == own_.end()) return;
  found->second.erase(claim);
  if (found->second.empty()) own_.erase(found);
}

Status S3Claims::PutIfAbsent(const S3PutRequest& put, const S3HostTraits& traits) {
  BKFS_TRY(Begin(put.name));
  const Hash256 content = Sha256(put.parts);
  const int64_t until = SystemClock().MonotonicNanos() + kPatience;
  Status status;
  for (int n = 0;; ++n) {
    bool contended = false;
    status = Attempt(put, traits, content, contended);
    if (!contended) break;
    if (SystemClock().MonotonicNanos() >= until) break;
    status = SleepAtRandom(BackOffNs(n));
    if (!status.ok()) break;
  }
  End(put.name);
  return status;
}

// With `contended` set, the status says who stands in the way.
Status S3Claims::Attempt(const S3PutRequest& put, const S3HostTraits& traits,
                         const Hash256& content, bool& contended) {
  Status there(Code::kExists, objects_.session().Describe(put.name) + " is there already");
  const Code before = objects_.Head(put.name).code();
  if (before == Code::kOk) return there;
  const std::string claim = FolderOf(put.name) + RandomWord();
  Remember(put.name, claim, std::nullopt);
  const S3PutRequest claiming{.name = claim};
  BKFS_ASSIGN(const HttpResponse claimed, objects_.Put(claiming));
  if (claimed.status >= 300) return objects_.PutFailure(claiming, claimed);
  int64_t claimed_ns = 0;
  Result<Standing> standing = LookAround(put.name, claim, traits, content, claimed_ns);
  if (!standing.ok() || *standing == Standing::kContended) {
    DropOwn(put.name, std::nullopt);
    BKFS_TRY(standing.status());
    contended = true;
    return {Code::kUnavailable, objects_.session().Describe(put.name) +
                                    ": somebody else is about to put it; a claim that is left "
                                    "over counts for nothing after 20 minutes"};
  }
  // Once more: who had a claim before ours may have put the object and gone.
  Result<S3Head> now = objects_.Head(put.name);
  if (now.code() != Code::kNotFound) {
    DropOwn(put.name, std::nullopt);
    return now.ok() ? there : now.status();
  }
  return PutClaimed(put, claim, claimed_ns, content, contended);
}

Result<S3Claims::Standing> S3Claims::LookAround(const std::string& name, const std::string& claim,
                                                const S3HostTraits& traits, const Hash256& content,
                                                int64_t& claimed_ns) {
  const OwnClaims own = OwnOf(name);
  Standing standing = Standing::kAlone;
  bool seen = false;
  BKFS_TRY(objects_.List(FolderOf(name), [&](const S3ListedObject& other) -> Status {
    if (other.key == claim) {
      seen = true;
      claimed_ns = other.modified_ns;
      return {};
    }
    const auto ours = own.find(other.key);
    if (ours != own.end() && ours->second.value_or(content) == content) return {};
    const bool dead =
        other.modified_ns != 0 && objects_.session().ServerNow() - other.modified_ns > kClaimLife;
    if (dead) return DropDead(other, traits);
    standing = Standing::kContended;
    return {};
  }));
  // A list that does not show what was put before it may miss others' claims as well.
  if (!seen || claimed_ns == 0) return Standing::kContended;
  return standing;
}

Status S3Claims::DropDead(const S3ListedObject& claim, const S3HostTraits& traits) {
  const std::string what = objects_.session().Describe(claim.key);
  if (!traits.refuses_old_requests) {
    return {Code::kBusy, what +
                             " is a claim that somebody left, and this host executes requests of "
                             "any age: remove it when no bkfs that could have made it runs"};
  }
  log_.Info(what + ": removing a claim that somebody left");
  Status removed = objects_.Remove(claim.key);
  return removed.Is(Code::kNotFound) ? Status() : removed;
}

// The claims of ours that protect nothing: those without a PUT, and those of PUTs of `content`,
// which is there now. What cannot be removed now lapses.
void S3Claims::DropOwn(const std::string& name, const std::optional<Hash256>& content) {
  for (const auto& [claim, sent] : OwnOf(name)) {
    if (sent && sent != content) continue;
    Status removed = objects_.Remove(claim);
    if (removed.ok() || removed.Is(Code::kNotFound)) {
      Forget(name, claim);
    } else {
      log_.Warning("a claim stays behind for 20 minutes: " + removed.message());
    }
  }
}

Status S3Claims::PutClaimed(const S3PutRequest& put, const std::string& claim, int64_t claimed_ns,
                            const Hash256& content, bool& contended) {
  S3PutRequest signed_put = put;
  signed_put.sign_at_ns = objects_.session().ServerNow();
  if (*signed_put.sign_at_ns - claimed_ns > kSignWithin) {
    DropOwn(put.name, std::nullopt);
    contended = true;  // not by anybody, but to be begun anew all the same
    return {Code::kUnavailable,
            objects_.session().Describe(put.name) + ": putting its claim took too long"};
  }
  Remember(put.name, claim, content);
  WaitLimit limit(kPutWithin, nullptr);
  const WatchScope scope(limit);
  Result<HttpResponse> response = objects_.Put(signed_put);
  if (IsUncertain(response)) {
    log_.Warning(objects_.session().Describe(put.name) +
                 ": the store did not say whether it was put; its claim stays");
    return response.ok() ? objects_.PutFailure(put, *response) : response.status();
  }
  if (response->status >= 300) {
    Remember(put.name, claim, std::nullopt);
    DropOwn(put.name, std::nullopt);
    return objects_.PutFailure(put, *response);
  }
  DropOwn(put.name, content);
  return {};
}

}  // namespace bkfs

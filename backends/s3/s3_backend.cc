// SPDX-License-Identifier: Apache-2.0
#include "backends/s3/s3_backend.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "backends/s3/s3_claims.h"
#include "backends/s3/s3_host_traits.h"
#include "backends/s3/s3_multipart.h"
#include "backends/s3/s3_names.h"
#include "backends/s3/s3_objects.h"

namespace bkfs {

namespace {
constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kDay = 24 * 3600 * kSecond;
constexpr int64_t kRounding = 60 * kSecond;  // between a lock asked for and one read back
constexpr uint32_t kMaxRetainDays = 36'500;
constexpr uint64_t kMaxObject = uint64_t{1} << 30;  // as much as Get takes
constexpr uint64_t kLeastPart = uint64_t{5} << 20;
constexpr size_t kRemovedAtOnce = 1000;
constexpr int kConflicts = 10;

// "2026-11-21T14:29:06Z"
std::string WholeSeconds(int64_t ns) { return FormatRfc3339(ns / kSecond * kSecond); }

uint64_t TotalSize(std::span<const ByteView> parts) {
  uint64_t size = 0;
  for (ByteView part : parts) size += part.size();
  return size;
}

bool IsConcatenation(ByteView whole, std::span<const ByteView> parts) {
  if (whole.size() != TotalSize(parts)) return false;
  for (ByteView part : parts) {
    if (!std::equal(part.begin(), part.end(), whole.begin())) return false;
    whole = whole.subspan(part.size());
  }
  return true;
}

class S3Backend final : public Backend {
 public:
  S3Backend(S3Options options, std::unique_ptr<HttpClient> http, Logger& log)
      : options_(std::move(options)),
        session_(options_.location, Credentials(options_), std::move(http),
                 options_.clock != nullptr ? *options_.clock : own_clock_),
        objects_(session_),
        probe_(objects_, log),
        claims_(objects_, log) {}

  // Whether the bucket is there and may be listed.
  Status Ask();

  Result<Bytes> Get(const std::string& name) override;
  Status ReadAt(const std::string& name, uint64_t offset, MutableByteView out) override;
  bool IsNear(const std::string&, uint64_t, uint64_t) override { return false; }
  Status Put(const std::string& name, std::span<const ByteView> parts) override;
  Result<uint64_t> Size(const std::string& name) override;
  Result<int64_t> ModifiedAt(const std::string& name) override;
  Status List(const std::string& prefix,
              const std::function<Status(const std::string& name, uint64_t size)>& visit) override;
  Status Remove(const std::string& name) override;
  Status RemoveAll(const std::vector<std::string>& names) override;
  Result<StoreSpace> Space() override { return StoreSpace{}; }
  Result<int64_t> LockedUntil(const std::string& name) override;
  Status Lock(const std::string& name, int64_t until_ns) override;
  int64_t LockSpan() const override {
    return options_.lock_mode.empty() ? 0 : options_.retain_days * kDay;
  }
  std::string Describe() const override { return session_.Describe(""); }

 private:
  static S3Credentials Credentials(S3Options& options) {
    return {.key = {options.access_key_id, std::move(options.secret_key), options.location.region},
            .session_token = std::move(options.session_token)};
  }
  bool IsLocked(const std::string& name) const {
    return !options_.lock_mode.empty() && IsLockedWhenPut(name);
  }
  // Ceph 16 forgets a lock that was asked for at the beginning of an upload in parts.
  bool GoesInParts(const S3PutRequest& put) const {
    return HasOneWriter(put.name) && !IsLocked(put.name) &&
           TotalSize(put.parts) > options_.multipart_size;
  }
  Status PutObject(const S3PutRequest& put);
  Result<bool> PutLease(S3PutRequest put);
  Status PutConditional(S3PutRequest put);
  Status PutSettled(const S3PutRequest& put, const S3HostTraits& traits);
  Status AfterConflict(const S3PutRequest& put, const HttpResponse& response);
  Status CheckLockKept(const std::string& name, int64_t until_ns);
  Status ExplainLock(const std::string& name, Status failed) const;

  S3Options options_;
  const SystemClock own_clock_;
  S3Session session_;
  S3Objects objects_;
  S3HostProbe probe_;
  S3Claims claims_;
  std::atomic<bool> lock_verified_{false};
};

Status S3Backend::Ask() {
  const S3Call call{
      .method = "GET",
      .query = {{"list-type", "2"}, {"max-keys", "1"}, {"prefix", session_.location().KeyOf("")}}};
  return session_.DoWell(call).status();
}

Result<Bytes> S3Backend::Get(const std::string& name) {
  BKFS_TRY(CheckObjectName(name));
  return objects_.Get(name);
}

Status S3Backend::ReadAt(const std::string& name, uint64_t offset, MutableByteView out) {
  BKFS_TRY(CheckObjectName(name));
  return objects_.ReadAt(name, offset, out);
}

Result<uint64_t> S3Backend::Size(const std::string& name) {
  BKFS_TRY(CheckObjectName(name));
  BKFS_ASSIGN(const S3Head head, objects_.Head(name));
  return head.size;
}

Result<int64_t> S3Backend::ModifiedAt(const std::string& name) {
  BKFS_TRY(CheckObjectName(name));
  BKFS_ASSIGN(const S3Head head, objects_.Head(name));
  if (head.modified_ns != 0) return head.modified_ns;
  return Status(Code::kIo, session_.Describe(name) + ": the store does not say when it was put");
}

Status S3Backend::List(const std::string& prefix,
                       const std::function<Status(const std::string& name, uint64_t size)>& visit) {
  BKFS_TRY(CheckObjectPrefix(prefix));
  return objects_.List(prefix, [&](const S3ListedObject& object) -> Status {
    // Claims, probes and whatever people put there are no objects.
    if (!CheckObjectName(object.key).ok()) return {};
    return visit(object.key, object.size);
  });
}

Status S3Backend::Remove(const std::string& name) {
  BKFS_TRY(CheckObjectName(name));
  return objects_.Remove(name);
}

Status S3Backend::RemoveAll(const std::vector<std::string>& names) {
  Status first;
  std::vector<std::string> good;
  for (const std::string& name : names) {
    Status checked = CheckObjectName(name);
    if (checked.ok()) good.push_back(name);
    if (first.ok()) first = checked;
  }
  for (size_t i = 0; i < good.size(); i += kRemovedAtOnce) {
    const auto batch = std::span(good).subspan(i, std::min(kRemovedAtOnce, good.size() - i));
    Status removed = objects_.RemoveMany(batch);
    if (first.ok()) first = removed;
  }
  return first;
}

Status S3Backend::Put(const std::string& name, std::span<const ByteView> parts) {
  BKFS_TRY(CheckObjectName(name));
  if (TotalSize(parts) > kMaxObject) {
    return {Code::kTooLarge, session_.Describe(name) + " is larger than any object may be"};
  }
  S3PutRequest put{.name = name, .parts = parts};
  if (!options_.storage_class.empty() && name.starts_with("packs/")) {
    put.headers.push_back({"x-amz-storage-class", options_.storage_class});
  }
  if (!IsLocked(name)) return PutObject(put);
  // By the store's clock: ours may be off.
  const int64_t until = session_.ServerNow() + LockSpan();
  put.headers.push_back({"x-amz-object-lock-mode", options_.lock_mode});
  put.headers.push_back({"x-amz-object-lock-retain-until-date", WholeSeconds(until)});
  // AWS wants it beside a lock.
  put.headers.push_back({"content-md5", EncodeBase64(Md5(parts))});
  BKFS_TRY(ExplainLock(name, PutObject(put)));
  if (lock_verified_.load()) return {};
  return CheckLockKept(name, until);
}

// Under a lease's name there is nothing that this could replace, whatever the host makes of the
// condition: so who only reads, and puts nothing else, need not have the host probed. False: the
// host does not take the request so.
Result<bool> S3Backend::PutLease(S3PutRequest put) {
  put.headers.push_back({"if-none-match", "*"});
  BKFS_ASSIGN(const HttpResponse response, objects_.Put(put));
  if (response.status < 300) return true;
  if (response.status == 412) {
    BKFS_TRY(AfterConflict(put, response));
    return true;
  }
  if (response.status == 409 || RefusesConditions(response)) return false;
  return objects_.PutFailure(put, response);
}

Status S3Backend::PutObject(const S3PutRequest& put) {
  if (IsOfLease(put.name)) {
    BKFS_ASSIGN(const bool done, PutLease(put));
    if (done) return {};
  }
  BKFS_ASSIGN(const S3HostTraits traits, probe_.Traits());
  if (GoesInParts(put)) return PutSettled(put, traits);
  if (traits.conditional_put) return PutConditional(put);
  return HasOneWriter(put.name) ? PutSettled(put, traits) : claims_.PutIfAbsent(put, traits);
}

// For names that have one content: who comes between the look and the put puts the same.
Status S3Backend::PutSettled(const S3PutRequest& put, const S3HostTraits& traits) {
  const Result<S3Head> head = objects_.Head(put.name);
  if (head.ok()) return {Code::kExists, session_.Describe(put.name) + " is there already"};
  if (head.code() != Code::kNotFound) return head.status();
  if (GoesInParts(put)) {
    return PutMultipart(objects_, put, options_.multipart_size, traits.conditional_put);
  }
  BKFS_ASSIGN(const HttpResponse response, objects_.Put(put));
  return response.status < 300 ? Status() : objects_.PutFailure(put, response);
}

Status S3Backend::PutConditional(S3PutRequest put) {
  put.headers.push_back({"if-none-match", "*"});
  for (int n = 0;; ++n) {
    BKFS_ASSIGN(const HttpResponse response, objects_.Put(put));
    if (response.status < 300) return {};
    if (response.status == 412) return AfterConflict(put, response);
    // Somebody else's put of this name has not ended yet.
    if (response.status != 409 || n == kConflicts) return objects_.PutFailure(put, response);
    BKFS_TRY(SleepAtRandom(BackOffNs(n)));
  }
}

// A request that a breaking connection made curl send twice may have found its own first try.
Status S3Backend::AfterConflict(const S3PutRequest& put, const HttpResponse& response) {
  Status exists = objects_.PutFailure(put, response);
  if (!response.resent) return exists;
  BKFS_ASSIGN(const Bytes there, objects_.Get(put.name));
  return IsConcatenation(there, put.parts) ? Status() : exists;
}

// Hosts say no more than "invalid request" where a bucket cannot lock.
Status S3Backend::ExplainLock(const std::string& name, Status failed) const {
  if (!failed.Is(Code::kIo) || failed.message().find("InvalidRequest") == std::string::npos) {
    return failed;
  }
  return {Code::kUnsupported, session_.Describe(name) + ": bucket " + session_.location().bucket +
                                  " does not take Object Locks: make it with Object Lock, or "
                                  "leave LockMode out"};
}

Status S3Backend::CheckLockKept(const std::string& name, int64_t until_ns) {
  BKFS_ASSIGN(const S3Head head, objects_.Head(name));
  BKFS_ASSIGN(const std::optional<int64_t> kept, objects_.ReadRetention(name, head.version));
  if (kept.value_or(0) >= until_ns - kRounding) {
    lock_verified_.store(true);
    return {};
  }
  Status removed = objects_.Remove(name);
  return {Code::kUnsupported,
          session_.Describe(name) +
              ": this host accepts locks and does not keep them; leave LockMode out" +
              (removed.ok() ? "" : " (and it could not be removed: " + removed.message() + ")")};
}

Result<int64_t> S3Backend::LockedUntil(const std::string& name) {
  BKFS_TRY(CheckObjectName(name));
  BKFS_ASSIGN(const S3Head head, objects_.Head(name));
  // Locks are on versions: without those there is none to ask for.
  if (head.locked_until_ns != 0 || head.version.empty()) return head.locked_until_ns;
  BKFS_ASSIGN(const std::optional<int64_t> until, objects_.ReadRetention(name, head.version));
  return until.value_or(0);
}

Status S3Backend::Lock(const std::string& name, int64_t until_ns) {
  BKFS_TRY(CheckObjectName(name));
  if (options_.lock_mode.empty()) {
    return {Code::kUnsupported, Describe() + ": no LockMode is set, nothing is locked"};
  }
  BKFS_ASSIGN(const S3Head head, objects_.Head(name));
  BKFS_ASSIGN(const std::optional<int64_t> now, objects_.ReadRetention(name, head.version));
  if (!now || head.version.empty()) {
    return {Code::kUnsupported, session_.Describe(name) + ": this host or bucket knows no locks"};
  }
  if (*now >= until_ns) return {};
  // Up to a whole second: never shorter than asked for.
  const std::string text = "<Retention><Mode>" + options_.lock_mode + "</Mode><RetainUntilDate>" +
                           WholeSeconds(until_ns + kSecond - 1) + "</RetainUntilDate></Retention>";
  const ByteView body = AsBytes(text);
  S3Call call{.method = "PUT",
              .name = name,
              .query = {{"retention", ""}},
              .headers = {{"content-md5", EncodeBase64(Md5(body))}},
              .body = std::span(&body, 1)};
  call.query.push_back({"versionId", head.version});
  BKFS_TRY(ExplainLock(name, session_.DoWell(call).status()));
  BKFS_ASSIGN(const std::optional<int64_t> kept, objects_.ReadRetention(name, head.version));
  if (kept.value_or(0) >= until_ns) return {};
  return {Code::kUnsupported,
          session_.Describe(name) + ": this host accepts locks and does not keep them"};
}

Status CheckOptions(const S3Options& options) {
  if (options.access_key_id.empty()) return {Code::kInvalid, "S3: there is no AccessKeyID"};
  if (options.secret_key.empty()) return {Code::kInvalid, "S3: there is no SecretKey"};
  const bool locks = !options.lock_mode.empty();
  if (locks && options.lock_mode != "COMPLIANCE" && options.lock_mode != "GOVERNANCE") {
    return {Code::kInvalid, "LockMode is COMPLIANCE or GOVERNANCE, not " + options.lock_mode};
  }
  if (locks && (options.retain_days == 0 || options.retain_days > kMaxRetainDays)) {
    return {Code::kInvalid, "LockMode needs RetainDays, between 1 and 36500"};
  }
  if (options.multipart_size < kLeastPart) {
    return {Code::kInvalid, "S3: parts of uploads are 5 MiB at least"};
  }
  return {};
}
}  // namespace

Result<std::unique_ptr<Backend>> OpenS3Backend(S3Options options, Logger& log, bool /*create*/) {
  BKFS_TRY(CheckOptions(options));
  BKFS_ASSIGN(std::unique_ptr<HttpClient> http,
              HttpClient::Open({options.ca_file, options.connections}));
  auto backend = std::make_unique<S3Backend>(std::move(options), std::move(http), log);
  BKFS_TRY(backend->Ask());
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace bkfs

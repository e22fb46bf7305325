// SPDX-License-Identifier: Apache-2.0
#include "backends/s3/s3_host_traits.h"

#include <algorithm>
#include <array>

#include "engine/base/transfer.h"

namespace bkfs {

namespace {
constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kLookNs = 100'000'000;
constexpr int kConflicts = 10;
constexpr int64_t kOldRequest = 16 * 60 * kSecond;  // S3 refuses after 15 minutes
constexpr int64_t kFirstBackOff = 50'000'000;
constexpr int64_t kLastBackOff = 5 * kSecond;
}  // namespace

bool RefusesConditions(const HttpResponse& response) {
  if (response.status == 501) return true;
  if (response.status != 400) return false;
  // Hosts that know the header's name and cannot do it. Other 400s are about the request.
  const std::string why = DecodeS3Error(response.body).code;
  return why == "NotImplemented" || why == "InvalidArgument" || why == "InvalidRequest";
}

std::string RandomWord() {
  std::array<uint8_t, 16> raw{};
  RandomBytes(raw);
  return ToHex(raw);
}

Status SleepAtRandom(int64_t limit_ns) {
  std::array<uint8_t, 8> raw{};
  RandomBytes(raw);
  return SleepWatched(
      static_cast<int64_t>(Load<uint64_t>(raw.data()) % static_cast<uint64_t>(limit_ns)));
}

int64_t BackOffNs(int n) { return std::min(kFirstBackOff << std::min(n, 10), kLastBackOff); }

// True when `out` holds an answer; false when the caller is to probe.
bool S3HostProbe::WaitForAnswer(Result<S3HostTraits>& out) {
  for (;;) {
    {
      MutexLock lock(mutex_);
      if (!known_ && probing_) changed_.WaitFor(mutex_, kLookNs);
      if (known_) {
        out = traits_;
        return true;
      }
      if (!probing_) {
        probing_ = true;
        return false;
      }
    }
    if (Status told = TellWaiting(); !told.ok()) {
      out = told;
      return true;
    }
  }
}

Result<S3HostTraits> S3HostProbe::Traits() {
  Result<S3HostTraits> traits = S3HostTraits{};
  if (WaitForAnswer(traits)) return traits;
  traits = Probe();
  MutexLock lock(mutex_);
  probing_ = false;
  if (traits.ok()) {
    known_ = true;
    traits_ = *traits;
  }
  changed_.NotifyAll();
  return traits;
}

Result<S3HostTraits> S3HostProbe::Probe() {
  const std::string name = std::string(kProbePrefix) + RandomWord();
  S3HostTraits traits;
  Result<bool> conditional = ProbeConditional(name);
  if (conditional.ok()) traits.conditional_put = *conditional;
  Result<bool> refuses = false;
  if (conditional.ok() && !*conditional) {
    refuses = ProbeOldRequest(name);
    if (refuses.ok()) traits.refuses_old_requests = *refuses;
  }
  RemoveProbe(name);
  BKFS_TRY(conditional.status());
  BKFS_TRY(refuses.status());
  if (!traits.conditional_put) {
    log_.Info(objects_.session().Describe("") +
              ": no conditional writes here; contended names are claimed first");
  }
  return traits;
}

Result<bool> S3HostProbe::ProbeConditional(const std::string& name) {
  constexpr std::string_view kFirst = "bkfs asks whether this is kept";
  constexpr std::string_view kSecondTry = "bkfs asks whether this replaces";
  const ByteView texts[] = {AsBytes(kFirst), AsBytes(kSecondTry)};
  for (int i = 0; i < 2; ++i) {
    const S3PutRequest put{
        .name = name, .parts = std::span(&texts[i], 1), .headers = {{"if-none-match", "*"}}};
    int status = 409;
    for (int n = 0; n < kConflicts && status == 409; ++n) {
      if (n > 0) BKFS_TRY(SleepAtRandom(BackOffNs(n)));
      BKFS_ASSIGN(const HttpResponse response, objects_.Put(put));
      status = response.status;
      if (RefusesConditions(response)) return false;
      if (status >= 300 && status != 409 && (i == 0 || status != 412)) {
        return objects_.PutFailure(put, response);
      }
    }
    if (status == 409) return Status(Code::kUnavailable, "the store does not finish a probe");
    if (i == 1 && status != 412) return false;
  }
  BKFS_ASSIGN(const Bytes kept, objects_.Get(name));
  return AsText(kept) == kFirst;
}

// Whether a PUT that was on its way for too long can still arrive.
Result<bool> S3HostProbe::ProbeOldRequest(const std::string& name) {
  const ByteView text = AsBytes("bkfs asks whether an old request is executed");
  const S3PutRequest put{.name = name,
                         .parts = std::span(&text, 1),
                         .sign_at_ns = objects_.session().ServerNow() - kOldRequest};
  BKFS_ASSIGN(const HttpResponse response, objects_.Put(put));
  if (response.status < 300) return false;
  if (response.status == 403 || response.status == 400) return true;
  return objects_.PutFailure(put, response);
}

// A key that may not remove leaves it: a few bytes, which no list shows.
void S3HostProbe::RemoveProbe(const std::string& name) {
  Status removed = objects_.Remove(name);
  if (removed.ok() || removed.Is(Code::kNotFound)) return;
  log_.Warning("a probe stays behind: " + removed.message());
}

}  // namespace bkfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backends/decorators/forwarding_backend.h"
#include "backends/decorators/store_pulse.h"
#include "engine/base/log.h"

namespace bkfs {

struct RetryOptions {
  int64_t first_ns = 200'000'000;       // the longest the first pause may be
  int64_t longest_ns = 10'000'000'000;  // the longest any may be
  int64_t total_ns = 900'000'000'000;   // no more tries that long after the first
  int64_t away_ns = 5'000'000'000;      // a store that is silent for so long is told to the log
};

// Tries again what failed with kUnavailable, and nothing else: with random pauses that double their
// bound each time ("full jitter": Brooker, Exponential Backoff And Jitter, 2015), until it works or
// the total time is over, when it returns the last failure and says how often it was tried. The
// calling thread's watches end it sooner. The log hears of a store that does not answer once, and
// when it does again, which ends the pauses of all that wait; beside that, of an operation that has
// failed for a minute.
//
// An operation that failed so may have been done. A Put that then finds something under its name
// looks whether it is the same: it is OK if size and the first and last 64 KiB are (all that is
// larger than that is named by the hash of its bytes), kExists otherwise. A Remove that then finds
// nothing is OK. A List goes on behind what it has shown, at 16 bytes of memory a name.
class RetryBackend final : public ForwardingBackend {
 public:
  RetryBackend(std::unique_ptr<Backend> inner, const RetryOptions& options, Logger& log)
      : ForwardingBackend(std::move(inner)),
        options_(options),
        log_(log),
        pulse_(options.away_ns, log) {}

  Result<Bytes> Get(const std::string& name) override;
  Status ReadAt(const std::string& name, uint64_t offset, MutableByteView out) override;
  Status Put(const std::string& name, std::span<const ByteView> parts) override;
  Result<uint64_t> Size(const std::string& name) override;
  Result<int64_t> ModifiedAt(const std::string& name) override;
  Status List(const std::string& prefix,
              const std::function<Status(const std::string& name, uint64_t size)>& visit) override;
  Status Remove(const std::string& name) override;
  Status RemoveAll(const std::vector<std::string>& names) override;
  Result<StoreSpace> Space() override;
  Result<RepackedObject> Repack(std::span<const RepackPiece> pieces) override;
  Result<int64_t> LockedUntil(const std::string& name) override;
  Status Lock(const std::string& name, int64_t until_ns) override;
  StoreHealth Health() override { return pulse_.Health(); }

 private:
  class Attempts;
  template <typename T, typename Operation>
  T Again(const std::string& what, const Operation& operation);
  Status CompareWithStored(const std::string& name, std::span<const ByteView> parts);

  const RetryOptions options_;
  Logger& log_;
  StorePulse pulse_;
};

}  // namespace bkfs

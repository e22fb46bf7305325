// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backends/decorators/forwarding_backend.h"

namespace bkfs {

// Gives a request up, with kUnavailable, when nothing has moved for `limit_ns`: a request has no
// limit of its length as long as it goes on. Time that is slept on purpose (a limit of bandwidth)
// does not count. It takes a store that tells its watches.
class StallBackend final : public ForwardingBackend {
 public:
  StallBackend(std::unique_ptr<Backend> inner, int64_t limit_ns)
      : ForwardingBackend(std::move(inner)), limit_ns_(limit_ns) {}

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

 private:
  const int64_t limit_ns_;
};

}  // namespace bkfs

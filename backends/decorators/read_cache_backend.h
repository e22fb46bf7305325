// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backends/decorators/extent_cache.h"
#include "backends/decorators/forwarding_backend.h"

namespace bkfs {

// Keeps on local disk what was read from a store: ranges of packs, snapshot records and
// removals. All are named by the hash of their bytes, so what was right once is right for ever;
// whether an object is still there is the store's to say (Size, List), and is not what a read
// tells. Not for work that is to look at the store itself, as a check does.
class ReadCacheBackend final : public ForwardingBackend {
 public:
  ReadCacheBackend(std::unique_ptr<Backend> inner, std::unique_ptr<ExtentCache> cache)
      : ForwardingBackend(std::move(inner)), cache_(std::move(cache)) {}

  Result<Bytes> Get(const std::string& name) override;
  Status ReadAt(const std::string& name, uint64_t offset, MutableByteView out) override;
  bool IsNear(const std::string& name, uint64_t offset, uint64_t length) override;
  Status Remove(const std::string& name) override;
  Status RemoveAll(const std::vector<std::string>& names) override;

 private:
  const std::unique_ptr<ExtentCache> cache_;
};

}  // namespace bkfs
